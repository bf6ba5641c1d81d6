//! Where hosts are: a plane without edges, on which distance is latency.
//!
//! A synthetic coordinate space in the manner of Vivaldi (Dabek et al., SIGCOMM 2004): a unit torus
//! and an access delay at each end. Integer arithmetic only, so that it is the same everywhere.

use core::time::Duration;

use nodenet_proto::env::Random;

use crate::hash;

/// One-way latency of a distance of one (a guess: 0.71 is the farthest, 140 ms, as half around the
/// world).
const NANOS_PER_UNIT: u64 = 200_000_000;
/// Access delay of a host, at most (a guess).
const ACCESS_NANOS_MAX: u64 = 10_000_000;

/// A place on the torus, in units of 2^-32 of its circumference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    x: u32,
    y: u32,
}

impl Place {
    /// A place drawn uniformly.
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

/// Where a host is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    place: Place,
    access_nanos: u32,
}

impl Attachment {
    /// An attachment at `place` with an access delay drawn uniformly.
    pub fn draw(place: Place, random: &mut Random) -> Self {
        Self { place, access_nanos: random.below(ACCESS_NANOS_MAX + 1) as u32 }
    }

    /// One-way latency to `other` before jitter; at most 162 ms.
    pub fn latency(&self, other: &Self) -> Duration {
        let path = (NANOS_PER_UNIT * self.place.distance(&other.place)) >> 32;
        let access = u64::from(self.access_nanos) + u64::from(other.access_nanos);
        Duration::from_nanos(path + access)
    }
}

/// `nanos` shortened or lengthened by up to a tenth, as `fate` says.
pub(crate) fn jitter(nanos: u64, fate: u64) -> u64 {
    nanos - nanos / 10 + hash::below(fate, nanos / 5 + 1)
}

#[cfg(test)]
mod tests {
    use nodenet_proto::env::Seed;

    use super::{Attachment, Place, jitter};

    #[test]
    fn the_plane_has_no_edges() {
        let place = |x, y| Place { x, y };
        assert_eq!(place(0, 0).distance(&place(u32::MAX, 0)), 1);
        assert_eq!(place(0, 5).distance(&place(0, 5)), 0);
        assert_eq!(place(0, 0).distance(&place(3, 4)), 5);
        // Nothing is farther than half the diagonal.
        assert_eq!(place(0, 0).distance(&place(1 << 31, 1 << 31)), 3_037_000_499);
    }

    #[test]
    fn latency_is_symmetric_and_bounded() {
        let mut random = Seed::from_u64(1).stream("test");
        let all: Vec<_> =
            (0..100).map(|_| Attachment::draw(Place::draw(&mut random), &mut random)).collect();
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
