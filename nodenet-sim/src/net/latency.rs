//! Latency model: hosts on a unit torus, where distance is one-way delay, and an access delay.
//!
//! Synthetic network coordinates as in Vivaldi (Dabek et al., SIGCOMM 2004). Integer arithmetic
//! only, so that results are equal on every platform.

use core::time::Duration;

use nodenet_proto::env::Random;

use crate::hash;

/// One-way latency of a distance of one. The farthest is 0.71, which is 140 ms, as half around the
/// world (guess).
const NANOS_PER_UNIT: u64 = 200_000_000;
/// Largest access delay of a host (guess).
const ACCESS_NANOS_MAX: u64 = 10_000_000;

/// A position on the torus, in units of 2^-32 of its circumference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    x: u32,
    y: u32,
}

impl Position {
    /// A position drawn uniformly.
    pub fn draw(random: &mut Random) -> Self {
        let bits = random.next_u64();
        Self { x: bits as u32, y: (bits >> 32) as u32 }
    }

    /// The distance to `other` in units of 2^-32.
    pub fn distance(&self, other: &Self) -> u64 {
        let x = u64::from(around(self.x, other.x));
        let y = u64::from(around(self.y, other.y));
        (x * x + y * y).isqrt()
    }
}

/// The shorter way around a circle.
fn around(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b).min(b.wrapping_sub(a))
}

/// Attachment of a host to the network: its position and its access delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    position: Position,
    access_nanos: u32,
}

impl Attachment {
    /// An attachment at `position` with an access delay drawn uniformly.
    pub fn draw(position: Position, random: &mut Random) -> Self {
        Self { position, access_nanos: random.below(ACCESS_NANOS_MAX + 1) as u32 }
    }

    /// One-way latency to `other` before jitter; at most 162 ms.
    pub fn latency(&self, other: &Self) -> Duration {
        let path = (NANOS_PER_UNIT * self.position.distance(&other.position)) >> 32;
        let access = u64::from(self.access_nanos) + u64::from(other.access_nanos);
        Duration::from_nanos(path + access)
    }
}

/// `nanos` with a jitter of up to a tenth either way, determined by `fate`.
pub(crate) fn jitter(nanos: u64, fate: u64) -> u64 {
    nanos - nanos / 10 + hash::below(fate, nanos / 5 + 1)
}

#[cfg(test)]
mod tests {
    use nodenet_proto::env::Seed;

    use super::{Attachment, Position, jitter};

    #[test]
    fn distance_wraps_around_the_torus() {
        let position = |x, y| Position { x, y };
        assert_eq!(position(0, 0).distance(&position(u32::MAX, 0)), 1);
        assert_eq!(position(0, 5).distance(&position(0, 5)), 0);
        assert_eq!(position(0, 0).distance(&position(3, 4)), 5);
        // Nothing is farther than half the diagonal.
        assert_eq!(position(0, 0).distance(&position(1 << 31, 1 << 31)), 3_037_000_499);
    }

    #[test]
    fn latency_is_symmetric_and_bounded() {
        let mut random = Seed::from_u64(1).stream("test");
        let all: Vec<_> =
            (0..100).map(|_| Attachment::draw(Position::draw(&mut random), &mut random)).collect();
        for a in &all {
            for b in &all {
                assert_eq!(a.latency(b), b.latency(a));
                assert!(a.latency(b).as_millis() <= 162);
            }
        }
        assert_eq!(jitter(100, 0), 90);
        assert_eq!(jitter(100, u64::MAX), 110);
    }
}
