//! Side of a splice: the remote that it is pinned to, and the QUIC connection IDs that let another
//! address in (PROTOCOL.md#splice-pins).
//!
//! Responsible for: which remote a side takes datagrams from and sends to. Never: reads more of a
//! packet than the version-independent header (RFC 8999 §5).

use std::net::{IpAddr, SocketAddr};

use heapless::{Deque, Vec as FixedVec};

use crate::stats::DropReason;

/// Longest connection ID of QUIC version 1 (RFC 9000 §17.2).
const ID_LEN_MAX: usize = 20;
/// Connection IDs that are remembered of each kind (a guess: an edge in each direction and two
/// media sessions share a splice).
const IDS_MAX: usize = 8;

type Id = FixedVec<u8, ID_LEN_MAX>;

/// What every version of QUIC shows of a packet (RFC 8999 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header<'a> {
    /// Of a handshake.
    Long { destination: &'a [u8], source: &'a [u8] },
    /// Of an established conn. The bytes behind the first begin with the destination's id, whose
    /// length only the two ends know.
    Short(&'a [u8]),
}

impl<'a> Header<'a> {
    /// The header of the first packet in a datagram; nothing if there is none.
    pub(super) fn of(datagram: &'a [u8]) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        if first & 0x80 == 0 {
            return Some(Self::Short(rest));
        }
        let (_version, rest) = rest.split_first_chunk::<4>()?;
        let (destination, rest) = id(rest)?;
        let (source, _) = id(rest)?;
        Some(Self::Long { destination, source })
    }
}

fn id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let len = usize::from(*len);
    (len <= ID_LEN_MAX).then(|| rest.split_at_checked(len)).flatten()
}

/// The latest connection IDs of one kind.
#[derive(Debug, Default)]
struct Ids(Deque<Id, IDS_MAX>);

impl Ids {
    fn insert(&mut self, id: &[u8]) {
        let Ok(id) = Id::from_slice(id) else { return };
        if id.is_empty() || self.0.iter().any(|known| *known == id) {
            return;
        }
        if self.0.is_full() {
            self.0.pop_front();
        }
        let _ = self.0.push_back(id);
    }

    /// Whether `header` is for one of them.
    fn has(&self, header: Header<'_>) -> bool {
        self.0.iter().any(|id| match header {
            Header::Long { destination, .. } => destination == &id[..],
            Header::Short(rest) => rest.starts_with(id),
        })
    }

    fn latest_len(&self) -> Option<usize> {
        self.0.back().map(|id| id.len())
    }
}

/// One side of a splice.
#[derive(Debug)]
pub(super) struct Side {
    /// The address of its socket, once that is bound.
    pub(super) local: Option<SocketAddr>,
    /// Where its end is known to be. Its datagrams take the side from any other address.
    prefers: Option<IpAddr>,
    pin: Option<SocketAddr>,
    /// Whether what is pinned proved that it gets what the other end sends.
    is_proved: bool,
    /// Whether its end began a handshake.
    is_begun: bool,
    /// Ids that its end chose.
    chosen: Ids,
    /// Ids that its end sent to.
    used: Ids,
}

impl Side {
    /// A side whose end is likely to send from `prefers`.
    pub(super) fn new(prefers: Option<IpAddr>) -> Self {
        Self {
            local: None,
            prefers,
            pin: None,
            is_proved: false,
            is_begun: false,
            chosen: Ids::default(),
            used: Ids::default(),
        }
    }

    /// The remote that datagrams for this side's end go to.
    pub(super) fn pin(&self) -> Option<SocketAddr> {
        self.pin
    }

    /// Takes a datagram of `remote`, without a header if it is a punch. `other` is the other side.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) fn admit(
        &mut self,
        remote: SocketAddr,
        header: Option<Header<'_>>,
        other: &Self,
    ) -> Result<(), DropReason> {
        let is_for_other = header.is_some_and(|header| other.chosen.has(header));
        let is_moved = self.is_proved && header.is_some_and(|header| self.used.has(header));
        let (ip, pinned) = (remote.ip(), self.pin.map(|pin| pin.ip()));
        let is_held = self.is_proved || (pinned.is_some() && pinned == self.prefers);
        // A conn that is known is at this address now, so that the old one has to prove itself.
        let follows = is_for_other || is_moved;
        let is_taken = self.prefers == Some(ip) || pinned == Some(ip) || !is_held || follows;
        if !is_taken {
            return Err(DropReason::SpliceOtherRemote);
        }
        match header {
            Some(Header::Short(_)) if !self.is_begun => return Err(DropReason::SpliceNotQuic),
            Some(Header::Long { .. }) => self.is_begun = true,
            _ => {}
        }
        if follows {
            self.prefers = Some(ip);
        }
        self.is_proved = is_for_other || (self.is_proved && (pinned == Some(ip) || is_moved));
        self.pin = Some(remote);
        self.observe(header, other);
        Ok(())
    }

    /// Notes the ids of a packet that was taken.
    fn observe(&mut self, header: Option<Header<'_>>, other: &Self) {
        match header {
            Some(Header::Long { destination, source }) => {
                self.chosen.insert(source);
                if self.is_proved {
                    self.used.insert(destination);
                }
            }
            Some(Header::Short(rest)) if self.is_proved => {
                let len = other.chosen.latest_len().unwrap_or(0);
                self.used.insert(rest.get(..len).unwrap_or_default());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("a literal of this test")
    }

    fn long(destination: &'static [u8], source: &'static [u8]) -> Option<Header<'static>> {
        Some(Header::Long { destination, source })
    }

    const OTHER: Result<(), DropReason> = Err(DropReason::SpliceOtherRemote);

    #[test]
    fn headers_are_read_as_far_as_all_versions_agree() {
        let bytes = [&[0xc3, 0, 0, 0, 1, 2][..], b"to", &[3], b"own", b"rest"].concat();
        assert_eq!(Header::of(&bytes), Some(Header::Long { destination: b"to", source: b"own" }));
        assert_eq!(Header::of(b"\x40rest"), Some(Header::Short(b"rest")));
        for len in 0..12 {
            assert_eq!(Header::of(&bytes[..len]), None, "{len} bytes");
        }
        let mut too_long = vec![0xc0, 0, 0, 0, 1, 21];
        too_long.resize(60, 0);
        assert_eq!(Header::of(&too_long), None, "no id of version 1 has 21 bytes");
    }

    #[test]
    fn a_known_address_takes_its_side_from_another_that_was_first() {
        let (mut side, other) = (Side::new(Some(addr("192.0.2.1:0").ip())), Side::new(None));
        assert_eq!(side.admit(addr("192.0.2.9:9"), None, &other), Ok(()));
        assert_eq!(side.admit(addr("192.0.2.8:9"), None, &other), Ok(()), "nothing is proved");
        assert_eq!(side.admit(addr("192.0.2.1:1"), None, &other), Ok(()));
        assert_eq!(side.admit(addr("192.0.2.9:9"), None, &other), OTHER);
        assert_eq!(side.admit(addr("192.0.2.1:2"), None, &other), Ok(()), "another port");
        assert_eq!(side.pin(), Some(addr("192.0.2.1:2")));
    }

    /// A caller behind a pool of addresses: none is the one that its edge has.
    #[test]
    fn an_answer_to_the_other_end_proves_an_address_that_was_not_known() {
        let (mut caller, mut callee) = (Side::new(Some(addr("192.0.2.1:0").ip())), Side::new(None));
        let (pool, far) = (addr("192.0.2.9:9"), addr("198.51.100.1:1"));
        assert_eq!(caller.admit(pool, long(b"random", b"caller"), &callee), Ok(()));
        assert_eq!(callee.admit(far, long(b"caller", b"callee"), &caller), Ok(()));
        assert_eq!(caller.admit(pool, long(b"callee", b"caller"), &callee), Ok(()));
        assert_eq!(caller.admit(addr("192.0.2.8:9"), None, &callee), OTHER);
        assert_eq!(callee.admit(addr("192.0.2.8:9"), long(b"x", b"y"), &caller), OTHER);
        assert_eq!((caller.pin(), callee.pin()), (Some(pool), Some(far)));
        // The address that was expected has to prove itself now.
        assert_eq!(caller.admit(addr("192.0.2.1:7"), None, &callee), OTHER);
    }

    #[test]
    fn a_conn_that_moved_is_known_by_the_ids_that_it_used() {
        let (mut caller, mut callee) = (Side::new(Some(addr("192.0.2.1:0").ip())), Side::new(None));
        let (before, after) = (addr("192.0.2.1:1"), addr("192.0.2.77:5"));
        assert_eq!(callee.admit(addr("198.51.100.1:1"), None, &caller), Ok(()));
        assert_eq!(caller.admit(before, long(b"random", b"AAAA"), &callee), Ok(()));
        let far = addr("198.51.100.1:1");
        assert_eq!(callee.admit(far, long(b"AAAA", b"BBBB"), &caller), Ok(()));
        assert_eq!(caller.admit(before, Some(Header::Short(b"BBBB...")), &callee), Ok(()));
        // The ends changed to ids that were sealed on their way.
        assert_eq!(caller.admit(before, Some(Header::Short(b"bbbb...")), &callee), Ok(()));
        assert_eq!(caller.admit(after, Some(Header::Short(b"cccc...")), &callee), OTHER);
        assert_eq!(caller.admit(after, Some(Header::Short(b"bbbb...")), &callee), Ok(()));
        assert_eq!(caller.pin(), Some(after));
        assert_eq!(caller.admit(before, Some(Header::Short(b"zzzz...")), &callee), OTHER);
        assert_eq!(caller.admit(after, Some(Header::Short(b"zzzz...")), &callee), Ok(()));
    }

    /// THREATS.md#e41
    #[test]
    fn a_side_passes_no_short_header_before_its_end_began_a_handshake() {
        let (mut side, other) = (Side::new(None), Side::new(None));
        let (remote, short) = (addr("192.0.2.1:1"), Some(Header::Short(b"anything")));
        assert_eq!(side.admit(remote, short, &other), Err(DropReason::SpliceNotQuic));
        assert_eq!(side.pin(), None);
        assert_eq!(side.admit(remote, long(b"to", b"own"), &other), Ok(()));
        assert_eq!(side.admit(remote, short, &other), Ok(()));
    }

    #[test]
    fn a_side_remembers_eight_ids_of_a_kind() {
        let mut ids = Ids::default();
        for number in 0..20 {
            ids.insert(&[number; 4]);
        }
        ids.insert(b"");
        assert!(!ids.has(Header::Short(&[11; 4])) && ids.has(Header::Short(&[12; 4])));
        assert_eq!(ids.0.len(), IDS_MAX);
    }
}
