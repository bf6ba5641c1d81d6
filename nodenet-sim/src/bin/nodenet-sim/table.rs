//! Text table of the figures of a run.

use std::fmt::Write;

use nodenet_sim::Report;
use nodenet_sim::report::growth::Growth;
use nodenet_sim::report::html::{count, decimals, kibibytes, megabytes, or_dash, share};
use nodenet_sim::report::row::{Row, Rows};
use nodenet_sim::report::{Figures, Lost};

/// Every measuring stage in a column, with its light nodes beside it.
pub(crate) fn of(rows: &Rows) -> String {
    let mut columns = rows.named_phases();
    if columns.is_empty() {
        columns.push(("nothing measured".to_owned(), &rows.steady));
    }
    let mut text = String::new();
    let mut line = |name: &str, cell: &dyn Fn(&Row) -> String| {
        let _ = write!(text, "{name:<28}");
        for (_, row) in &columns {
            let _ = write!(text, "{:>26}", cell(row));
        }
        text.push('\n');
    };
    let pair = |a, b, digits| format!("{} / {}", decimals(a, digits), decimals(b, digits));
    line("nodes", &|row| count(row.nodes));
    line("delivered (first copy)", &|row| {
        let percent = or_dash(row.delivered_share, share);
        format!("{} of {}  {percent}", count(row.delivered), count(row.sent))
    });
    line("duplicates", &|row| count(row.duplicates));
    line("targets lost, refused", &|row| format!("{}, {}", row.targets_lost, row.refused));
    line("hops mean / p50 / p99 / max", &|row| {
        let [p50, p99, max] = [row.hops_p50, row.hops_p99, row.hops_max].map(|at| decimals(at, 0));
        format!("{} / {p50} / {p99} / {max}", decimals(row.hops_mean, 2))
    });
    line("stretch p50 / p99", &|row| pair(row.stretch_p50, row.stretch_p99, 2));
    line("taken ms p50 / p99", &|row| pair(row.taken_ms_p50, row.taken_ms_p99, 0));
    if columns.iter().any(|(_, row)| row.connects.connects.is_some()) {
        let of = |part| or_dash(part, share);
        line("connects direct, relayed", &|row| {
            let connects = &row.connects;
            format!("{}, {}", of(connects.connect_direct_share), of(connects.connect_relayed_share))
        });
    }
    line("edges mean / max", &|row| {
        format!("{} / {}", decimals(row.edges_mean, 1), decimals(row.edges_max, 0))
    });
    line("state per node", &|row| or_dash(row.state_bytes_per_node, kibibytes));
    line("idle a day", &|row| or_dash(row.idle_bytes_per_node_day, megabytes));
    line("wake-ups an hour / a day", &|row| {
        or_dash(row.idle_wakeups_per_node_hour, |hourly| {
            format!("{hourly:.1} / {}", count((24.0 * hourly) as u64))
        })
    });
    line("join ms p50 / p99", &|row| pair(row.join_ms_p50, row.join_ms_p99, 0));
    line("never joined", &|row| count(row.not_joined));
    let run = &rows.steady;
    let _ = writeln!(text, "{:<28}{:>26}", "events a second", count(run.events_per_s as u64));
    let speed = format!("{:.1}", run.sim_over_real);
    let _ = writeln!(text, "{:<28}{speed:>26}", "simulated over real time");
    let peak = or_dash(run.peak_rss_bytes.map(|bytes| bytes as f64), megabytes);
    let _ = writeln!(text, "{:<28}{peak:>26}", "peak memory");
    let _ = writeln!(text, "{:<28}{:>26}", "trace hash", run.trace_hash);
    if columns.len() > 1 {
        let names: String = columns.iter().map(|(name, _)| format!("{name:>26}")).collect();
        text.insert_str(0, &format!("{:<28}{names}\n", ""));
    }
    text
}

/// Activity of idle nodes, and drops.
pub(crate) fn of_details(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, parts: Vec<String>| {
        if !parts.is_empty() {
            let _ = writeln!(text, "{name:<28}{}", parts.join(", "));
        }
    };
    if let Some(phase) = report.steady().or(report.phases.first()) {
        let figures = &phase.figures;
        let mut spent = |name, figures: &Figures| {
            let kinds = figures.traffic.iter().filter(|(_, bytes)| *bytes >= 5e4);
            line(name, kinds.map(|(k, b)| format!("{k} {}", megabytes(*b))).collect());
        };
        spent("idle a day by kind", figures);
        if let Some(light) = &phase.light {
            spent("the same, light nodes", light);
        }
        let taken = figures.steps.iter().filter(|(_, steps)| *steps >= 0.05);
        line("steps an hour", taken.map(|(k, n)| format!("{k} {n:.1}")).collect());
    }
    for Lost { from, to, sent_at, edges: [near, far] } in
        report.phases.iter().flat_map(|phase| &phase.lost)
    {
        let ends = format!("{from} ({near} edges in the end) to {to} ({far}) at t={sent_at}");
        line("lost", vec![ends]);
    }
    let drop = |(name, times): &(&str, u64)| format!("{name} {}", count(*times));
    line("dropped", report.drops.iter().map(drop).collect());
    for expectation in &report.held {
        line("as expected", vec![expectation.clone()]);
    }
    text
}

/// Entries of every table, day by day, for runs of several days.
pub(crate) fn of_growth(growth: &Growth) -> String {
    if growth.days() < 2 {
        return String::new();
    }
    let mut text = "\n".to_owned();
    let mut line = |name: &str, cell: &dyn Fn(u32) -> String| {
        let cells: String = (1..=growth.days()).map(|day| format!("{:>24}", cell(day))).collect();
        let _ = writeln!(text, "{name:<30}{cells}");
    };
    line("at most (usually), on average", &|day| format!("day {day}"));
    for table in growth.tables() {
        line(table, &|day| {
            let fill = growth.fill(table, day).unwrap_or_default();
            format!("{} ({:.1}), {:.2}", count(fill.most), fill.usual, fill.mean)
        });
    }
    if growth.heap(1).is_some() {
        let heap = |day| growth.heap(day).map_or(String::new(), |bytes| megabytes(bytes as f64));
        line("heap, the world's as well", &heap);
    }
    text
}
