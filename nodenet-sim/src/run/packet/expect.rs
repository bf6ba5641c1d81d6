//! Expectations of a packet scenario: messages, paths and edges.

use super::{FailureKind, Fault, MessageFate, PacketRun};
use crate::scenario::packet::PacketStage;
use crate::world::{Host, Settled, Tracked};

impl PacketRun {
    /// What held, or what does not; none if the step is no expectation.
    pub(super) fn judge(&self, step: &PacketStage) -> Option<Result<String, Fault>> {
        match step {
            PacketStage::ExpectDelivered { from, to, share } => {
                Some(self.expect_delivered(from.as_deref(), to.as_deref(), *share))
            }
            PacketStage::ExpectEdge { from, to, up } => Some(self.expect_edge(from, to, *up)),
            PacketStage::ExpectEdges { hosts, at_least } => {
                Some(self.expect_edges(hosts, *at_least))
            }
            _ => None,
        }
    }

    /// Checks that every edge on the way of a message is there.
    pub(super) fn has_path(&self, from: &str, over: &[String], to: &str) -> Result<(), Fault> {
        if over.is_empty() {
            return Ok(());
        }
        let way: Vec<&str> =
            [from].into_iter().chain(over.iter().map(String::as_str)).chain([to]).collect();
        for pair in way.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            if !self.world.has_edge(self.hosts[a], self.hosts[b]) {
                return Err(Fault {
                    kind: FailureKind::PathMissing { from: a.to_owned(), to: b.to_owned() },
                    what: format!(
                        "a message from {from} to {to} is to cross {}, and {a} has no edge to {b}",
                        over.join(", ")
                    ),
                });
            }
        }
        Ok(())
    }

    fn expect_delivered(
        &self,
        from: Option<&str>,
        to: Option<&str>,
        share: f64,
    ) -> Result<String, Fault> {
        let is = |host: Host, name: Option<&str>| name.is_none_or(|name| self.hosts[name] == host);
        let tracked = self.world.probes().tracked().iter();
        let all: Vec<&Tracked> =
            tracked.filter(|message| is(message.from, from) && is(message.to, to)).collect();
        let name = |host| self.world.name(host).to_owned();
        if let Some(message) = all.iter().find(|message| message.duplicates > 0) {
            let (from, to) = (name(message.from), name(message.to));
            let what = format!("a message from {from} to {to} reached the application twice");
            return Err(Fault { kind: FailureKind::DeliveredTwice { from, to }, what });
        }
        let lost: Vec<_> = all.iter().filter(|message| message.arrival.is_none()).collect();
        let delivered = all.len() - lost.len();
        if let Some(first) = lost.first()
            && (delivered as f64) < share * all.len() as f64
        {
            let (from, to) = (name(first.from), name(first.to));
            let (fate, outcome) = match first.settled {
                Settled::Failed(error) => {
                    (MessageFate::Refused, format!("its node refused it: {error}"))
                }
                Settled::Sent(copies) => {
                    (MessageFate::Lost, format!("copies that left {from}: {copies}"))
                }
                Settled::Pending => (MessageFate::Waiting, format!("it is still at {from}")),
            };
            let what = format!(
                "delivered {delivered} of {} messages, at least {:.3} % were expected; the first \
                 that is missing is from {from} to {to}, sent at t={}: {outcome}",
                all.len(),
                share * 100.0,
                first.sent_at
            );
            return Err(Fault { kind: FailureKind::NotDelivered { from, to, fate }, what });
        }
        Ok(format!("{delivered} of {} messages delivered, none twice", all.len()))
    }

    fn expect_edge(&self, from: &str, to: &str, up: bool) -> Result<String, Fault> {
        let (a, b) = (self.hosts[from], self.hosts[to]);
        let seen = [self.world.has_edge(a, b), self.world.has_edge(b, a)];
        let expected = format!("{} edge between {from} and {to}", if up { "an" } else { "no" });
        if seen == [up, up] {
            return Ok(expected);
        }
        let sees = |name: &str, has| format!("{name} has {}", if has { "one" } else { "none" });
        let kind =
            FailureKind::EdgeDiffers { from: from.to_owned(), to: to.to_owned(), expected: up };
        let what = format!("expected {expected}; {}, {}", sees(from, seen[0]), sees(to, seen[1]));
        Err(Fault { kind, what })
    }

    fn expect_edges(&self, hosts: &[String], at_least: usize) -> Result<String, Fault> {
        let awake = |host: &Host| self.world.is_up(*host) && !self.world.is_asleep(*host);
        let hosts: Vec<Host> = match hosts {
            [] => self.world.hosts().filter(awake).collect(),
            names => names.iter().map(|name| self.hosts[name]).collect(),
        };
        for host in &hosts {
            let edges = self.world.edges(*host).len();
            if edges < at_least {
                let host = self.world.name(*host).to_owned();
                let what = format!("{host} has {edges} edges, at least {at_least} were expected");
                return Err(Fault { kind: FailureKind::EdgesMissing { host }, what });
            }
        }
        Ok(format!("at least {at_least} edges at each of {} hosts", hosts.len()))
    }
}
