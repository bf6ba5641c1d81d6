//! One script on the kernel's router and on a box, and what it notes.
//!
//! A script notes what it sees in words that are the same for every choice of random ports: `kept`,
//! or `other 1`, `other 2` in the order of appearance.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nodenet_proto::testkit::nat_box::LinuxConfig;

use crate::family::{Family, Socket};
use crate::lab;
use crate::router::{Kernel, Model, Router, Setup};
use crate::rules::{TIMEOUT_SECS, TIMEOUT_STREAM_SECS};

/// Sockets with one port at two hosts.
pub(crate) const A1: Socket = (1, 5_000);
pub(crate) const A2: Socket = (2, 5_000);

/// Runs a script on the kernel's router and on a box, and asserts what both noted.
pub(crate) fn agree(test: &str, setup: &Setup, script: impl Fn(&mut Notes<'_>), expected: &[&str]) {
    lab::run(test, setup.topology(), setup.family, |lab| {
        let noted = |router: &mut dyn Router| {
            let family = setup.family;
            let wan = family.wan();
            let mut notes = Notes { router, family, wan, others: Vec::new(), lines: Vec::new() };
            script(&mut notes);
            notes.lines
        };
        let mut model = Model::new(setup);
        let by_box = noted(&mut model);
        let by_kernel = noted(&mut Kernel::new(lab, setup, model.passed));
        assert_eq!(by_kernel, expected, "the kernel");
        assert_eq!(by_box, expected, "the box");
    });
}

/// A Linux router with the timeouts of these tests.
pub(crate) fn linux() -> LinuxConfig {
    let [timeout, timeout_stream] = [TIMEOUT_SECS, TIMEOUT_STREAM_SECS].map(Duration::from_secs);
    LinuxConfig { timeout, timeout_stream, ..LinuxConfig::default() }
}

/// A script with one early datagram.
pub(crate) fn early(notes: &mut Notes<'_>) {
    notes.out(A1, 0);
    notes.reach(1, A1.1);
    notes.out(A1, 1);
    notes.reach(1, A1.1);
    notes.out(A1, 2);
    notes.out(A1, 0);
}

/// A script that asks who gets in.
pub(crate) fn filtering(notes: &mut Notes<'_>) {
    notes.out(A1, 0);
    notes.reach(0, A1.1);
    notes.reach(1, A1.1);
}

/// What a script saw of a router.
pub(crate) struct Notes<'a> {
    pub(crate) router: &'a mut dyn Router,
    pub(crate) family: Family,
    /// The external address of the router.
    wan: IpAddr,
    /// External endpoints with another port than the socket, in the order of appearance.
    pub(crate) others: Vec<SocketAddr>,
    pub(crate) lines: Vec<String>,
}

impl Notes<'_> {
    pub(crate) fn out(&mut self, from: Socket, server: usize) {
        self.out_with_ttl(from, server, 64);
    }

    pub(crate) fn out_to_all(&mut self, from: Socket) {
        (0..3).for_each(|server| self.out(from, server));
    }

    pub(crate) fn out_with_ttl(&mut self, from: Socket, server: usize, ttl: u8) {
        self.out_to(from, self.family.server(server), ttl);
    }

    pub(crate) fn out_to(&mut self, from: Socket, server: SocketAddr, ttl: u8) {
        let seen = self.router.send_out(from, server, ttl);
        let line = match seen {
            None => "nothing".to_owned(),
            Some(seen) if seen.port() == from.1 => "kept".to_owned(),
            Some(seen) => {
                let known = self.others.iter().position(|other| *other == seen);
                let number = known.unwrap_or_else(|| {
                    self.others.push(seen);
                    self.others.len() - 1
                });
                format!("other {}", number + 1)
            }
        };
        self.lines.push(line);
    }

    pub(crate) fn passes_out(&mut self, from: Socket, server: usize) {
        let passed = self.router.send_out(from, self.family.server(server), 64).is_some();
        self.lines.push(if passed { "yes" } else { "no" }.to_owned());
    }

    /// A server sends to a port of the router.
    pub(crate) fn reach(&mut self, server: usize, port: u16) {
        self.reach_at(server, SocketAddr::new(self.wan, port));
    }

    /// A server sends to an endpoint.
    pub(crate) fn reach_at(&mut self, server: usize, to: SocketAddr) {
        let from = self.family.server(server);
        let got = self.router.send_in(from, to);
        let line = got.map(|((host, port), source)| {
            let other = if source == from { "" } else { " from another port" };
            format!("{host}:{port}{other}")
        });
        self.lines.push(line.unwrap_or_else(|| "nothing".to_owned()));
    }

    /// A server sends to the address of a socket.
    pub(crate) fn reach_socket(&mut self, server: usize, socket: Socket) {
        self.reach_at(server, self.family.inside(socket));
    }

    /// A socket sends to a port of the router. Notes who gets it, and whether the source is the
    /// external one.
    pub(crate) fn around(&mut self, from: Socket, port: u16) {
        let got = self.router.hairpin(from, SocketAddr::new(self.wan, port));
        let line = got.map(|((host, port), source)| {
            let side = if source.ip() == self.wan { "outside" } else { "inside" };
            format!("{host}:{port} from {side}")
        });
        self.lines.push(line.unwrap_or_else(|| "nothing".to_owned()));
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.router.wait(Duration::from_millis(ms));
    }

    pub(crate) fn renumber(&mut self, wan: impl Into<IpAddr>) {
        self.wan = wan.into();
        self.router.renumber(self.wan);
    }

    pub(crate) fn reboot(&mut self, wan: impl Into<IpAddr>) {
        self.wan = wan.into();
        self.router.reboot(self.wan);
    }
}
