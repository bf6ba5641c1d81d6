//! Agent of a network namespace: UDP sockets that are bound, send and receive as lines on standard
//! input ask.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Before every answer, so that lines of the test harness are told from it.
pub(crate) const MARK: &str = "@@";

/// Serves until standard input ends.
pub(crate) fn serve() {
    let mut sockets: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let line = line.expect("the test writes text");
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["bind", addr] => bind(&mut sockets, addr),
            ["send", from, to, ttl, text] => send(&sockets, [from, to, ttl, text]),
            ["find", text, ms] => find(&sockets, text, ms.parse().expect("a number")),
            _ => panic!("{line} is no request"),
        };
        println!("{MARK}{answer}");
        io::stdout().flush().expect("the test reads");
    }
}

fn bind(sockets: &mut BTreeMap<SocketAddr, UdpSocket>, addr: &str) -> String {
    let addr = addr.parse().expect("an address");
    sockets.entry(addr).or_insert_with(|| {
        let socket = UdpSocket::bind(addr).expect("the address is there");
        socket.set_nonblocking(true).expect("it is a socket");
        socket
    });
    "ok".to_owned()
}

fn send(sockets: &BTreeMap<SocketAddr, UdpSocket>, [from, to, ttl, text]: [&str; 4]) -> String {
    let socket = &sockets[&from.parse().expect("an address")];
    socket.set_ttl(ttl.parse().expect("a number")).expect("it is a socket");
    match socket.send_to(text.as_bytes(), to) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Waits for a datagram with this text. Others are discarded.
fn find(sockets: &BTreeMap<SocketAddr, UdpSocket>, text: &str, ms: u64) -> String {
    let end = Instant::now() + Duration::from_millis(ms);
    let mut buf = [0; 64];
    loop {
        for (at, socket) in sockets {
            while let Ok((len, from)) = socket.recv_from(&mut buf) {
                if &buf[..len] == text.as_bytes() {
                    return format!("{at} {from}");
                }
            }
        }
        if Instant::now() >= end {
            return "none".to_owned();
        }
        thread::sleep(Duration::from_millis(1));
    }
}
