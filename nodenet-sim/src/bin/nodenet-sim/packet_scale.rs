//! Subcommand `packet-scale`: CPU time and heap of a packet world.

use std::time::Duration;

use nodenet_sim::run::packet::scale::{ScaleMark, ScaleOutcome, ScaleSpec, scale};

use crate::args;
use crate::{machine, text};

/// Figures of a measurement. Names never change; new ones may be added.
#[derive(Debug, serde::Serialize)]
struct Figures {
    nodes: u32,
    edges_per_node: u32,
    seed: u64,
    virtual_s: u64,
    /// CPU seconds of the process for each virtual second with messages; null where the system
    /// does not report it.
    cpu_s_per_virtual_s: Option<f64>,
    user_cpu_s_per_virtual_s: Option<f64>,
    real_s_per_virtual_s: f64,
    setup_real_s: f64,
    setup_cpu_s: Option<f64>,
    heap_bytes: u64,
    heap_bytes_max: u64,
    heap_bytes_per_node: u64,
    peak_rss_bytes: Option<u64>,
    messages_sent: u64,
    messages_delivered: u64,
    datagrams: u64,
    events: u64,
    trace_hash: String,
}

pub(crate) fn packet_scale(args: &args::PacketScale) -> Result<(), String> {
    if !args.edges.is_multiple_of(2) || args.edges >= args.nodes {
        return Err(format!(
            "--edges {} is not possible: it is an even number below that of nodes, {}",
            args.edges, args.nodes
        ));
    }
    let spec = ScaleSpec {
        nodes: args.nodes,
        edges: args.edges,
        seed: args.seed,
        settle_secs: args.settle,
        secs: args.seconds,
        both_ways: args.both_ways,
    };
    let figures = measured(spec)?;
    let text = if args.json {
        serde_json::to_string(&figures).expect("figures are numbers and text") + "\n"
    } else {
        format!("{figures:#?}\n")
    };
    text::say(&text)
}

fn measured(spec: ScaleSpec) -> Result<Figures, String> {
    let began = machine::now();
    let mut heap_max = 0;
    let mut settled = None;
    let mut done = None;
    let outcome = scale(spec, &mut |mark, world| {
        heap_max = heap_max.max(machine::heap_in_use());
        let reading = || (machine::now(), machine::cpu_time(), machine::heap_in_use());
        match mark {
            ScaleMark::Connected => eprintln!(
                "{} nodes are connected after {:.1} s of real time",
                world.hosts().count(),
                began.elapsed().as_secs_f64()
            ),
            ScaleMark::Settled => settled = Some(reading()),
            ScaleMark::Second => {}
            ScaleMark::Done => done = Some(reading()),
        }
    });
    let outcome = outcome.map_err(|violation| format!("the run failed: {violation}"))?;
    let (from, to) = settled.zip(done).expect("a run that is over had both marks");
    let per_s = |span: Duration| span.as_secs_f64() / spec.secs as f64;
    let cpu = from.1.zip(to.1);
    let user = cpu.map(|(from, to)| to.0 - from.0);
    let kernel = cpu.map(|(from, to)| to.1 - from.1);
    let ScaleOutcome { sent, delivered, datagrams, events, trace_hash, .. } = outcome;
    Ok(Figures {
        nodes: spec.nodes,
        edges_per_node: spec.edges,
        seed: spec.seed,
        virtual_s: spec.secs,
        cpu_s_per_virtual_s: user.zip(kernel).map(|(user, kernel)| per_s(user + kernel)),
        user_cpu_s_per_virtual_s: user.map(per_s),
        real_s_per_virtual_s: per_s(to.0 - from.0),
        setup_real_s: (from.0 - began).as_secs_f64(),
        setup_cpu_s: from.1.map(|(user, kernel)| (user + kernel).as_secs_f64()),
        heap_bytes: to.2,
        heap_bytes_max: heap_max,
        heap_bytes_per_node: to.2 / u64::from(spec.nodes),
        peak_rss_bytes: machine::peak_rss_bytes(),
        messages_sent: sent,
        messages_delivered: delivered,
        datagrams,
        events,
        trace_hash: format!("{trace_hash:016x}"),
    })
}
