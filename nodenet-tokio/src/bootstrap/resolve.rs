//! Where bootstrap peers are: what was given as an address, and what names lead to now.
//!
//! Responsible for: asking again and again, and keeping of every name what it led to last. Never: which of
//! the addresses is dialed.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nodenet_proto::NodeId;
use nodenet_proto::engine::SeedPeer;
use tokio::sync::mpsc;

use super::{BootstrapPeer, Host};

/// Time between two resolutions of a name that was found (guess: a common time to live of records).
const RESOLVE_INTERVAL: Duration = Duration::from_secs(300);
/// Time to the next attempt while some name is not found.
const RESOLVE_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What is known without asking anyone.
pub(crate) fn literal_seeds(peers: &[BootstrapPeer]) -> Vec<SeedPeer> {
    collect(peers.iter().filter_map(|peer| Some((peer.id, peer.literal_addr()?))))
}

/// Resolves the names among `peers` again and again and sends all seeds, literal ones included, when
/// an answer changed. Ends when nobody listens any more, or at once if there is no name.
pub(crate) async fn resolve_for_ever(
    peers: Vec<BootstrapPeer>,
    seeds: mpsc::Sender<Vec<SeedPeer>>,
) {
    resolve_with(lookup, peers, seeds).await;
}

async fn resolve_with<F: Future<Output = io::Result<Vec<SocketAddr>>>>(
    lookup: impl Fn(String, u16) -> F,
    peers: Vec<BootstrapPeer>,
    seeds: mpsc::Sender<Vec<SeedPeer>>,
) {
    let mut entries: Vec<Entry> = peers.into_iter().map(Entry::new).collect();
    if entries.iter().all(|entry| entry.peer.literal_addr().is_some()) {
        return;
    }
    let mut known = all_seeds(&entries);
    loop {
        for place in 0..entries.len() {
            let BootstrapPeer { host: Host::Name(name), port, .. } = &entries[place].peer else {
                continue;
            };
            let answer = lookup(name.clone(), *port).await;
            entries[place].handle_answer(answer);
            // Told at once, because the next answer may take its time.
            let found = all_seeds(&entries);
            if found != known {
                known = found;
                if seeds.send(known.clone()).await.is_err() {
                    return;
                }
            }
        }
        let complete = entries.iter().all(|entry| !entry.failed);
        let pause = if complete { RESOLVE_INTERVAL } else { RESOLVE_RETRY_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = seeds.closed() => return,
        }
    }
}

/// One entry and where it led last.
struct Entry {
    peer: BootstrapPeer,
    addrs: Vec<SocketAddr>,
    /// Whether the last lookup failed.
    failed: bool,
}

impl Entry {
    fn new(peer: BootstrapPeer) -> Self {
        let addrs = peer.literal_addr().into_iter().collect();
        Self { peer, addrs, failed: false }
    }

    /// Takes what a lookup gave. What was found once is better than nothing, so a failure leaves it. Only
    /// the first of a row of failures is told. Returns whether something was.
    fn handle_answer(&mut self, answer: io::Result<Vec<SocketAddr>>) -> bool {
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let answer =
            answer.and_then(|found| (!found.is_empty()).then_some(found).ok_or_else(nothing));
        let failed_before = std::mem::replace(&mut self.failed, answer.is_err());
        match answer {
            Ok(found) => self.addrs = found,
            Err(_) if failed_before => return false,
            Err(error) => {
                let peer = &self.peer;
                tracing::warn!(%peer, %error, "can not resolve the bootstrap peer's name, trying on");
                return true;
            }
        }
        if failed_before {
            tracing::info!(peer = %self.peer, "the bootstrap peer's name is resolved");
        }
        failed_before
    }
}

fn all_seeds(entries: &[Entry]) -> Vec<SeedPeer> {
    let addrs = |entry: &Entry| entry.addrs.iter().map(|addr| (entry.peer.id, *addr)).collect();
    collect(entries.iter().flat_map::<Vec<_>, _>(addrs))
}

async fn lookup(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

/// One seed for each identifier, with its addresses in the order given.
fn collect(found: impl Iterator<Item = (NodeId, SocketAddr)>) -> Vec<SeedPeer> {
    let mut seeds = BTreeMap::<NodeId, Vec<SocketAddr>>::new();
    for (id, addr) in found {
        let addrs = seeds.entry(id).or_default();
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    seeds.into_iter().map(|(id, addrs)| SeedPeer { id, addrs }).collect()
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::io;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::{BootstrapPeer, Entry, literal_seeds, resolve_for_ever, resolve_with};

    const ID: &str = "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5";

    #[test]
    fn addresses_of_one_peer_are_one_seed() {
        let list = format!("{ID}@192.0.2.1:1,{ID}@192.0.2.2:1,{ID}@192.0.2.1:1,{ID}@name:1");
        let seeds = literal_seeds(&BootstrapPeer::parse_list(&list).unwrap());
        assert_eq!(seeds.len(), 1);
        let addrs = ["192.0.2.1:1", "192.0.2.2:1"].map(|addr| addr.parse().unwrap());
        assert_eq!(seeds[0].addrs, addrs);
    }

    #[tokio::test]
    async fn names_are_resolved_and_literals_come_along() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@localhost:77,{ID}@192.0.2.1:1"));
        let (seeds, mut resolved) = mpsc::channel(1);
        let task = tokio::spawn(resolve_for_ever(peers.unwrap(), seeds));
        let seeds = timeout(Duration::from_secs(5), resolved.recv()).await.unwrap().unwrap();
        assert_eq!(seeds.len(), 1);
        assert!(seeds[0].addrs.iter().any(|addr| addr.ip().is_loopback() && addr.port() == 77));
        assert!(seeds[0].addrs.contains(&"192.0.2.1:1".parse().unwrap()));
        drop(resolved);
        timeout(Duration::from_secs(5), task).await.expect("ends with its listener").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_asked_again_and_only_changes_are_told() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@name:77")).unwrap();
        let (seeds, mut resolved) = mpsc::channel(1);
        let begin = Instant::now();
        // Not found for 25 s, then at one address for 20 minutes, then unknown again, then moved.
        let answer = move |name: String, port| {
            assert_eq!((name.as_str(), port), ("name", 77));
            let found = match begin.elapsed().as_secs() {
                25..1_200 => Ok(vec!["192.0.2.1:77".parse().unwrap()]),
                1_500.. => Ok(vec!["192.0.2.2:77".parse().unwrap()]),
                _ => Err(io::ErrorKind::NotFound.into()),
            };
            ready(found)
        };
        let task = tokio::spawn(resolve_with(answer, peers, seeds));
        let mut next = async || {
            let seeds = resolved.recv().await.expect("the task runs");
            (begin.elapsed().as_secs(), seeds[0].addrs[0].to_string())
        };
        assert_eq!(next().await, (30, "192.0.2.1:77".to_owned()));
        let (at, addr) = next().await;
        assert_eq!(addr, "192.0.2.2:77");
        assert!((1_500..1_500 + 10).contains(&at), "{at}");
        drop(resolved);
        task.await.expect("it ends with its listener");
    }

    /// What is told over 25 minutes, and when, of these entries.
    async fn told(
        list: &str,
        answer: impl Fn(&str, u64) -> Option<&'static str> + Send + 'static,
    ) -> Vec<(u64, Vec<String>)> {
        let peers = BootstrapPeer::parse_list(list).unwrap();
        let (seeds, mut resolved) = mpsc::channel(1);
        let begin = Instant::now();
        let lookup = move |name: String, _port| {
            let found = answer(&name, begin.elapsed().as_secs());
            ready(
                found.map(|addr| vec![addr.parse().unwrap()]).ok_or(io::ErrorKind::TimedOut.into()),
            )
        };
        let task = tokio::spawn(resolve_with(lookup, peers, seeds));
        let mut told = Vec::new();
        while let Ok(seeds) =
            timeout(Duration::from_secs(1_500).saturating_sub(begin.elapsed()), resolved.recv())
                .await
        {
            let addrs = seeds.expect("the task runs").into_iter().flat_map(|seed| seed.addrs);
            told.push((begin.elapsed().as_secs(), addrs.map(|addr| addr.to_string()).collect()));
        }
        task.abort();
        told
    }

    #[tokio::test(start_paused = true)]
    async fn one_dead_name_does_not_hide_that_another_moved() {
        let list = format!("{ID}@moves:1,{}@dead:1", ID.replace('4', "5"));
        let told = told(&list, |name, at_s| match name {
            "moves" if at_s < 600 => Some("192.0.2.1:1"),
            "moves" => Some("192.0.2.2:1"),
            // Found once, and then never again.
            _ => (at_s == 0).then_some("192.0.2.3:1"),
        });
        let text = |addrs: &[&str]| addrs.iter().map(|addr| (*addr).to_owned()).collect::<Vec<_>>();
        let told = told.await;
        assert_eq!(
            told[..2],
            [(0, text(&["192.0.2.1:1"])), (0, text(&["192.0.2.1:1", "192.0.2.3:1"])),]
        );
        assert_eq!(told[2..], [(600, text(&["192.0.2.2:1", "192.0.2.3:1"]))]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_with_a_literal_keeps_what_its_name_led_to() {
        let list = format!("{ID}@name:1,{ID}@192.0.2.9:1");
        let told = told(&list, |_, at_s| (at_s == 0).then_some("192.0.2.1:1")).await;
        let both = ["192.0.2.1:1", "192.0.2.9:1"].map(str::to_owned).to_vec();
        assert_eq!(told, [(0, both)]);
    }

    #[test]
    fn a_row_of_failures_is_told_once_and_its_end_as_well() {
        let mut entry = Entry::new(format!("{ID}@name:1").parse().unwrap());
        let mut told = |answer: Result<&str, io::ErrorKind>| {
            let answer = answer.map(|addr| addr.split_terminator(' ').map(|a| a.parse().unwrap()));
            entry.handle_answer(answer.map(Iterator::collect).map_err(io::Error::from))
        };
        let addr = Ok("192.0.2.1:1");
        let failure = Err(io::ErrorKind::TimedOut);
        assert_eq!([addr, addr].map(&mut told), [false, false]);
        // No address is as good as no answer.
        assert_eq!([failure, failure, Ok(""), failure].map(&mut told), [true, false, false, false]);
        assert_eq!([addr, addr, Ok(""), addr].map(&mut told), [true, false, true, true]);
    }

    #[tokio::test]
    async fn without_names_there_is_nothing_to_resolve() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@192.0.2.1:1")).unwrap();
        let (seeds, mut resolved) = mpsc::channel(1);
        resolve_for_ever(peers, seeds).await;
        assert_eq!(resolved.recv().await, None);
    }
}
