//! Start and stop of the program, its identities, and the demo.

mod kit;

use kit::{Running, Scratch, run_to_end};
use serde_json::{Value, json};

#[test]
fn an_identity_is_minted_once_and_then_shown() {
    let scratch = Scratch::new();
    let args = ["id", "--seed", &scratch.arg("seed"), "--pow", "4", "--json"];
    let show = || {
        let output = run_to_end(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("it is one object")
    };
    let (first, second) = (show(), show());
    assert_eq!((&first["minted"], &second["minted"]), (&true.into(), &false.into()));
    assert_eq!(first["id"], second["id"]);
    assert!(first["leading_zero_bits"].as_u64().unwrap() >= 4);
    assert!(first["id"].as_str().unwrap().starts_with('0'));

    let plain = run_to_end(&args[..5]);
    let id = String::from_utf8(plain.stdout).unwrap();
    assert_eq!(id.trim_end(), first["id"].as_str().unwrap(), "nothing but the id on stdout");
}

#[cfg(unix)]
#[test]
fn a_key_path_that_is_no_utf8_is_shown_with_replacements() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    let path = scratch.path("").join(OsStr::from_bytes(b"caf\xe9.seed"));
    for minted in [true, false] {
        let output = kit::nodenet(&["id", "--json", "--seed"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert!(shown["seed_file"].as_str().unwrap().ends_with("/caf\u{fffd}.seed"), "{shown}");
        assert_eq!(shown["minted"], minted);
    }
}

#[cfg(unix)]
#[test]
fn the_default_key_file_is_for_its_owner_only() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let mode = |path| std::fs::metadata(scratch.path(path)).expect("it exists").mode() & 0o7777;
    let config = scratch.arg("config");
    let output = kit::nodenet(&["id"]).env("XDG_CONFIG_HOME", &config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(mode("config/nodenet"), 0o700);
    assert_eq!(mode("config/nodenet/nodenet.seed"), 0o600);

    let home = kit::nodenet(&["id"]).env_remove("XDG_CONFIG_HOME").env("HOME", &config).output();
    assert!(home.unwrap().status.success());
    assert_eq!(mode("config/.config/nodenet/nodenet.seed"), 0o600);

    let nowhere = kit::nodenet(&["id"]).env_remove("XDG_CONFIG_HOME").env_remove("HOME").output();
    let nowhere = nowhere.unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    let message_text = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(message_text.contains("name the key file yourself"), "{message_text}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_minting_and_nothing_is_saved() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    let mut minting =
        Running::start(&["run", "--addr", "127.0.0.1:0", "--seed", &seed, "-pow", "60"]);
    minting.log_line("minting identity clearing pow=60");
    minting.signal("INT");
    minting.log_line("interrupted while minting; nothing was saved");
    assert_eq!(minting.end().code(), Some(1));
    assert!(!scratch.path("seed").exists());
}

#[cfg(unix)]
#[test]
fn a_signal_stops_a_node_with_status_zero() {
    for signal in ["INT", "TERM", "HUP"] {
        let scratch = Scratch::new();
        let args = ["run", "--addr", "127.0.0.1:0", "--seed", &scratch.arg("seed"), "--json"];
        let mut node = Running::start(&args);
        let id = node.event("started")["id"].as_str().unwrap().to_owned();
        assert!(node.log_line("node ").ends_with(&id), "programs parse this line");
        assert!(node.log_line("listening on 127.0.0.1:").ends_with("(quic)"));
        node.signal(signal);
        node.event("stopped");
        node.log_line("shutting down");
        assert_eq!(node.end().code(), Some(0), "{signal}");
    }
}

#[test]
fn the_bootstrap_line_has_a_usable_address() {
    for addr in ["127.0.0.1:0", "0.0.0.0:0", ":0", "[::]:0"] {
        let scratch = Scratch::new();
        let node = Running::start(&["run", "--addr", addr, "--seed", &scratch.arg("seed")]);
        let line = node.line("@");
        let (id, endpoint) = line.split_once('@').expect("id@endpoint");
        assert_eq!(id.len(), 64);
        let endpoint: std::net::SocketAddr = endpoint.parse().expect("a literal address");
        assert!(!endpoint.ip().is_unspecified() && endpoint.port() != 0, "{endpoint}");
    }
}

#[test]
fn an_advertised_address_comes_first() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    let args = ["-addr", "0.0.0.0:0", "-seed", &seed, "-advertise", "198.51.100.7:4242"];
    let node = Running::start(&args);
    node.log_line("advertising 198.51.100.7:4242");
    assert!(node.line("@").ends_with("@198.51.100.7:4242"));
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_process_at_once() {
    let scratch = Scratch::new();
    // A neighbour that is stopped delays the node that leaves for a moment.
    let seed = scratch.arg("hub");
    let hub = Running::start(&["run", "--addr", "127.0.0.1:0", "--seed", &seed, "--json"]);
    let line = hub.event("started")["bootstrap"].as_str().unwrap().to_owned();
    let seed = scratch.arg("leaf");
    let mut leaf = Running::start(&["run", "--bootstrap", &line, "--seed", &seed, "--json"]);
    leaf.event("edge_up");
    hub.signal("STOP");
    leaf.signal("INT");
    leaf.log_line("shutting down");
    leaf.signal("INT");
    assert_eq!(
        leaf.end().code(),
        Some(130),
        "without the second signal it would have ended with 0"
    );
    hub.signal("CONT");
}

#[cfg(unix)]
#[test]
fn a_demo_that_a_signal_ended_has_its_exit_status() {
    for (signal, status) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
        let mut demo = Running::start(&["demo", "--nodes", "3"]);
        // It needs two seconds after that, at least.
        demo.log_line("joining");
        demo.signal(signal);
        assert_eq!(demo.end().code(), Some(status), "{signal}");
    }
    let help = String::from_utf8(run_to_end(&["--help"]).stdout).expect("text");
    for part in ["Exit status:", "SIGHUP 129", "SIGINT 130", "SIGTERM 143"] {
        assert!(help.contains(part), "{part:?} is missing in: {help}");
    }
}

#[test]
fn the_log_level_flag_wins_over_the_environment() {
    let scratch = Scratch::new();
    // Logged as a warning, before the program ends for want of an address and of peers.
    scratch.write_secret("seed.peers", b"damaged");
    let seed = scratch.arg("seed");
    let warns = |args: &[&str], rust_log: Option<&str>| {
        let mut command = kit::nodenet(&[&["run", "--seed", &seed], args].concat());
        command.envs(rust_log.map(|filter| ("RUST_LOG", filter)));
        let message_text =
            String::from_utf8(command.output().expect("it starts").stderr).expect("text");
        assert!(message_text.contains("--bootstrap ID@HOST:PORT"), "{message_text}");
        message_text.contains("seed.peers is damaged")
    };
    assert!(warns(&[], None));
    assert!(!warns(&[], Some("error")));
    assert!(!warns(&["--log-level", "error"], None));
    assert!(!warns(&["--log-level", "error"], Some("debug")));
    assert!(warns(&["--log-level", "warn"], Some("error")));
    let help = String::from_utf8(run_to_end(&["run", "--help"]).stdout).expect("text");
    assert!(help.contains("RUST_LOG"), "{help}");
}

#[test]
fn the_demo_delivers_every_message_once() {
    let output = run_to_end(&["demo", "--nodes", "5", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("one object");
    for (key, value) in
        [("nodes", 5), ("joined", 5), ("expected", 20), ("delivered", 20), ("duplicates", 0)]
    {
        assert_eq!(figures[key], value, "{key} in {figures}");
    }
    assert_eq!((&figures["lost_pairs"], &figures["send_error"]), (&json!([]), &Value::Null));
    assert!(figures["drops"]["dead_end"].is_u64(), "{figures}");
    for key in ["hops_mean", "hops_max", "latency_ms_p50", "latency_ms_p99", "joined_ms"] {
        assert!(figures[key].as_f64().expect(key) > 0.0, "{key} in {figures}");
    }
}

#[test]
fn the_demo_has_a_table_for_people() {
    let output = run_to_end(&["demo", "--nodes", "3"]);
    let table = String::from_utf8(output.stdout).unwrap();
    for row in [
        "joined in",
        "delivered       6 of 6",
        "duplicates      0",
        "hops",
        "latency",
        "edges per node",
    ] {
        assert!(table.contains(row), "{row:?} is missing in:\n{table}");
    }
}
