//! NAT matrix: every ordered pair of kinds of access, what the oracle expects of it, and what
//! attempts of two hosts find.
//!
//! Responsible for: the attempts of all pairs and seeds, and their figures. Never: output, or whole
//! nodes, for which see [`crate::run::pair`].

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use nodenet_proto::env::Seed;
use serde::Serialize;

use super::access::Access;
use super::bare::{Attempt, Guess, Outcome};
use super::oracle::{DirectPath, Obstacle, direct_path_between};

/// What is expected of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// A direct path without guessing.
    Direct,
    /// A direct path only by guessing ports.
    Guess,
    /// No direct path.
    Relayed,
}

impl From<DirectPath> for Expected {
    fn from(path: DirectPath) -> Self {
        match path {
            DirectPath::Possible => Self::Direct,
            DirectPath::ByGuessing => Self::Guess,
            DirectPath::Impossible => Self::Relayed,
        }
    }
}

/// One ordered pair: `a` begins.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The kind of the first host.
    pub a: String,
    /// The kind of the second host.
    pub b: String,
    /// What the oracle says.
    pub expected: Expected,
    /// Seeds with a direct path.
    pub direct: u32,
    /// Seeds with a relayed path.
    pub relayed: u32,
    /// Seeds without any path.
    pub failed: u32,
    /// Seeds with a path over which the first message did not arrive in time.
    pub undelivered: u32,
    /// Round trips between the hosts until there was a path, the median.
    pub rtts_p50: Option<f64>,
    /// The same, the 99th percentile.
    pub rtts_p99: Option<f64>,
    /// Milliseconds until there was a path, the median.
    pub ms_p50: Option<f64>,
    /// The same, the 99th percentile.
    pub ms_p99: Option<f64>,
    /// Datagrams that both hosts sent, the median over the direct paths.
    pub packets_p50: Option<u32>,
    /// The same, the most.
    pub packets_max: Option<u32>,
    /// Datagrams that a router took for itself, because they came before a host behind it had sent;
    /// in all seeds.
    pub early: u64,
    /// Why it is not direct without a guess.
    pub reason: Option<String>,
    /// What the first node told about paths that are not direct, each text once. Empty with bare
    /// UDP.
    pub told: Vec<String>,
    /// What is in the way of a direct path without a guess.
    #[serde(skip)]
    pub obstacle: Option<Obstacle>,
    /// Whether the first node told something else.
    #[serde(skip)]
    pub is_told_wrong: bool,
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// Whether there is a path.
    pub(crate) is_connected: bool,
    /// Whether it is relayed.
    pub(crate) is_relayed: bool,
    /// Until something arrived over it.
    pub(crate) took: Option<Duration>,
    /// A round trip between the hosts.
    pub(crate) round_trip: Duration,
    /// Datagrams.
    pub(crate) packets: u32,
    /// See [`Pair::early`].
    pub(crate) early: u64,
    /// See [`Pair::told`], and whether it is true.
    pub(crate) told: Option<(String, bool)>,
}

impl From<Outcome> for Run {
    fn from(outcome: Outcome) -> Self {
        let Outcome { took, round_trip, packets } = outcome;
        let is_connected = took.is_some();
        let (is_relayed, early, told) = (false, 0, None);
        Self { is_connected, is_relayed, took, round_trip, packets, early, told }
    }
}

/// Makes one attempt: two kinds, what the oracle expects, a seed.
pub(crate) type Attempts<'a, E> =
    &'a mut dyn FnMut(&Access, &Access, DirectPath, u64) -> Result<Run, E>;

/// All pairs of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    /// The first seed.
    pub seed: u64,
    /// Seeds that were run.
    pub seeds: u32,
    /// Whether whole nodes made the attempts.
    pub nodes: bool,
    /// Every ordered pair, in the order of the kinds.
    pub pairs: Vec<Pair>,
}

impl Matrix {
    /// Runs every ordered pair of kinds with `seeds` seeds from `seed` on, with bare UDP and a
    /// perfect schedule. `progress` is called before each pair with its number and the number of
    /// all.
    pub fn run_bare(
        kinds: &[Access],
        seed: u64,
        seeds: u32,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Self {
        let mut run =
            |a: &Access, b: &Access, path, seed| Ok::<_, Infallible>(bare(seed, a, b, path));
        let matrix = Self::run_with(kinds, seed, seeds, progress, &mut run);
        let matrix = matrix.unwrap_or_else(|never| match never {});
        Self { nodes: false, ..matrix }
    }

    /// Runs every ordered pair of kinds with `attempt`, which gets what the oracle expects and a
    /// seed.
    pub(crate) fn run_with<E>(
        kinds: &[Access],
        seed: u64,
        seeds: u32,
        progress: &mut dyn FnMut(usize, usize),
        attempt: Attempts<'_, E>,
    ) -> Result<Self, E> {
        let count = kinds.len() * kinds.len();
        let mut pairs = Vec::with_capacity(count);
        for a in kinds {
            for b in kinds {
                progress(pairs.len(), count);
                let (path, obstacle) = direct_path_between(a.reach(), b.reach(), a.relation(b));
                let seeds = (0..u64::from(seeds)).map(|offset| seed.wrapping_add(offset));
                let runs: Result<Vec<Run>, E> =
                    seeds.map(|seed| attempt(a, b, path, seed)).collect();
                pairs.push(pair(a, b, path, obstacle, &runs?));
            }
        }
        Ok(Self { seed, seeds, nodes: true, pairs })
    }

    /// Pairs whose paths are not what the oracle expects: fewer direct than seeds where it says
    /// direct, any where it says relayed. With whole nodes also pairs without any path although
    /// both hosts have UDP, and pairs with early datagrams or with an untrue reason.
    pub fn surprises(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| self.is_surprise(pair))
    }

    /// Whether a pair is one of [`Self::surprises`].
    pub fn is_surprise(&self, pair: &Pair) -> bool {
        let is_path_odd = match pair.expected {
            Expected::Direct => pair.direct < self.seeds,
            Expected::Guess => !self.nodes && pair.direct == 0 && self.seeds > 0,
            Expected::Relayed => pair.direct > 0,
        };
        let has_udp = pair.obstacle != Some(Obstacle::NoUdp);
        let is_node_odd = pair.early > 0
            || pair.undelivered > 0
            || pair.is_told_wrong
            || (pair.failed > 0 && has_udp);
        is_path_odd || (self.nodes && is_node_odd)
    }
}

fn pair(
    a: &Access,
    b: &Access,
    path: DirectPath,
    obstacle: Option<Obstacle>,
    runs: &[Run],
) -> Pair {
    let found: Vec<(Duration, &Run)> =
        runs.iter().filter_map(|run| Some((run.took?, run))).collect();
    let connected = runs.iter().filter(|run| run.is_connected);
    let (relayed, direct): (Vec<&Run>, Vec<&Run>) = connected.partition(|run| run.is_relayed);
    let ms = sorted(found.iter().map(|(took, _)| took.as_secs_f64() * 1e3));
    let rtts = sorted(found.iter().map(|(took, run)| {
        took.as_secs_f64() / run.round_trip.as_secs_f64().max(f64::MIN_POSITIVE)
    }));
    let mut packets: Vec<u32> = direct.iter().map(|run| run.packets).collect();
    packets.sort_unstable();
    let told = || runs.iter().filter_map(|run| run.told.as_ref());
    let texts: BTreeSet<&String> = told().map(|(text, _)| text).collect();
    Pair {
        a: a.name.to_owned(),
        b: b.name.to_owned(),
        expected: path.into(),
        direct: direct.len() as u32,
        relayed: relayed.len() as u32,
        failed: (runs.len() - direct.len() - relayed.len()) as u32,
        undelivered: (direct.len() + relayed.len() - found.len()) as u32,
        rtts_p50: at(&rtts, 50),
        rtts_p99: at(&rtts, 99),
        ms_p50: at(&ms, 50),
        ms_p99: at(&ms, 99),
        packets_p50: at(&packets, 50),
        packets_max: packets.last().copied(),
        early: runs.iter().map(|run| run.early).sum(),
        reason: obstacle.map(|obstacle: Obstacle| obstacle.to_string()),
        told: texts.into_iter().cloned().collect(),
        obstacle,
        is_told_wrong: told().any(|(_, is_true)| !is_true),
    }
}

/// One attempt with bare UDP by what the oracle says that it takes.
fn bare(seed: u64, a: &Access, b: &Access, path: DirectPath) -> Run {
    let seed = Seed::from_u64(seed).child(&format!("{} {}", a.name, b.name), 0);
    let try_with = |guess| Attempt::new(&seed, a, b, guess).run();
    let first = try_with(Guess::Nothing);
    if first.took.is_some() || path != DirectPath::ByGuessing {
        return first.into();
    }
    let guesses = [Guess::Sequence, Guess::PortsOf(1), Guess::PortsOf(0)];
    let mut others = guesses.into_iter().map(try_with);
    others.find(|outcome| outcome.took.is_some()).unwrap_or(first).into()
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A percentile of sorted numbers, by nearest rank.
fn at<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::{Expected, Matrix, at};
    use crate::net::access::kinds;

    #[test]
    fn the_boxes_agree_with_the_oracle_for_every_pair_of_the_matrix() {
        let kinds = kinds();
        let matrix = Matrix::run_bare(&kinds, 1, 1, &mut |_, _| ());
        assert_eq!(matrix.pairs.len(), kinds.len() * kinds.len());
        let surprises: Vec<_> = matrix.surprises().collect();
        assert!(surprises.is_empty(), "{surprises:#?}");
        for expected in [Expected::Direct, Expected::Guess, Expected::Relayed] {
            let count = matrix.pairs.iter().filter(|pair| pair.expected == expected).count();
            assert!(count >= 10, "{expected:?} occurs {count} times");
        }
        let is_told =
            |pair: &super::Pair| pair.reason.is_some() != (pair.expected == Expected::Direct);
        assert!(matrix.pairs.iter().all(is_told), "what is not direct has a reason");
    }

    #[test]
    fn the_expectation_of_a_pair_does_not_depend_on_its_order() {
        let kinds = kinds();
        let matrix = Matrix::run_bare(&kinds, 1, 0, &mut |_, _| ());
        for pair in &matrix.pairs {
            let other = matrix.pairs.iter().find(|other| other.a == pair.b && other.b == pair.a);
            assert_eq!(other.map(|other| other.expected), Some(pair.expected), "{pair:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_matrix() {
        let some: Vec<_> = kinds().into_iter().step_by(5).collect();
        let run = |seed| Matrix::run_bare(&some, seed, 2, &mut |_, _| ());
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).pairs, run(3).pairs);
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        assert_eq!(at(&[1, 2, 3, 4], 50), Some(2));
        assert_eq!(at(&[1, 2, 3, 4], 99), Some(4));
        assert_eq!(at::<u32>(&[], 50), None);
    }
}
