//! Refusal of media conns.

use std::time::Duration;

use quinn_proto::{ConnectionError, TransportErrorCode, VarInt};

use super::peer::Peer;
use super::raw::Raw;
use crate::quic::media;
use crate::quic::tls::ALPN_OVERLAY;
use crate::stats::DropReason;
use crate::testkit::Net;

/// A dial for media that offers these protocols, and a minute for the dialed peer to forget it.
fn dial(net: &mut Net, peer: &mut Peer, protocols: &[&[u8]]) -> Raw {
    let mut raw = Raw::with_protocols(1, protocols);
    raw.dial(net.now, peer.addr);
    net.run(&mut [&mut raw, &mut *peer], Duration::from_secs(1));
    assert_eq!(peer.drops(DropReason::ProtocolNotServed), 1);
    assert!(peer.events.is_empty(), "the engine gets no conn");
    net.run(&mut [&mut raw, &mut *peer], Duration::from_secs(60));
    assert_eq!(peer.quic.stats().gauges, Default::default(), "nothing is kept");
    assert_eq!(peer.drops(DropReason::HandshakeTimeout), 0);
    raw
}

#[test]
fn a_listener_without_media_refuses_it_in_the_handshake() {
    // A ClientHello of one datagram, and one of two.
    for offers in [1, 100] {
        let mut net = Net::new(50);
        let mut peer = Peer::new(2, &net);
        let raw = dial(&mut net, &mut peer, &vec![media::ALPN; offers]);
        let Some(ConnectionError::ConnectionClosed(close)) = raw.lost(0) else {
            panic!("QUIC closed it, not {:?}", raw.lost(0));
        };
        assert_eq!(close.error_code, TransportErrorCode::crypto(120), "no_application_protocol");
    }
}

#[test]
fn a_media_conn_that_completes_its_handshake_is_closed() {
    let mut net = Net::new(51);
    let mut peer = Peer::serving(2, &net, &[ALPN_OVERLAY, media::ALPN]);
    let raw = dial(&mut net, &mut peer, &[media::ALPN]);
    assert!(raw.is_connected(0));
    assert_eq!(raw.close_code(0), Some(VarInt::from_u32(0)));
}
