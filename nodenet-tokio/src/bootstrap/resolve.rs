//! Where bootstrap peers are: what was given as an address, and what names lead to now.
//!
//! Responsible for: asking again and again, and keeping of every name what it led to last. Never:
//! which of the addresses is dialed.
//!
//! Every name has a task of its own, so that one whose name servers are silent keeps no other
//! waiting. The system's resolver runs on a thread that nobody can stop: a lookup that is given up
//! goes on there until the system gives up as well. So a name is never asked for while an earlier
//! lookup is out, or a silent one would take a thread more every few seconds.

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

/// Time between two resolutions of a name that was found (guess: a common time to live of records).
const RESOLVE_INTERVAL: Duration = Duration::from_secs(300);
/// Time to the next attempt at a name that was not found.
const RESOLVE_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// After this long without an answer the operator is told (guess: resolvers ask a second time about
/// then).
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// What a lookup gave.
type Answer = io::Result<Vec<SocketAddr>>;

/// What is known without asking anyone.
pub(crate) fn literal_peers(peers: &[BootstrapPeer]) -> Vec<api::BootstrapPeer> {
    collect(peers.iter().filter_map(|peer| Some((peer.id, peer.literal_addr()?))))
}

/// Resolves the names among `peers` again and again and sends the seeds that an answer changed,
/// each with its literal addresses as well. Ends when nobody listens any more, or at once if there
/// is no name.
pub(crate) async fn resolve_for_ever(
    peers: Vec<BootstrapPeer>,
    seeds: mpsc::Sender<Vec<api::BootstrapPeer>>,
) {
    resolve_with(lookup, peers, seeds).await;
}

async fn resolve_with<F: Future<Output = Answer> + Send + 'static>(
    lookup: impl Fn(String, u16) -> F + Send + Sync + 'static,
    peers: Vec<BootstrapPeer>,
    seeds: mpsc::Sender<Vec<api::BootstrapPeer>>,
) {
    let mut entries: Vec<Entry> = peers.iter().map(Entry::new).collect();
    let mut known = all_seeds(&entries);
    let (report, mut found) = mpsc::channel(1);
    let lookup = Arc::new(lookup);
    // Dropped at the end, and all tasks with it.
    let mut tasks = JoinSet::new();
    for (place, name) in peers.into_iter().enumerate().filter_map(Name::of) {
        let (lookup, report) = (Arc::clone(&lookup), report.clone());
        tasks.spawn(async move { name.resolve_for_ever(&*lookup, (place, report)).await });
    }
    drop(report);
    loop {
        let found = tokio::select! {
            biased;
            () = seeds.closed() => return,
            found = found.recv() => found,
        };
        // Nobody is left to report if there is no name.
        let Some((place, addrs)) = found else { return };
        entries[place].addrs = addrs;
        let all = all_seeds(&entries);
        // Of the others it may be known otherwise where they are now.
        let changed: Vec<_> = all.iter().filter(|seed| !known.contains(seed)).cloned().collect();
        known = all;
        if !changed.is_empty() && seeds.send(changed).await.is_err() {
            return;
        }
    }
}

/// One entry and where it led last.
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
    /// The entry at a place in the list, if its host is a name.
    fn of((place, peer): (usize, BootstrapPeer)) -> Option<(usize, Self)> {
        match &peer.host {
            Host::Ip(_) => None,
            Host::Name(host) => {
                let host = host.clone();
                Some((place, Self { peer, host, failed: false }))
            }
        }
    }

    /// Reports where it leads. What was found once is better than nothing, so a failure is not
    /// reported.
    async fn resolve_for_ever<F: Future<Output = Answer>>(
        mut self,
        lookup: impl Fn(String, u16) -> F,
        (place, report): (usize, mpsc::Sender<(usize, Vec<SocketAddr>)>),
    ) {
        loop {
            let mut answer = pin!(lookup(self.host.clone(), self.peer.port));
            let answer = match timeout(LOOKUP_PATIENCE, answer.as_mut()).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.tell(&Err(io::Error::new(io::ErrorKind::TimedOut, "no answer yet")));
                    answer.await
                }
            };
            let answer = refuse_nothing(answer);
            self.tell(&answer);
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

    /// Tells the operator, if it is news.
    fn tell(&mut self, answer: &Answer) {
        if !self.is_news(answer.is_err()) {
            return;
        }
        let peer = &self.peer;
        match answer {
            Ok(_) => tracing::info!(%peer, "the bootstrap peer's name is resolved"),
            Err(error) => {
                tracing::warn!(%peer, %error, "can not resolve the bootstrap peer's name, trying on");
            }
        }
    }

    /// Whether this is the first of a row of failures, or the end of one.
    fn is_news(&mut self, failed: bool) -> bool {
        std::mem::replace(&mut self.failed, failed) != failed
    }
}

/// An answer without an address is as good as none.
fn refuse_nothing(answer: Answer) -> Answer {
    let nothing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    answer.and_then(|found| (!found.is_empty()).then_some(found).ok_or_else(nothing))
}

fn all_seeds(entries: &[Entry]) -> Vec<api::BootstrapPeer> {
    let addrs = |entry: &Entry| entry.addrs.iter().map(|addr| (entry.id, *addr)).collect();
    collect(entries.iter().flat_map::<Vec<_>, _>(addrs))
}

/// Asks the system, on a thread that goes on when the future is dropped.
async fn lookup(name: String, port: u16) -> Answer {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

/// One seed for each identifier, with its addresses in the order given.
fn collect(found: impl Iterator<Item = (NodeId, SocketAddr)>) -> Vec<api::BootstrapPeer> {
    let mut seeds = BTreeMap::<NodeId, Vec<SocketAddr>>::new();
    for (id, addr) in found {
        let addrs = seeds.entry(id).or_default();
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    seeds.into_iter().map(|(id, addrs)| api::BootstrapPeer { id, addrs }).collect()
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

    use super::{
        BootstrapPeer, Name, literal_peers, refuse_nothing, resolve_for_ever, resolve_with,
    };

    const ID: &str = "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5";

    #[test]
    fn addresses_of_one_peer_are_one_seed() {
        let list = format!("{ID}@192.0.2.1:1,{ID}@192.0.2.2:1,{ID}@192.0.2.1:1,{ID}@name:1");
        let seeds = literal_peers(&BootstrapPeer::parse_list(&list).unwrap());
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
        answer: impl Fn(&str, u64) -> Option<&'static str> + Send + Sync + 'static,
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
        assert_eq!(told[..2], [(0, text(&["192.0.2.1:1"])), (0, text(&["192.0.2.3:1"]))]);
        assert_eq!(told[2..], [(600, text(&["192.0.2.2:1"]))], "and only that");
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_with_a_literal_keeps_what_its_name_led_to() {
        let list = format!("{ID}@name:1,{ID}@192.0.2.9:1");
        let told = told(&list, |_, at_s| (at_s == 0).then_some("192.0.2.1:1")).await;
        let both = ["192.0.2.1:1", "192.0.2.9:1"].map(str::to_owned).to_vec();
        assert_eq!(told, [(0, both)]);
    }

    /// Entries that differ in identifier and name.
    fn list_of(names: &[&str]) -> Vec<BootstrapPeer> {
        let entry = |(place, name): (usize, &&str)| {
            format!("{}@{name}:1", ID.replace('4', &place.to_string())).parse().unwrap()
        };
        names.iter().enumerate().map(entry).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_never_answers_keeps_no_other_from_being_told() {
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
        let (seeds, mut resolved) = mpsc::channel(1);
        let peers = list_of(&["silent", "slow", "quick"]);
        let ids = [peers[1].id(), peers[2].id()];
        tokio::spawn(resolve_with(lookup, peers, seeds));
        let begin = Instant::now();
        let mut next = async || {
            let seeds = resolved.recv().await.expect("the task runs");
            let ids = seeds.iter().map(|seed| seed.id).collect::<Vec<_>>();
            (begin.elapsed().as_secs(), ids)
        };
        assert_eq!(next().await, (0, vec![ids[1]]));
        assert_eq!(next().await, (60, vec![ids[0]]), "an answer that is late is taken");
        assert!(timeout(Duration::from_secs(3_600), next()).await.is_err(), "nothing changes");
        assert_eq!(silent_asked.load(Ordering::Relaxed), 1, "each lookup takes a thread");
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_its_listener_in_the_middle_of_a_lookup() {
        let asked = Arc::new(Notify::new());
        let (seeds, resolved) = mpsc::channel(1);
        let notify = Arc::clone(&asked);
        let lookup = move |_, _| {
            notify.notify_one();
            pending()
        };
        let task = tokio::spawn(resolve_with(lookup, list_of(&["silent"]), seeds));
        asked.notified().await;
        drop(resolved);
        let begin = Instant::now();
        timeout(Duration::from_secs(1), task).await.expect("it ends").unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[test]
    fn a_row_of_failures_is_told_once_and_its_end_as_well() {
        let peer = format!("{ID}@name:1").parse().unwrap();
        let (_, mut name) = Name::of((0, peer)).expect("it is a name");
        let mut told = |failed: [bool; 4]| failed.map(|failed| name.is_news(failed));
        assert_eq!(told([false, false, true, true]), [false, false, true, false]);
        assert_eq!(told([true, false, false, true]), [false, true, false, true]);
    }

    #[test]
    fn no_address_is_as_good_as_no_answer() {
        let addr = "192.0.2.1:1".parse().unwrap();
        assert_eq!(refuse_nothing(Ok(vec![addr])).unwrap(), [addr]);
        assert_eq!(refuse_nothing(Ok(vec![])).unwrap_err().kind(), io::ErrorKind::NotFound);
        let failure = io::ErrorKind::TimedOut;
        assert_eq!(refuse_nothing(Err(failure.into())).unwrap_err().kind(), failure);
    }

    #[tokio::test]
    async fn without_names_there_is_nothing_to_resolve() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@192.0.2.1:1")).unwrap();
        let (seeds, mut resolved) = mpsc::channel(1);
        resolve_for_ever(peers, seeds).await;
        assert_eq!(resolved.recv().await, None);
    }
}
