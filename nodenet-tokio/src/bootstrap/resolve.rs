//! Name resolution of bootstrap peers, repeated as long as the node runs.
//!
//! Responsible for: resolving each name again and again, and keeping its last addresses. Never:
//! which address is dialed.
//!
//! Each name has its own task, so that a name whose servers do not answer does not delay the
//! others. The resolver of the system runs on a thread that can not be stopped: a lookup that is
//! given up goes on there until the system gives up. So a name has one lookup at a time, or a name
//! without an answer would take another thread every few seconds.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nodenet_proto::NodeId;
use nodenet_proto::api;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{BootstrapPeer, Host};

/// Time between two resolutions of a name that was found (guess: a common TTL of records).
const RESOLVE_INTERVAL: Duration = Duration::from_secs(300);
/// Time to the next attempt at a name that was not found (guess).
const RESOLVE_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Time without an answer after which a warning follows (guess: resolvers ask a second time about
/// then).
const LOOKUP_WARN_AFTER: Duration = Duration::from_secs(5);

/// Result of a lookup.
type Answer = io::Result<Vec<SocketAddr>>;

/// The peers with a literal address, which need no lookup.
pub(crate) fn literal_peers(peers: &[BootstrapPeer]) -> Vec<api::BootstrapPeer> {
    collect(peers.iter().filter_map(|peer| Some((peer.id, peer.literal_addr()?))))
}

/// Resolves the names among `peers` again and again, and sends the peers whose addresses changed,
/// with their literal addresses included. Ends when the receiver is closed, or at once if there is
/// no name.
pub(crate) async fn resolve_names(
    peers: Vec<BootstrapPeer>,
    resolved: mpsc::Sender<Vec<api::BootstrapPeer>>,
) {
    resolve_with(lookup, peers, resolved).await;
}

async fn resolve_with<F: Future<Output = Answer> + Send + 'static>(
    lookup: impl Fn(String, u16) -> F + Send + Sync + 'static,
    peers: Vec<BootstrapPeer>,
    resolved: mpsc::Sender<Vec<api::BootstrapPeer>>,
) {
    let mut entries: Vec<Entry> = peers.iter().map(Entry::new).collect();
    let mut known = all_peers(&entries);
    let (report, mut found) = mpsc::channel(1);
    let lookup = Arc::new(lookup);
    // Dropped at the end, with all tasks.
    let mut tasks = JoinSet::new();
    for (place, name) in peers.into_iter().enumerate().filter_map(Name::of) {
        let (lookup, report) = (Arc::clone(&lookup), report.clone());
        tasks.spawn(async move { name.resolve_names(&*lookup, (place, report)).await });
    }
    drop(report);
    loop {
        let found = tokio::select! {
            biased;
            () = resolved.closed() => return,
            found = found.recv() => found,
        };
        // Without names there is no task that reports.
        let Some((place, addrs)) = found else { return };
        entries[place].addrs = addrs;
        let all = all_peers(&entries);
        // The others may have newer addresses from elsewhere.
        let changed: Vec<_> = all.iter().filter(|peer| !known.contains(peer)).cloned().collect();
        known = all;
        if !changed.is_empty() && resolved.send(changed).await.is_err() {
            return;
        }
    }
}

/// One entry and its last addresses.
struct Entry {
    id: NodeId,
    addrs: Vec<SocketAddr>,
}

impl Entry {
    fn new(peer: &BootstrapPeer) -> Self {
        Self { id: peer.id, addrs: peer.literal_addr().into_iter().collect() }
    }
}

/// An entry whose host is a name.
struct Name {
    peer: BootstrapPeer,
    host: String,
    /// Whether the last lookup failed.
    failed: bool,
}

impl Name {
    /// The entry at this index of the list, if its host is a name.
    fn of((place, peer): (usize, BootstrapPeer)) -> Option<(usize, Self)> {
        match &peer.host {
            Host::Ip(_) => None,
            Host::Name(host) => {
                let host = host.clone();
                Some((place, Self { peer, host, failed: false }))
            }
        }
    }

    /// Reports each result. A failure is not reported: the last addresses may still be right.
    async fn resolve_names<F: Future<Output = Answer>>(
        mut self,
        lookup: impl Fn(String, u16) -> F,
        (place, report): (usize, mpsc::Sender<(usize, Vec<SocketAddr>)>),
    ) {
        loop {
            let mut answer = pin!(lookup(self.host.clone(), self.peer.port));
            let answer = match timeout(LOOKUP_WARN_AFTER, answer.as_mut()).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.log(&Err(io::Error::new(io::ErrorKind::TimedOut, "no answer yet")));
                    answer.await
                }
            };
            let answer = refuse_empty(answer);
            self.log(&answer);
            let Ok(addrs) = answer else {
                sleep(RESOLVE_RETRY_INTERVAL).await;
                continue;
            };
            if report.send((place, addrs)).await.is_err() {
                return;
            }
            sleep(RESOLVE_INTERVAL).await;
        }
    }

    /// Logs the result if it differs from the last one in success.
    fn log(&mut self, answer: &Answer) {
        if !self.is_change(answer.is_err()) {
            return;
        }
        let peer = &self.peer;
        match answer {
            Ok(_) => tracing::info!(%peer, "the bootstrap peer's name is resolved"),
            Err(error) => {
                tracing::warn!(
                    %peer, %error,
                    "can not resolve the bootstrap peer's name; it is tried again and again"
                );
            }
        }
    }

    /// Whether a row of failures begins or ends with this result.
    fn is_change(&mut self, failed: bool) -> bool {
        std::mem::replace(&mut self.failed, failed) != failed
    }
}

/// An answer without an address counts as a failure.
fn refuse_empty(answer: Answer) -> Answer {
    let empty = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    answer.and_then(|found| (!found.is_empty()).then_some(found).ok_or_else(empty))
}

fn all_peers(entries: &[Entry]) -> Vec<api::BootstrapPeer> {
    let addrs = |entry: &Entry| entry.addrs.iter().map(|addr| (entry.id, *addr)).collect();
    collect(entries.iter().flat_map::<Vec<_>, _>(addrs))
}

/// Resolves with the system, on a thread that goes on when the future is dropped.
async fn lookup(name: String, port: u16) -> Answer {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

/// One peer for each identifier, with its addresses in the given order.
fn collect(found: impl Iterator<Item = (NodeId, SocketAddr)>) -> Vec<api::BootstrapPeer> {
    let mut peers = BTreeMap::<NodeId, Vec<SocketAddr>>::new();
    for (id, addr) in found {
        let addrs = peers.entry(id).or_default();
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    peers.into_iter().map(|(id, addrs)| api::BootstrapPeer { id, addrs }).collect()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::sync::{Notify, mpsc};
    use tokio::time::{Instant, sleep, timeout};

    use super::{BootstrapPeer, Name, literal_peers, refuse_empty, resolve_names, resolve_with};

    const ID: &str = "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5";

    #[test]
    fn addresses_of_one_identifier_are_one_peer() {
        let list = format!("{ID}@192.0.2.1:1,{ID}@192.0.2.2:1,{ID}@192.0.2.1:1,{ID}@name:1");
        let found = literal_peers(&BootstrapPeer::parse_list(&list).unwrap());
        assert_eq!(found.len(), 1);
        let addrs = ["192.0.2.1:1", "192.0.2.2:1"].map(|addr| addr.parse().unwrap());
        assert_eq!(found[0].addrs, addrs);
    }

    #[tokio::test]
    async fn names_are_resolved_and_literals_come_along() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@localhost:77,{ID}@192.0.2.1:1"));
        let (sender, mut resolved) = mpsc::channel(1);
        let task = tokio::spawn(resolve_names(peers.unwrap(), sender));
        let found = timeout(Duration::from_secs(5), resolved.recv()).await.unwrap().unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].addrs.iter().any(|addr| addr.ip().is_loopback() && addr.port() == 77));
        assert!(found[0].addrs.contains(&"192.0.2.1:1".parse().unwrap()));
        drop(resolved);
        timeout(Duration::from_secs(5), task).await.expect("ends with its receiver").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_resolved_again_and_only_changes_are_sent() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@name:77")).unwrap();
        let (sender, mut resolved) = mpsc::channel(1);
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
        let task = tokio::spawn(resolve_with(answer, peers, sender));
        let mut next = async || {
            let found = resolved.recv().await.expect("the task runs");
            (begin.elapsed().as_secs(), found[0].addrs[0].to_string())
        };
        assert_eq!(next().await, (30, "192.0.2.1:77".to_owned()));
        let (at, addr) = next().await;
        assert_eq!(addr, "192.0.2.2:77");
        assert!((1_500..1_500 + 10).contains(&at), "{at}");
        drop(resolved);
        task.await.expect("it ends with its receiver");
    }

    /// What is sent over 25 minutes for these entries, and when.
    async fn sent(
        list: &str,
        answer: impl Fn(&str, u64) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Vec<(u64, Vec<String>)> {
        let peers = BootstrapPeer::parse_list(list).unwrap();
        let (sender, mut resolved) = mpsc::channel(1);
        let begin = Instant::now();
        let lookup = move |name: String, _port| {
            let found = answer(&name, begin.elapsed().as_secs());
            ready(
                found.map(|addr| vec![addr.parse().unwrap()]).ok_or(io::ErrorKind::TimedOut.into()),
            )
        };
        let task = tokio::spawn(resolve_with(lookup, peers, sender));
        let mut sent = Vec::new();
        while let Ok(found) =
            timeout(Duration::from_secs(1_500).saturating_sub(begin.elapsed()), resolved.recv())
                .await
        {
            let addrs = found.expect("the task runs").into_iter().flat_map(|peer| peer.addrs);
            sent.push((begin.elapsed().as_secs(), addrs.map(|addr| addr.to_string()).collect()));
        }
        task.abort();
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_fails_does_not_hide_that_another_moved() {
        let list = format!("{ID}@moves:1,{}@dead:1", ID.replace('4', "5"));
        let sent = sent(&list, |name, at_s| match name {
            "moves" if at_s < 600 => Some("192.0.2.1:1"),
            "moves" => Some("192.0.2.2:1"),
            // Found once, and then never again.
            _ => (at_s == 0).then_some("192.0.2.3:1"),
        });
        let text = |addrs: &[&str]| addrs.iter().map(|addr| (*addr).to_owned()).collect::<Vec<_>>();
        let sent = sent.await;
        assert_eq!(sent[..2], [(0, text(&["192.0.2.1:1"])), (0, text(&["192.0.2.3:1"]))]);
        assert_eq!(sent[2..], [(600, text(&["192.0.2.2:1"]))], "and only that");
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_with_a_literal_keeps_the_address_of_its_name() {
        let list = format!("{ID}@name:1,{ID}@192.0.2.9:1");
        let sent = sent(&list, |_, at_s| (at_s == 0).then_some("192.0.2.1:1")).await;
        let both = ["192.0.2.1:1", "192.0.2.9:1"].map(str::to_owned).to_vec();
        assert_eq!(sent, [(0, both)]);
    }

    /// Entries that differ in identifier and name.
    fn list_of(names: &[&str]) -> Vec<BootstrapPeer> {
        let entry = |(place, name): (usize, &&str)| {
            format!("{}@{name}:1", ID.replace('4', &place.to_string())).parse().unwrap()
        };
        names.iter().enumerate().map(entry).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_answer_delays_no_other() {
        let silent_asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&silent_asked);
        let lookup = move |name: String, _port| {
            let count = Arc::clone(&count);
            async move {
                match name.as_str() {
                    "silent" => {
                        count.fetch_add(1, Ordering::Relaxed);
                        pending().await
                    }
                    "slow" => sleep(Duration::from_secs(60)).await,
                    _ => {}
                }
                Ok(vec!["192.0.2.1:1".parse().unwrap()])
            }
        };
        let (sender, mut resolved) = mpsc::channel(1);
        let peers = list_of(&["silent", "slow", "quick"]);
        let ids = [peers[1].id(), peers[2].id()];
        tokio::spawn(resolve_with(lookup, peers, sender));
        let begin = Instant::now();
        let mut next = async || {
            let found = resolved.recv().await.expect("the task runs");
            let ids = found.iter().map(|peer| peer.id).collect::<Vec<_>>();
            (begin.elapsed().as_secs(), ids)
        };
        assert_eq!(next().await, (0, vec![ids[1]]));
        assert_eq!(next().await, (60, vec![ids[0]]), "an answer that is late is taken");
        assert!(timeout(Duration::from_secs(3_600), next()).await.is_err(), "nothing changes");
        assert_eq!(silent_asked.load(Ordering::Relaxed), 1, "each lookup takes a thread");
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_its_receiver_in_the_middle_of_a_lookup() {
        let asked = Arc::new(Notify::new());
        let (sender, resolved) = mpsc::channel(1);
        let notify = Arc::clone(&asked);
        let lookup = move |_, _| {
            notify.notify_one();
            pending()
        };
        let task = tokio::spawn(resolve_with(lookup, list_of(&["silent"]), sender));
        asked.notified().await;
        drop(resolved);
        let begin = Instant::now();
        timeout(Duration::from_secs(1), task).await.expect("it ends").unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[test]
    fn a_row_of_failures_is_logged_at_its_begin_and_its_end() {
        let peer = format!("{ID}@name:1").parse().unwrap();
        let (_, mut name) = Name::of((0, peer)).expect("it is a name");
        let mut logged = |failed: [bool; 4]| failed.map(|failed| name.is_change(failed));
        assert_eq!(logged([false, false, true, true]), [false, false, true, false]);
        assert_eq!(logged([true, false, false, true]), [false, true, false, true]);
    }

    #[test]
    fn an_answer_without_an_address_is_a_failure() {
        let addr = "192.0.2.1:1".parse().unwrap();
        assert_eq!(refuse_empty(Ok(vec![addr])).unwrap(), [addr]);
        assert_eq!(refuse_empty(Ok(vec![])).unwrap_err().kind(), io::ErrorKind::NotFound);
        let failure = io::ErrorKind::TimedOut;
        assert_eq!(refuse_empty(Err(failure.into())).unwrap_err().kind(), failure);
    }

    #[tokio::test]
    async fn without_names_there_is_nothing_to_resolve() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@192.0.2.1:1")).unwrap();
        let (sender, mut resolved) = mpsc::channel(1);
        resolve_names(peers, sender).await;
        assert_eq!(resolved.recv().await, None);
    }
}
