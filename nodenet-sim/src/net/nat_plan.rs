//! NAT plan: which NAT box is before a simulated host (RFC 4787).

use nodenet_proto::env::Random;
use nodenet_proto::testkit::nat_box::{Behavior, Collision, PortAllocation};

use super::oracle::{NatKind, direct_path_possible};
use crate::hash;

/// NAT in front of a host (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// None: every host can dial it.
    Public,
    /// A NAT with endpoint-independent mapping (RFC 4787 §4.1), which can be punched.
    Easy,
    /// A NAT with address- and port-dependent mapping: its external port differs for every
    /// destination.
    Hard,
}

impl Nat {
    /// A drawn type: `share` of all hosts are behind a NAT, three tenths of these behind a hard one
    /// (guess).
    pub fn draw(share: f64, random: &mut Random) -> Self {
        if !hash::hit(random.next_u64(), share) {
            Self::Public
        } else if random.below(10) < 3 {
            Self::Hard
        } else {
            Self::Easy
        }
    }

    /// The terms of RFC 4787 for it. Both NATs filter as strictly as there is, so what connects
    /// here connects anywhere.
    pub fn kind(self) -> NatKind {
        let filtering = Behavior::AddressAndPortDependent;
        match self {
            Self::Public => NatKind::PUBLIC,
            Self::Easy => NatKind {
                mapping: Behavior::EndpointIndependent,
                filtering,
                allocation: PortAllocation::Preserving(Collision::Random),
            },
            Self::Hard => NatKind {
                mapping: Behavior::AddressAndPortDependent,
                filtering,
                allocation: PortAllocation::Random,
            },
        }
    }

    /// Whether hosts behind `self` and `other` can have a conn at all.
    pub fn connects(self, other: Self) -> bool {
        direct_path_possible(self.kind(), other.kind())
    }
}

#[cfg(test)]
mod tests {
    use nodenet_proto::env::Seed;

    use super::Nat;

    #[test]
    fn nats_connect_by_the_rule() {
        use Nat::{Easy, Hard, Public};
        let connects = |a: Nat, b| {
            assert_eq!(a.connects(b), b.connects(a));
            a.connects(b)
        };
        assert!(connects(Public, Public) && connects(Public, Easy) && connects(Public, Hard));
        assert!(connects(Easy, Easy) && !connects(Easy, Hard) && !connects(Hard, Hard));
    }

    #[test]
    fn three_in_ten_nats_are_hard() {
        let mut random = Seed::from_u64(1).stream("test");
        let drawn: Vec<_> = (0..10_000).map(|_| Nat::draw(0.6, &mut random)).collect();
        let count = |nat| drawn.iter().filter(|&&drawn| drawn == nat).count();
        assert!(count(Nat::Public).abs_diff(4_000) < 200 && count(Nat::Hard).abs_diff(1_800) < 150);
    }
}
