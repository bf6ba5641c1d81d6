//! Tests of the program: options, output, exit status, files.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Keys that every row has; programs may rely on them.
const KEYS: [&str; 21] = [
    "nodes",
    "sent",
    "delivered",
    "delivered_share",
    "duplicates",
    "hops_mean",
    "hops_p50",
    "hops_p99",
    "stretch_p50",
    "stretch_p99",
    "edges_mean",
    "state_bytes_per_node",
    "idle_bytes_per_node_day",
    "idle_wakeups_per_node_hour",
    "join_ms_p50",
    "join_ms_p99",
    "events_per_s",
    "sim_over_real",
    "peak_rss_bytes",
    "trace_hash",
    "hops_max",
];

fn nodenet_sim(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodenet-sim"));
    command.args(line.split_whitespace()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.output().expect("the program starts")
}

fn json(line: &str) -> Value {
    let output = nodenet_sim(line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

fn temporary(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

const NAME: &str = "scale-20-light20-churn5-30s-for1m-settle1m-messages100";
const SMALL: &str = "scale --nodes 20 --minutes 1 --messages 100 --seed 3 --light-share 20 \
                     --churn 5%/30s --churn-minutes 1 --json";

#[test]
fn figures_have_their_names_and_a_saved_scenario_replays_to_the_same_trace() {
    let one = json(&format!("{SMALL} --save program.toml --report program.html"));
    for figures in [&one, &one["churn"], &one["light"]] {
        for key in KEYS {
            let settled = std::ptr::eq(figures, &one);
            // The heap is unknown for light nodes alone, and after a node stopped.
            let unknown = key == "state_bytes_per_node" && !settled;
            let figure = figures.get(key).unwrap_or_else(|| panic!("no {key} in {figures}"));
            assert_eq!(figure.is_null(), unknown, "{key} in {figures}");
        }
        assert!(figures["idle_bytes_per_node_day"].as_f64() > Some(0.0));
    }
    assert!(one["state_bytes_per_node"].as_f64() > Some(0.0), "the heap is counted");
    assert_eq!((one["nodes"].as_u64(), one["sent"].as_u64()), (Some(20), Some(100)));
    assert_eq!(one["delivered_share"].as_f64(), Some(1.0));
    assert!(one["churn"]["light"].is_null());
    let by_kind = one["idle_traffic"].as_object().unwrap().values().filter_map(Value::as_f64);
    let sum: f64 = by_kind.sum();
    assert!((sum / one["idle_bytes_per_node_day"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert_eq!((one["name"].as_str(), one["days"].as_object()), (Some(NAME), None));
    let phases = one["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 2);
    for (phase, figures) in phases.iter().zip([&one, &one["churn"]]) {
        assert_eq!(KEYS.map(|key| &phase[key]), KEYS.map(|key| &figures[key]));
    }
    assert_eq!((&phases[0]["light"], &phases[1]["under_churn"]), (&one["light"], &true.into()));

    let again = json("replay program.toml --json");
    assert_eq!(again["trace_hash"], one["trace_hash"]);
    assert_eq!(again["churn"]["delivered"], one["churn"]["delivered"]);
    let page = std::fs::read_to_string(temporary("program.html")).unwrap();
    for part in [
        "under churn",
        "<h2>Delivery against size</h2>",
        "<h2>Hops</h2>",
        "<h2>Edges per bucket</h2>",
        "<h2>Idle traffic</h2>",
        "<h2>The ring</h2>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside} fetches something");
    }
}

/// A run may have taken hours when its figures are presented.
#[test]
fn a_page_is_written_even_if_the_table_is_not_read() {
    let line = "scale --nodes 3 --minutes 1 --messages 5 --seed 3 --report unread.html";
    let mut child = Command::new(env!("CARGO_BIN_EXE_nodenet-sim"))
        .args(line.split_whitespace())
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_to_string(temporary("unread.html")).unwrap().ends_with("</html>\n"));
}

#[test]
fn connects_have_figures_of_their_own_in_each_phase() {
    let keys = [
        "connects",
        "connected_share",
        "connect_direct_share",
        "connect_relayed_share",
        "connect_ms_p50",
        "connect_ms_p99",
    ];
    let rows = json(
        "scale --nodes 40 --seed 2 --minutes 2 --nat-share 60 --relay-share 50 --connects 60 \
         --churn 2%/30s --churn-minutes 1 --json",
    );
    for row in [&rows, &rows["churn"]] {
        let of = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
        let [connects, connected, direct, relayed, p50, p99] = keys.map(of);
        assert!((50.0..=60.0).contains(&connects) && connected > 0.9, "{row}");
        assert!((connected - direct - relayed).abs() < 1e-9, "{row}");
        assert!(relayed > 0.0 && direct > relayed && p50 <= p99 && p99 > 0.0, "{row}");
    }
    let rows = json("scale --nodes 3 --seed 2 --minutes 1 --messages 5 --json");
    assert!(keys.iter().all(|key| rows[key].is_null()), "{rows}");
}

#[test]
fn a_sweep_runs_every_size_with_every_seed() {
    let rows = json(
        "sweep --nodes 12,16 --seeds 1,2 --minutes 1 --messages 30 --jobs 2 --json \
         --report sweep.html",
    );
    let of = |row: &Value| (row["nodes"].as_u64().unwrap(), row["seed"].as_u64().unwrap());
    let runs: Vec<_> = rows.as_array().unwrap().iter().map(of).collect();
    assert_eq!(runs, [(12, 1), (12, 2), (16, 1), (16, 2)]);
    assert!(
        std::fs::read_to_string(temporary("sweep.html")).unwrap().contains("Hops against size")
    );
}

/// A single node has no target, and a network has one node at least.
#[test]
fn a_sweep_shows_finished_runs_and_names_failed_runs() {
    let output = nodenet_sim(
        "sweep --nodes 1,12,0 --minutes 1 --messages 30 --jobs 2 --json --report failed.html",
    );
    assert!(!output.status.success());
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["nodes"].as_u64(), Some(12));
    let trace = rows[0]["trace_hash"].as_str().unwrap();
    let page = std::fs::read_to_string(temporary("failed.html")).unwrap();
    assert!(page.contains(trace) && page.contains("2 of 3 runs failed"), "{page}");
    assert!(page.contains("no two nodes joined 30 s ago"), "{page}");

    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("2 of 3 runs failed"), "{text}");
    assert!(text.contains("0 nodes, seed 1: "), "{text}");
    let (_, one) = text.split_once("1 nodes, seed 1: ").unwrap();
    assert!(one.contains("target/sim/scale-1-settle1m-messages30-1.toml"), "{text}");
    let again = one.lines().find(|line| line.starts_with("  again ")).unwrap();
    let again = nodenet_sim(again.split_once(" -- ").unwrap().1);
    let reason = "FAIL no two nodes joined 30 s ago";
    assert!(one.contains(reason) && !again.status.success(), "{text}");
    assert!(String::from_utf8_lossy(&again.stderr).contains(reason), "it fails in the same way");
}

#[test]
fn a_failure_saves_the_scenario_and_prints_the_replay_command() {
    let scenario = "name = 'doomed'\nseed = 5\n\
        [[stage]]\ndo = 'grow'\nnodes = 6\nover_ms = 3000\nbootstrap = 'ten'\n\
        [[stage]]\ndo = 'settle'\nsecs = 60\n\
        [[stage]]\ndo = 'partition'\n\
        [[stage]]\ndo = 'settle'\nsecs = 60\n\
        [[stage]]\ndo = 'send'\nmessages = 40\nover_secs = 5\n\
        [[stage]]\ndo = 'expect'\ndelivered_share = 1.0\n";
    std::fs::write(temporary("doomed.toml"), scenario).unwrap();
    std::fs::write(temporary("doomed.html"), "of an earlier run").unwrap();
    let output = nodenet_sim("replay doomed.toml --report doomed.html");
    let page = std::fs::read_to_string(temporary("doomed.html")).unwrap();
    assert!(page.contains("This run failed") && page.contains("<td>steady</td>"), "{page}");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("FAIL delivered "), "{text}");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("delivered (first copy)"), "what it showed until then: {shown}");
    let replay = text.lines().last().unwrap();
    let file = replay.rsplit(' ').next().unwrap();
    assert_eq!(replay.split_whitespace().next(), Some("replay"));
    let kept = std::fs::read_to_string(temporary(file)).unwrap();
    assert!(kept.contains("doomed"));
    let again = nodenet_sim(&format!("replay {file}"));
    let same = text.replace("report  doomed.html\n", "");
    assert_eq!(String::from_utf8_lossy(&again.stderr), same, "it fails in the same way");
    assert!(file.ends_with("doomed-5.toml"), "name and seed: {file}");
    let shown = nodenet_sim("replay doomed.toml --json").stdout;
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    let phases = shown["phases"].as_array().unwrap();
    assert!(phases[0]["delivered_share"].as_f64() < Some(1.0));
    assert!(shown["failure"].as_str().unwrap().starts_with("delivered "));
    let smaller = nodenet_sim("replay doomed.toml --nodes 4");
    let text = String::from_utf8_lossy(&smaller.stderr).into_owned();
    assert!(text.trim_end().ends_with("doomed-4-5.toml"), "name, size and seed: {text}");
}

#[test]
fn an_error_for_wrong_input_says_what_to_do() {
    let still = "name = 'still'\nseed = 1\n[[stage]]\ndo = 'settle'\nsecs = 5\n";
    std::fs::write(temporary("still.toml"), still).unwrap();
    for (line, advice) in [
        ("replay nowhere.toml", "cannot be read"),
        ("scale --nodes 10 --seed 1 --churn 2%", "for example 2%/30s"),
        ("scale --nodes 10 --seed 1 --loss 200", "between 0 and 100"),
        ("scale --nodes 0 --seed 1", "not in 1.."),
        ("scale --nodes 9 --seed 1 --messages 0", "not in 1.."),
        ("scale --nodes 8000000 --seed 1", "not in 1..=7000000"),
        ("scale --nodes 9 --seed 1 --churn-minutes 5", "--churn <P%/SECONDSs>"),
        ("scale --nodes 9 --seed 1 --churn 2%/30s --churn-minutes 0", "not in 1.."),
        ("replay still.toml --nodes 9", "has no stage that grows the network"),
        ("scale --nodes 9 --seed 1 --report nowhere/x.html", "nowhere/x.html cannot be written"),
        ("sweep --nodes 9 --report nowhere/x.html", "nowhere/x.html cannot be written"),
    ] {
        let output = nodenet_sim(line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(advice), "{line}: {text}");
    }
}

/// A stage that cannot be carried out fails with a reason, and an expectation without messages does
/// not hold.
#[test]
fn the_error_of_a_stage_without_nodes_says_what_is_missing() {
    let grow = "[[stage]]\ndo = 'grow'\nnodes = 6\nover_ms = 3000\nbootstrap = 'any'\n\
                [[stage]]\ndo = 'settle'\nsecs = 60\n";
    let crash = "[[stage]]\ndo = 'crash'\nshare = 1.0\n";
    let send = "[[stage]]\ndo = 'send'\nmessages = 4\nover_secs = 5\n";
    let sides = format!("{send}between = 'sides'\n");
    let nothing = send.replace("messages = 4", "messages = 0");
    let expect = "[[stage]]\ndo = 'expect'\ndelivered_share = 0.5\n";
    let few = grow.replace("'any'", "'ten'");
    let churn = |percent, secs| {
        format!(
            "[[stage]]\ndo = 'churn'\npercent = {percent}\nevery_secs = 30\nover_secs = {secs}\n\
             messages = 4\n"
        )
    };
    let share = |share| crash.replace("1.0", share);
    let natted = format!("nat_share = 1.0\n{}", grow.replace("nodes = 6", "nodes = 20"));
    let gone = natted.replace("'any'", "'ten'");
    for (name, stages, reason) in [
        ("closed", format!("{natted}{}{grow}", share("0.95")), "none of 1 live nodes is public"),
        (
            "gone",
            format!("{natted}{crash}{}", gone.replace("nat_share = 1.0", "")),
            "is one of the ten",
        ),
        ("rounded", format!("{grow}{}", share("0.1")), "0.1 of 6 live nodes comes to 0.60 nodes"),
        ("spared", format!("{few}{}", share("0.5")), "3 of 6 live nodes would have to go, but 6"),
        ("replaced", format!("{few}{}", churn("20.0", 60)), "1 of 6 live nodes would have to go"),
        (
            "slow",
            format!("{grow}{}", churn("5.0", 60)),
            "comes to 0.60 nodes, so churn would replace",
        ),
        ("empty", send.to_owned(), "FAIL no node is up that could send"),
        ("crashed", format!("{grow}{crash}{send}"), "FAIL no node is up that could send"),
        ("whole", format!("{grow}{sides}"), "different sides of a partition"),
        ("nothing", format!("{grow}{nothing}{expect}"), "FAIL nothing was sent"),
        ("percent", format!("{grow}{}", crash.replace("1.0", "50")), "share is 50; it is a share"),
    ] {
        let file = format!("{name}.toml");
        std::fs::write(temporary(&file), format!("name = '{name}'\nseed = 5\n{stages}")).unwrap();
        let output = nodenet_sim(&format!("replay {file} --report {name}.html"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(reason), "{name}: {text}");
        assert!(!text.contains("panic"), "{name}: {text}");
        let page = std::fs::read_to_string(temporary(&format!("{name}.html"))).unwrap_or_default();
        // A text that is not a scenario does not begin a run.
        assert_eq!(page.contains("This run failed"), text.contains("FAIL "), "{name}: {page}");
    }
}

/// A figure that was not measured is null or a dash, not zero. Measured figures are shown although
/// no message was sent.
#[test]
fn a_run_without_messages_shows_its_costs_only() {
    let scenario = "name = 'silent'\nseed = 5\n\
         [[stage]]\ndo = 'grow'\nnodes = 6\nover_ms = 3000\nbootstrap = 'ten'\n\
         [[stage]]\ndo = 'settle'\nsecs = 60\n";
    std::fs::write(temporary("silent.toml"), scenario).unwrap();
    let shown = json("replay silent.toml --json");
    for known in ["idle_bytes_per_node_day", "state_bytes_per_node", "edges_mean", "join_ms_p50"] {
        assert!(shown[known].as_f64() > Some(0.0), "{known}: {shown}");
    }
    for unknown in ["delivered_share", "hops_mean", "hops_max", "stretch_p50"] {
        assert!(shown[unknown].is_null(), "{unknown}: {shown}");
    }
    let output = nodenet_sim("replay silent.toml --report silent.html");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("0 of 0  –") && table.contains("– / – / – / –"), "{table}");
    let page = std::fs::read_to_string(temporary("silent.html")).unwrap();
    assert!(page.contains("<h2>Idle traffic</h2>") && !page.contains("<h2>Hops</h2>"), "{page}");
}

/// All measuring stages and days of any scenario file are in the table and in the JSON.
#[test]
fn every_measuring_stage_has_a_column_and_every_day_its_tables() {
    let send = "[[stage]]\ndo = 'send'\nmessages = 4\nover_secs = 5\n";
    let scenario = format!(
        "name = 'phases'\nseed = 5\nday_secs = 60\n\
         [[stage]]\ndo = 'grow'\nnodes = 6\nover_ms = 3000\nbootstrap = 'ten'\n\
         [[stage]]\ndo = 'settle'\nsecs = 60\n{send}{send}\
         [[stage]]\ndo = 'expect'\ndelivered_share = 1.0\n"
    );
    std::fs::write(temporary("phases.toml"), scenario).unwrap();
    let table = String::from_utf8(nodenet_sim("replay phases.toml").stdout).unwrap();
    let head: Vec<_> = table.lines().next().unwrap().split("  ").map(str::trim).collect();
    let head: Vec<_> = head.into_iter().filter(|cell| !cell.is_empty()).collect();
    assert_eq!(head, ["steady", "steady 2"], "{table}");
    let shown = json("replay phases.toml --json");
    assert_eq!(shown["phases"].as_array().unwrap().len(), 2);
    assert_eq!(shown["held"].as_array().unwrap().len(), 1);
    assert_eq!(shown["days"]["contacts"].as_array().unwrap().len(), 2, "{shown}");
}

/// Keys of a pair of the NAT matrix; programs may rely on them.
const PAIR_KEYS: [&str; 16] = [
    "a",
    "b",
    "expected",
    "direct",
    "relayed",
    "failed",
    "undelivered",
    "rtts_p50",
    "rtts_p99",
    "ms_p50",
    "ms_p99",
    "packets_p50",
    "packets_max",
    "early",
    "reason",
    "told",
];

#[test]
fn a_nat_matrix_has_every_pair_in_json_and_on_a_page() {
    let matrix = json("nat-matrix --seed 1 --json --report matrix.html");
    let pairs = matrix["pairs"].as_array().unwrap();
    let kinds = pairs.iter().filter(|pair| pair["a"] == "open").count();
    assert!(kinds >= 12 && pairs.len() == kinds * kinds, "{kinds} kinds, {} pairs", pairs.len());
    let mut guessed = 0;
    for pair in pairs {
        let keys: Vec<&str> = pair.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), PAIR_KEYS.len(), "{keys:?}");
        assert!(PAIR_KEYS.iter().all(|key| keys.contains(key)), "{keys:?}");
        let count = |key: &str| pair[key].as_u64().unwrap();
        assert_eq!(count("direct") + count("relayed") + count("failed"), 1, "{pair}");
        let is_direct = count("direct") == 1;
        match pair["expected"].as_str().unwrap() {
            "direct" => assert!(is_direct, "{pair}"),
            "relayed" => assert!(!is_direct, "{pair}"),
            // Ports that follow a sequence are predicted, random ones are not by default.
            _ => guessed += u64::from(is_direct),
        }
        assert_eq!(pair["reason"].is_null(), pair["expected"] == "direct", "{pair}");
        assert_eq!(pair["told"].as_array().unwrap().is_empty(), is_direct, "{pair}");
        assert_eq!(pair["ms_p50"].is_null(), count("failed") == 1, "{pair}");
        assert_eq!(count("early"), 0, "{pair}");
    }
    assert!(guessed > 0, "no pair is direct by prediction");
    let bare = json("nat-matrix --seed 1 --json --bare");
    let is_found = |pair: &&Value| pair["direct"].as_u64() == Some(1);
    let found = bare["pairs"].as_array().unwrap().iter().filter(is_found).count();
    let possible = pairs.iter().filter(|pair| pair["expected"] != "relayed").count();
    assert_eq!(found, possible, "with perfect guesses");
    let page = std::fs::read_to_string(temporary("matrix.html")).unwrap();
    assert!(page.contains("NAT matrix") && page.contains("Why not direct"));

    let refused = nodenet_sim("nat-matrix --seed 1 --seeds 0");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("0 is not in 1..=10000"));
    let refused = nodenet_sim("nat-matrix --seed 1 --report no/such/folder.html");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("no/such/folder.html cannot be written"), "{said}");
}
