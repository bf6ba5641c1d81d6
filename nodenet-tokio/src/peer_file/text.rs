//! Text format of a peer file.
//!
//! ```text
//! nodenet-peers 1
//! <key, 64 hex digits> <address> <address> …
//! end <number of peers>
//! ```
//!
//! One line for each peer, best first. The identifier is the hash of the key. The last line
//! distinguishes a whole file from one that was cut short. There is no checksum: the addresses are
//! only dialed, and the peer that answers has to prove that it holds the key.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use nodenet_proto::addr::PEER_ADDRS_MAX;
use nodenet_proto::api::KnownPeer;
use nodenet_proto::identity::node_id;

use super::{PEERS_MAX, PeerFileError};

/// The name at the start of a file.
const NAME: &str = "nodenet-peers";
/// The version of the format.
const VERSION: &str = "1";

/// Why a text is not a peer file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The line, counted from 1, and the fault in it.
    Damaged(usize, &'static str),
    /// It is of another version.
    OtherVersion,
}

impl Malformed {
    /// The error, with the path of the file.
    pub(super) fn of(self, path: &Path) -> PeerFileError {
        let path = path.to_owned();
        match self {
            Self::Damaged(line, problem) => PeerFileError::Damaged { path, line, problem },
            Self::OtherVersion => PeerFileError::OtherVersion { path },
        }
    }
}

/// The text for the first [`PEERS_MAX`] of these peers that have an address.
pub(super) fn write<'a>(peers: impl Iterator<Item = &'a KnownPeer>) -> String {
    let mut text = format!("{NAME} {VERSION}\n");
    let mut count = 0;
    for peer in peers.filter(|peer| !peer.addrs.is_empty()).take(PEERS_MAX) {
        for byte in peer.key {
            let _ = write!(text, "{byte:02x}");
        }
        for addr in peer.addrs.iter().take(PEER_ADDRS_MAX) {
            let _ = write!(text, " {addr}");
        }
        text.push('\n');
        count += 1;
    }
    let _ = writeln!(text, "end {count}");
    text
}

/// The peers in the bytes of a file.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<KnownPeer>, Malformed> {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return Err(Malformed::Damaged(1, "it is not text"));
    };
    let mut lines = text.split_inclusive('\n').zip(1..);
    match lines.next().and_then(|(line, _)| line.split_once(' ')) {
        Some((NAME, version)) if version == format!("{VERSION}\n") => {}
        Some((NAME, version)) if version.ends_with('\n') => return Err(Malformed::OtherVersion),
        _ => return Err(Malformed::Damaged(1, "it does not begin as peer files do")),
    }
    let mut peers = Vec::new();
    let mut last = 1;
    for (line, number) in lines.by_ref() {
        last = number;
        let damaged = |problem| Malformed::Damaged(number, problem);
        let whole = line.strip_suffix('\n').ok_or(damaged("it is cut short"))?;
        if let Some(count) = whole.strip_prefix("end ") {
            return match lines.next() {
                Some(_) => Err(damaged("something follows the end")),
                None if count == peers.len().to_string() => Ok(peers),
                None => Err(damaged("the number of peers is another")),
            };
        }
        if peers.len() == PEERS_MAX {
            return Err(damaged("there are too many peers"));
        }
        peers.push(read_peer(whole).map_err(damaged)?);
    }
    Err(Malformed::Damaged(last + 1, "the end is missing"))
}

fn read_peer(line: &str) -> Result<KnownPeer, &'static str> {
    let mut fields = line.split(' ');
    let key = fields.next().and_then(read_key).ok_or("a key has 64 hexadecimal digits")?;
    let addrs: Vec<SocketAddr> = fields
        .map(|field| field.parse().map_err(|_| "an address is not one"))
        .collect::<Result<_, _>>()?;
    match addrs.len() {
        1..=PEER_ADDRS_MAX => Ok(KnownPeer { id: node_id(&key), key, addrs }),
        _ => Err("a peer has one to eight addresses"),
    }
}

fn read_key(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(key)
}
