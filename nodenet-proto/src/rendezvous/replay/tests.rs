//! Known answers of replay caches, made with another implementation, and the rules that it lacks.

use hex_literal::hex;

use super::*;
use crate::env::Seed;
use crate::wire::Encode;
use crate::wire::sealed_box::{Recipient, seal, seal_bound};

const WINDOW: Duration = Duration::from_secs(60);
const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// Sealed at [`START`] by the identity of the seed 1 for that of the seed 2, without associated
/// data.
const ONCE: [u8; 157] = hex!(
    "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"
    "9d47754b12f0b21ae4b3f2dce227fd70d7a0066af4eea6d493104e994f3e5924"
    "17979cfe362a000014"
    "08f994316ad5b6dcc18d82c26490b537dbd6390c"
    "dd5d8acb5284815625ed7829e1fa0ae62be0d92c17563584a1132caaa12d7a57"
    "6743a7f84cf599bc414ee7101f6bcf9c7565962f080145d0aea120ca3139630a"
);

fn identity(number: u8) -> Identity {
    Identity::from_master_seed(&[number; 32])
}

fn recipient() -> Identity {
    identity(2)
}

/// A box of this sender, made `time` seconds after the start.
fn sealed(sender: u8, time: i64, content: &[u8]) -> Vec<u8> {
    let mut rng = Seed::from_u64(u64::from(sender)).child("box", time as u64).stream("test");
    // Another content draws another ephemeral key.
    for _ in content {
        rng.next_u64();
    }
    let time = UnixNanos(START + time * SECOND);
    let key = *recipient().exchange_key();
    seal(&identity(sender), &key, time, content, b"", &mut rng).expect("an honest key").to_vec()
}

fn open(cache: &mut ReplayCache, bytes: &[u8], now: i64) -> Result<Vec<u8>, ReplayError> {
    let now = UnixNanos(START + now * SECOND);
    let opened = cache.open(&recipient(), bytes, b"", now).map(|opened| opened.plaintext);
    cache.check();
    opened
}

fn small() -> ReplayCache {
    ReplayCache::with_room(WINDOW, Room { sender: 3, all: 4 })
}

const EXPIRED: ReplayError = ReplayError::Open(OpenError::Expired);

#[test]
fn a_box_opens_once_in_its_window() {
    let mut cache = ReplayCache::new(WINDOW);
    assert_eq!(open(&mut cache, &ONCE, 1), Ok(b"once".to_vec()));
    assert_eq!(open(&mut cache, &ONCE, 2), Err(ReplayError::Replayed));
    assert_eq!(open(&mut cache, &sealed(1, 0, b"other"), 2), Ok(b"other".to_vec()));
    assert_eq!(open(&mut cache, &ONCE, 120), Err(EXPIRED));
}

/// The reference opens it a second time in that instant.
///
/// THREATS.md#box-replays
#[test]
fn a_box_does_not_open_again_at_the_last_instant_of_its_window() {
    let mut cache = ReplayCache::new(WINDOW);
    assert_eq!(open(&mut cache, &ONCE, 0), Ok(b"once".to_vec()));
    assert_eq!(open(&mut cache, &ONCE, 60), Err(ReplayError::Replayed));
    assert_eq!(open(&mut cache, &ONCE, 61), Err(EXPIRED));
    assert_eq!(open(&mut cache, &sealed(1, 61, b"later"), 61), Ok(b"later".to_vec()));
    assert_eq!(cache.len(), 1, "what is not fresh any more is forgotten");
}

#[test]
fn a_box_from_ahead_is_remembered_until_it_is_no_longer_fresh() {
    let mut cache = ReplayCache::new(WINDOW);
    let ahead = sealed(1, 60, b"ahead");
    assert_eq!(open(&mut cache, &ahead, 0), Ok(b"ahead".to_vec()));
    for now in [61, 120] {
        assert_eq!(open(&mut cache, &ahead, now), Err(ReplayError::Replayed));
    }
    assert_eq!(open(&mut cache, &ahead, 121), Err(EXPIRED));
}

#[test]
fn a_box_that_does_not_open_is_not_remembered() {
    let mut cache = ReplayCache::new(WINDOW);
    let mut forged = ONCE;
    forged[156] ^= 1;
    let refused = Err(ReplayError::Open(OpenError::BadSignature));
    assert_eq!(open(&mut cache, &forged, 0), refused);
    assert!(cache.is_empty());
    assert_eq!(open(&mut cache, &ONCE, 0), Ok(b"once".to_vec()));
}

/// The top bit of an X25519 key has no meaning (RFC 7748 §5).
///
/// THREATS.md#box-replays
#[test]
fn a_box_with_an_equivalent_ephemeral_key_is_the_same_box() {
    let mut cache = ReplayCache::new(WINDOW);
    assert_eq!(open(&mut cache, &ONCE, 0), Ok(b"once".to_vec()));
    let mut sealed = SealedBox::decode_exact(&ONCE).expect("well formed");
    sealed.ephemeral_key[31] ^= 0x80;
    sealed.sign(&identity(3), recipient().exchange_key());
    assert_eq!(open(&mut cache, &sealed.to_bytes(), 0), Err(ReplayError::Replayed));
}

/// Its own boxes make room, not those of others.
///
/// THREATS.md#box-replays
#[test]
fn a_sender_has_a_share_and_loses_only_its_own_boxes() {
    let mut cache = small();
    let mine = sealed(3, 0, b"mine");
    assert!(open(&mut cache, &mine, 0).is_ok());
    let flood: Vec<Vec<u8>> = (1..=5).map(|time| sealed(1, time, b"flood")).collect();
    for one in &flood {
        assert!(open(&mut cache, one, 5).is_ok());
    }
    assert_eq!(open(&mut cache, &mine, 5), Err(ReplayError::Replayed));
    assert_eq!(open(&mut cache, &flood[4], 5), Err(ReplayError::Replayed));
    assert_eq!(open(&mut cache, &flood[0], 5), Err(ReplayError::Forgotten));
    assert_eq!(open(&mut cache, &sealed(1, 2, b"late"), 5), Err(ReplayError::Forgotten));
    assert!(open(&mut cache, &sealed(3, 1, b"more"), 5).is_ok(), "others are not affected");
}

/// THREATS.md#box-replays
#[test]
fn a_captured_box_does_not_open_again_however_many_others_follow() {
    let mut cache = small();
    assert_eq!(open(&mut cache, &ONCE, 0), Ok(b"once".to_vec()));
    for sender in 3..30 {
        let time = i64::from(sender);
        assert!(open(&mut cache, &sealed(sender, time, b"flood"), 30).is_ok(), "{sender}");
    }
    assert_eq!(open(&mut cache, &ONCE, 30), Err(ReplayError::Forgotten));
    let newest = sealed(29, 29, b"flood");
    assert_eq!(open(&mut cache, &newest, 30), Err(ReplayError::Replayed));
}

/// Others took the room of its sender meanwhile, so there is a place for it.
///
/// THREATS.md#box-replays
#[test]
fn a_dropped_box_does_not_open_again_when_its_sender_has_room() {
    let mut cache = small();
    let first = sealed(1, 1, b"first");
    assert!(open(&mut cache, &first, 6).is_ok());
    for (sender, time) in [(1, 2), (1, 3), (1, 4), (3, 5), (4, 5), (3, 6)] {
        assert!(open(&mut cache, &sealed(sender, time, b"box"), 6).is_ok());
    }
    assert_eq!(cache.senders[&identity(1).id()].boxes.len(), 1, "of three at most");
    assert_eq!(open(&mut cache, &first, 6), Err(ReplayError::Forgotten));
}

#[test]
fn an_old_box_does_not_drop_newer_ones() {
    let mut cache = small();
    for sender in 3..7 {
        assert!(open(&mut cache, &sealed(sender, 10, b"new"), 10).is_ok());
    }
    assert_eq!(open(&mut cache, &sealed(7, 0, b"old"), 10), Err(ReplayError::Forgotten));
    for sender in 3..7 {
        let again = open(&mut cache, &sealed(sender, 10, b"new"), 10);
        assert_eq!(again, Err(ReplayError::Replayed));
    }
}

#[test]
fn the_window_ends_what_was_dropped() {
    let mut cache = small();
    for time in 0..10 {
        assert!(open(&mut cache, &sealed(1, time, b"flood"), 9).is_ok());
    }
    assert_eq!(open(&mut cache, &sealed(1, 0, b"late"), 9), Err(ReplayError::Forgotten));
    assert!(open(&mut cache, &sealed(1, 90, b"later"), 90).is_ok());
    assert_eq!(cache.len(), 1);
    assert!(cache.senders[&identity(1).id()].dropped.is_none(), "its record went with its boxes");
}

#[test]
fn a_bound_box_opens_once() {
    let mut cache = ReplayCache::new(WINDOW);
    let (own, now) = (recipient(), UnixNanos(START));
    let known = Recipient { id: own.id(), exchange_key: *own.exchange_key() };
    let mut rng = Seed::from_u64(1).stream("test");
    let bytes = seal_bound(&identity(1), &known, now, b"bound", b"", &mut rng).expect("honest");
    let opened = cache.open_bound(&own, &bytes, b"", now).map(|opened| opened.plaintext);
    assert_eq!(opened, Ok(b"bound".to_vec()));
    assert_eq!(cache.open_bound(&own, &bytes, b"", now), Err(ReplayError::Replayed));
}
