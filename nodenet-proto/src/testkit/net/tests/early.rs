//! Datagrams that come too early at a Linux router: lead, delay of the path, and TTL decide.

use std::net::SocketAddr;
use std::time::Duration;

use super::{MS, SECOND, inside, router};
use crate::testkit::nat_box::{LinuxConfig, NatDrop};
use crate::testkit::{LinkProfile, Net, Puppet, Realm, addr};

/// Rounds of an attempt, each as long as a path there and back or longer.
const ROUNDS: u32 = 6;
const ROUND: Duration = Duration::from_millis(200);

/// What begins an attempt.
#[derive(Clone, Copy, PartialEq)]
enum Begin {
    /// This host sends so long before the other one.
    Lead(usize, Duration),
    /// The same, and its first datagram has a TTL of 2.
    ShortLead(usize, Duration),
}

/// T4. Rows as measured between two kernel routers: whether the path under a millisecond and the
/// one of 20 ms come about. Host 0 is behind the first router, host 1 behind the second.
#[test]
fn lead_delay_and_ttl_decide_whether_an_early_datagram_hurts() {
    let (open, drops) = (true, false);
    let lead = |host, ms| Begin::Lead(host, ms * MS);
    let short = |host, ms| Begin::ShortLead(host, ms * MS);
    for (inputs, begin, expected) in [
        ([open, drops], lead(1, 100), [false, false]),
        ([open, drops], lead(0, 100), [true, true]),
        ([open, drops], lead(1, 0), [false, true]),
        ([open, drops], lead(1, 5), [false, true]),
        ([open, open], lead(0, 100), [false, false]),
        ([open, open], lead(1, 100), [false, false]),
        ([open, open], lead(0, 0), [false, true]),
        ([open, open], lead(1, 5), [false, true]),
        ([open, drops], short(0, 100), [true, true]),
        ([open, drops], short(1, 100), [true, true]),
        ([open, open], short(0, 100), [true, true]),
        ([open, open], short(1, 100), [true, true]),
        ([drops, drops], lead(0, 100), [true, true]),
        ([drops, drops], lead(1, 0), [true, true]),
    ] {
        let found = [Duration::ZERO, 20 * MS].map(|latency| attempt(inputs, begin, latency));
        let (host, lead) = match begin {
            Begin::Lead(host, lead) | Begin::ShortLead(host, lead) => (host, lead),
        };
        let is_short = matches!(begin, Begin::ShortLead(..));
        assert_eq!(
            found, expected,
            "open: {inputs:?}, {host} leads by {lead:?}, TTL 2: {is_short}"
        );
    }
}

/// R1. The same by a reboot: the stream of the peer takes the old port of a router with open input.
#[test]
fn after_a_reboot_the_stream_of_a_peer_takes_the_port_where_input_is_open() {
    for input_open in [true, false] {
        let mut net = Net::new(1);
        let realm = linux(&mut net, 1, input_open);
        let (mut a, mut peer) = (inside(&mut net, realm, 1), Puppet::new(addr(1)));
        a.send(peer.addr, "before");
        net.run(&mut [&mut a, &mut peer], SECOND);
        let before = peer.take_heard()[0].0;
        net.restart_nat(realm, vec![before.ip()]);
        peer.send(before, "stream");
        net.run(&mut [&mut a, &mut peer], SECOND);
        a.send(peer.addr, "after");
        net.run(&mut [&mut a, &mut peer], SECOND);
        let after = peer.take_heard()[0].0;
        assert_eq!(after != before, input_open, "input open: {input_open}");
        peer.send(before, "stream");
        peer.send(after, "answer");
        net.run(&mut [&mut a, &mut peer], SECOND);
        let heard: Vec<_> = a.take_heard().into_iter().map(|(_, data)| data).collect();
        let both = [b"stream".to_vec(), b"answer".to_vec()];
        assert_eq!(heard, if input_open { &both[1..] } else { &both[..] });
        let early = net.nat(realm).expect("a box").drops(NatDrop::ToTheBox);
        assert_eq!(early, if input_open { 2 } else { 0 });
    }
}

fn linux(net: &mut Net, number: u8, input_open: bool) -> Realm {
    router(net, Realm::PUBLIC, number, LinuxConfig { input_open, ..LinuxConfig::default() })
}

/// Two hosts that know the endpoint of each other and send to it in rounds. Each answers where a
/// datagram came from. There is a path when both heard the other.
fn attempt(inputs: [bool; 2], begin: Begin, latency: Duration) -> bool {
    let mut net = Net::new(1);
    net.link = LinkProfile { latency, ..LinkProfile::IDEAL };
    let [mut a, mut b] = [0, 1].map(|host| {
        let realm = linux(&mut net, host as u8 + 1, inputs[host]);
        inside(&mut net, realm, 1)
    });
    let mut server = Puppet::new(addr(9));
    let mut seen = [addr(0); 2];
    for (host, seen) in [&mut a, &mut b].into_iter().zip(&mut seen) {
        host.send(server.addr, "who am I");
        net.run(&mut [host, &mut server], SECOND);
        *seen = server.take_heard()[0].0;
    }
    let (host, lead, ttl) = match begin {
        Begin::Lead(host, lead) => (host, lead, 64),
        Begin::ShortLead(host, lead) => (host, lead, 2),
    };
    let [first, second] = if host == 0 { [&mut a, &mut b] } else { [&mut b, &mut a] };
    let [of_first, of_second] = if host == 0 { seen } else { [seen[1], seen[0]] };
    let mut heard = [false; 2];
    first.send_with_ttl(of_second, "hello", ttl);
    pass(&mut net, [first, second], &mut heard, lead);
    second.send(of_first, "hello");
    for _ in 0..ROUNDS {
        pass(&mut net, [first, second], &mut heard, ROUND);
        first.send(of_second, "hello");
        second.send(of_first, "hello");
    }
    heard == [true, true]
}

/// Lets time pass. What arrives is answered where it came from.
fn pass(net: &mut Net, hosts: [&mut Puppet; 2], heard: &mut [bool; 2], span: Duration) {
    let [first, second] = hosts;
    let until = net.now + span;
    loop {
        let happened = net.step(&mut [first, second], until);
        for (host, heard) in [&mut *first, &mut *second].into_iter().zip(&mut *heard) {
            for (from, data) in host.take_heard() {
                *heard = true;
                if data == b"hello" {
                    answer(host, from);
                }
            }
        }
        if !happened {
            break;
        }
    }
    net.flush(&mut [first, second]);
}

fn answer(host: &mut Puppet, to: SocketAddr) {
    host.send(to, "answer");
}
