//! Handshakes between bare endpoints with these settings.

mod pair;

use pair::{Pair, Peer, identity};

use super::peer_identity;
use crate::env::Seed;

#[test]
fn both_ends_learn_who_the_other_is() {
    for (dialer, acceptor) in [(1, 2), (2, 1)] {
        let pair = ordinary(dialer, acceptor);
        for (peer, other) in [(&pair.dialer, acceptor), (&pair.acceptor, dialer)] {
            let (_, connection) = peer.connection.as_ref().unwrap();
            let other = identity(other);
            assert!(peer.connected && peer.lost.is_none());
            assert_eq!(peer_identity(connection), Some((other.id(), *other.public_key())));
        }
    }
}

#[test]
fn the_same_seeds_send_the_same_bytes_and_others_do_not() {
    assert_eq!(ordinary(1, 2).trace(), ordinary(1, 2).trace());
    assert_ne!(ordinary(1, 2).trace(), ordinary(1, 3).trace());
}

fn ordinary(dialer: u8, acceptor: u8) -> Pair {
    let peer = |number| Peer::new(number, &Seed::from_u64(number.into()));
    Pair::new(peer(dialer), peer(acceptor)).run()
}
