//! Minting: the search for a master seed whose identifier has proof of work, on all cores.
//!
//! Responsible for: threads, entropy, progress, cancellation. Never: what counts as proof of work,
//! which [`nodenet_proto::pow`] decides.
//!
//! A [`Minting`] searches from its start until it has found a seed or is dropped.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nodenet_proto::env::Seed;
use nodenet_proto::pow::{Minter, Unsatisfiable, expected_tries};
use tokio::sync::mpsc;

use crate::key_file::MasterSeed;

/// Why a search brought no seed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// An identifier has fewer bits than the difficulty asks for.
    #[error(transparent)]
    Unsatisfiable(#[from] Unsatisfiable),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    NoEntropy(getrandom::Error),
    /// The operating system gave no thread.
    #[error("can not start a thread to search on: {0}")]
    NoThread(std::io::Error),
    /// The search ended without a result.
    #[error("the search was cancelled")]
    Cancelled,
}

/// A random seed, for a network of difficulty 0 or a node without a key file.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn random_seed() -> Result<MasterSeed, MintError> {
    let mut seed = MasterSeed::default();
    getrandom::fill(&mut *seed).map_err(MintError::NoEntropy)?;
    Ok(seed)
}

/// Progress of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MintProgress {
    /// Seeds tried.
    pub tries: u64,
    /// Seeds tried per second so far.
    pub tries_per_s: f64,
    /// Since the start.
    pub elapsed: Duration,
    /// Mean time until the search ends; none while the rate is unknown, or if the time is too long
    /// for a [`Duration`]. The search has no memory, so the time does not shrink while it runs.
    pub expected_remaining: Option<Duration>,
}

/// A search under way. Dropping it ends the search.
#[derive(Debug)]
#[must_use = "dropping this ends the search: wait for finish()"]
pub struct Minting {
    difficulty: u16,
    started: Instant,
    shared: Arc<Shared>,
    found: mpsc::Receiver<MasterSeed>,
}

#[derive(Debug, Default)]
struct Shared {
    tries: AtomicU64,
    stop: AtomicBool,
}

impl Minting {
    /// Starts searching on every core.
    ///
    /// # Errors
    /// If the difficulty is above 256, or the system gives no randomness or threads.
    pub fn start(difficulty: u16) -> Result<Self, MintError> {
        let shared = Arc::new(Shared::default());
        let (sender, found) = mpsc::channel(1);
        let minting = Self { difficulty, started: now(), shared, found };
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            let minter = Minter::new(difficulty)?;
            // Each thread draws from a generator of its own; no thread waits for another.
            let entropy = Seed::from_bytes(*random_seed()?);
            let (shared, sender) = (minting.shared.clone(), sender.clone());
            thread::Builder::new()
                .name("mint".to_owned())
                .spawn(move || search(minter, &entropy, &shared, &sender))
                .map_err(MintError::NoThread)?;
        }
        Ok(minting)
    }

    /// The progress so far.
    pub fn progress(&self) -> MintProgress {
        let tries = self.shared.tries.load(Ordering::Relaxed);
        let elapsed = now().saturating_duration_since(self.started);
        let tries_per_s = tries as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
        let remaining_s = expected_tries(self.difficulty) / tries_per_s;
        let expected_remaining = Duration::try_from_secs_f64(remaining_s).ok();
        MintProgress { tries, tries_per_s, elapsed, expected_remaining }
    }

    /// Waits for the seed. Cancel safe: the search goes on until it is dropped.
    ///
    /// # Errors
    /// [`MintError::Cancelled`] if the seed was taken before, or the threads ended early.
    pub async fn finish(&mut self) -> Result<MasterSeed, MintError> {
        self.found.recv().await.ok_or(MintError::Cancelled)
    }
}

impl Drop for Minting {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn search(mut minter: Minter, entropy: &Seed, shared: &Shared, found: &mpsc::Sender<MasterSeed>) {
    let mut rng = entropy.stream("mint");
    while !shared.stop.load(Ordering::Relaxed) {
        let before = minter.tries();
        let seed = minter.step(&mut rng);
        shared.tries.fetch_add(minter.tries() - before, Ordering::Relaxed);
        if let Some(seed) = seed {
            shared.stop.store(true, Ordering::Relaxed);
            // Another thread may have been first.
            let _ = found.try_send(seed);
        }
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a search runs outside any simulation")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use nodenet_proto::identity::Identity;
    use nodenet_proto::pow::satisfies;
    use tokio::time::timeout;

    use super::{MintError, Minting, random_seed};

    #[tokio::test]
    async fn the_seed_that_is_found_has_the_proof_of_work() {
        for difficulty in [0, 1, 8] {
            let mut minting = Minting::start(difficulty).unwrap();
            let seed = minting.finish().await.unwrap();
            assert!(satisfies(&Identity::from_master_seed(&seed).id(), difficulty));
            assert!(minting.progress().tries > 0);
        }
    }

    #[tokio::test]
    async fn a_hopeless_search_reports_progress_and_ends_when_it_is_dropped() {
        let mut minting = Minting::start(200).unwrap();
        assert!(timeout(Duration::from_millis(100), minting.finish()).await.is_err());
        let early = minting.progress();
        assert!(timeout(Duration::from_millis(50), minting.finish()).await.is_err());
        let late = minting.progress();
        assert!(early.tries > 0 && late.tries > early.tries, "{early:?} {late:?}");
        assert!(late.tries_per_s > 0.0 && late.elapsed > early.elapsed);
        assert_eq!(late.expected_remaining, None, "2^200 tries overflow a duration");
        let shared = minting.shared.clone();
        drop(minting);
        let ended = async {
            while Arc::strong_count(&shared) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), ended).await.expect("the threads end");
    }

    #[test]
    #[expect(unused_must_use, reason = "the compiler is to warn of this mistake")]
    fn a_search_that_is_dropped_at_once_is_warned_about() {
        Minting::start(200).unwrap();
    }

    #[tokio::test]
    async fn the_expected_time_follows_from_rate_and_difficulty() {
        let mut minting = Minting::start(32).unwrap();
        assert!(timeout(Duration::from_millis(100), minting.finish()).await.is_err());
        let progress = minting.progress();
        let expected_s = 4_294_967_296.0 / progress.tries_per_s;
        let reported_s = progress.expected_remaining.unwrap().as_secs_f64();
        assert!((reported_s / expected_s - 1.0).abs() < 1e-6, "{reported_s} {expected_s}");
    }

    #[test]
    fn an_impossible_difficulty_is_refused_at_once() {
        let error = Minting::start(257).unwrap_err();
        assert!(matches!(error, MintError::Unsatisfiable(_)), "{error}");
    }

    #[test]
    fn random_seeds_differ() {
        assert_ne!(*random_seed().unwrap(), *random_seed().unwrap());
    }
}
