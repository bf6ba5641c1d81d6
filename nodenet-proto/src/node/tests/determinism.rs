//! Same seed, same bytes, in another process too.

use std::process::Command as Process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};

use crate::testkit::{Net, NodeHost};

/// Variable in the environment of the other process, which runs the same test: the seed.
const SEED: &str = "NODENET_TEST_SEED";
/// The test that the other process runs.
const THIS: &str = concat!(
    "node::tests::determinism::",
    "the_same_seed_gives_the_same_bytes_in_another_process_and_another_seed_others"
);

/// Two whole nodes with 10 % loss: a hash over every datagram, with its time, and how many there
/// were.
fn run(seed: u64) -> String {
    let mut net = Net::new(seed);
    net.set_loss_percent(10);
    let hash = Arc::new(Mutex::new(Blake2b::<U32>::new()));
    let (tapped, start) = (Arc::clone(&hash), net.now);
    net.tap = Some(Box::new(move |at, from, to, data| {
        let mut hash = tapped.lock().expect("one thread");
        hash.update((at - start).as_nanos().to_le_bytes());
        hash.update(format!("{from} {to} {}", data.len()));
        hash.update(data);
    }));
    let mut a = NodeHost::seeded(1, &net, 2 * seed);
    let mut b = NodeHost::seeded(2, &net, 2 * seed + 1);
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], Duration::from_secs(20));
    for number in 0..40_u8 {
        a.send(&net, b.id, &vec![number; 500 * usize::from(number)]);
        b.send(&net, a.id, &[number; 10]);
        net.run(&mut [&mut a, &mut b], Duration::from_millis(700));
    }
    assert_eq!((a.take_delivered().len(), b.take_delivered().len()), (40, 40));
    let sent = net.stats().sent;
    assert!(sent > 500, "{sent} datagrams");
    net.tap = None;
    let hash = Arc::into_inner(hash).and_then(|hash| hash.into_inner().ok()).expect("the only one");
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{sent} datagrams {hash}")
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_another_process_and_another_seed_others() {
    if let Ok(seed) = std::env::var(SEED) {
        return println!("outcome {}", run(seed.parse().expect("a number")));
    }
    let elsewhere = |seed: u64| {
        let exe = std::env::current_exe().expect("this test runs");
        let output = Process::new(exe)
            .args(["--exact", THIS, "--nocapture"])
            .env(SEED, seed.to_string())
            .output()
            .expect("this test can run again");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("text");
        let outcome = text.lines().find_map(|line| line.split_once("outcome "));
        outcome.expect("the other process says what came out").1.to_owned()
    };
    let here = run(1);
    assert_eq!(elsewhere(1), here);
    assert_eq!(elsewhere(1), here);
    assert_ne!(elsewhere(2), here);
}
