//! Known answers of NAT messages, made with another implementation of the protocol.

use hex_literal::hex;

use super::*;
use crate::wire::generic_tests::six_tests;

const NONCE: [u8; 16] = hex!("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
const TARGET: NodeId =
    NodeId::from_bytes(hex!("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"));

fn quic(endpoint: &str) -> Addr {
    Addr::new(b"quic", endpoint.as_bytes())
}

fn connect(endpoints: &[&str]) -> Connect {
    Connect { nonce: NONCE, addrs: AddrList::first_of(endpoints.iter().map(|text| quic(text))) }
}

fn grant(addr: Addr) -> RelayGrant {
    RelayGrant { nonce: NONCE, addr }
}

six_tests!(connect_itself: Connect, trailing = Ignored, known = [
    (hex!("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 00"), connect(&[])),
    (
        hex!("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 01 0471756963103230332e302e3131332e373a34323432"),
        connect(&["203.0.113.7:4242"])
    ),
    (
        hex!(
            "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 03"
            "0471756963113139322e3136382e312e31303a34323432"
            "0471756963103230332e302e3131332e373a34323432"
            "0471756963125b323030313a6462383a3a315d3a34323432"
        ),
        connect(&["192.168.1.10:4242", "203.0.113.7:4242", "[2001:db8::1]:4242"])
    ),
]);

six_tests!(connect_ack: ConnectAck, trailing = Ignored, known = [(
    hex!("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 01 0471756963103230332e302e3131332e373a34323432"),
    ConnectAck { nonce: NONCE, addrs: connect(&["203.0.113.7:4242"]).addrs }
)]);

six_tests!(relay_request: RelayRequest, trailing = Ignored, known = [(
    hex!(
        "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
        "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
    ),
    RelayRequest { nonce: NONCE, target: TARGET }
)]);

six_tests!(relay_grant: RelayGrant, trailing = Ignored, known = [
    (
        hex!("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 0471756963103230332e302e3131332e373a34323432"),
        grant(quic("203.0.113.7:4242"))
    ),
    (
        hex!("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 0471756963125b323030313a6462383a3a315d3a34323432"),
        grant(quic("[2001:db8::1]:4242"))
    ),
    (hex!("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 0000"), grant(Addr::default())),
]);

six_tests!(relay_bind: RelayBind, trailing = Ignored, known = [
    (
        hex!("0471756963103230332e302e3131332e373a34323432"),
        RelayBind { addr: quic("203.0.113.7:4242") }
    ),
    (
        hex!("0471756963125b323030313a6462383a3a315d3a34323432"),
        RelayBind { addr: quic("[2001:db8::1]:4242") }
    ),
    (hex!("0000"), RelayBind { addr: Addr::default() }),
]);

/// No other implementation writes these: the bytes are those of WIRE.md.
fn some_signals() -> Signals {
    let volunteer = Signal::Volunteer { id: TARGET, addr: quic("203.0.113.7:4242") };
    let nat = Signal::Nat {
        mapping: Mapping::AddressAndPortDependent,
        allocator: Allocator::Sequential { step: 2 },
    };
    Signals::new([Signal::Reachable(false), nat, volunteer])
}

six_tests!(signals: Signals, trailing = Ignored, known = [
    (hex!("6e6101 00"), Signals::new([])),
    (
        hex!(
            "6e6101 03 02 01 02 03 04 03020002 01 36"
            "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
            "0471756963103230332e302e3131332e373a34323432"
        ),
        some_signals()
    ),
    (
        hex!("6e6101 01 04 1a 0471756963103230332e302e3131332e373a34323432 0002 0010"),
        Signals::new([Signal::Ports { addr: quic("203.0.113.7:4242"), step: 2, count: 16 }])
    ),
]);

#[test]
fn signals_follow_the_addresses_of_a_connect() {
    let connect = connect(&["203.0.113.7:4242"]);
    let payload = connect.to_bytes_with(&some_signals());
    assert_eq!(Connect::decode_front(&payload).as_ref(), Ok(&connect), "others ignore them");
    let expected = (connect.clone(), Some(some_signals()));
    assert_eq!(Connect::decode_with_signals(&payload), Ok(expected));
    for tail in [&[][..], &[0], b"nb\x01\x00", b"na\x01\xff"] {
        let payload = [&connect.to_bytes()[..], tail].concat();
        assert_eq!(Connect::decode_with_signals(&payload), Ok((connect.clone(), None)));
    }
}

#[test]
fn a_peer_of_the_next_version_is_understood_as_far_as_this_one_knows() {
    let next = hex!(
        "6e6102 06"
        "63 03 aabbcc"     // an entry of a new type
        "02 03 01 beef"    // a known one that has become longer
        "03 04 63 02 0002" // a new kind of mapping
        "03 04 01 63 0000" // a new kind of allocator
        "03 05 01 01 0000 07"
        "02 00"            // damaged
        "feed"             // something behind the list
    );
    let signals = Signals::decode_front(&next).expect("its framing is the same");
    assert_eq!((signals.version, signals.reachable()), (2, Some(true)));
    assert_eq!(signals.nat(), (Mapping::EndpointIndependent, Allocator::Preserving));
    assert_eq!(signals.entries.len(), 2);
}

#[test]
fn a_list_of_signals_is_bounded() {
    let volunteer = Signal::Volunteer { id: TARGET, addr: quic("203.0.113.7:4242") };
    let many = Signals { version: 1, entries: vec![volunteer; 40] };
    let kept = Signals::decode_exact(&many.to_bytes()).expect("valid");
    assert_eq!(kept.entries.len(), SIGNALS_MAX);
    assert_eq!(kept.volunteers().count(), VOLUNTEERS_MAX);
}

#[test]
fn relay_messages_are_framed_as_by_another_implementation() {
    let request = RelayRequest { nonce: NONCE, target: TARGET };
    assert_eq!(request.to_frame().to_bytes()[..3], hex!("010c30"));
    let grant = grant(quic("203.0.113.7:4242"));
    assert_eq!(grant.to_frame().to_bytes()[..3], hex!("010d26"));
    let bind = RelayBind { addr: quic("[2001:db8::1]:4242") };
    assert_eq!(
        bind.to_frame().to_bytes(),
        hex!("010e18 0471756963125b323030313a6462383a3a315d3a34323432")[..]
    );
}

/// No other implementation writes these: the bytes are those of WIRE.md.
#[test]
fn a_refusal_is_a_grant_without_an_address_and_only_a_marked_request_asks_for_it() {
    let request = RelayRequest { nonce: NONCE, target: TARGET };
    let marked = MarkedRelayRequest(request);
    let frame = marked.to_frame().to_bytes();
    assert_eq!(frame[..3], hex!("010c33"));
    assert_eq!(frame[51..], hex!("6e7201"));
    assert_eq!(RelayRequest::decode_front(&frame[3..]), Ok(request), "others ignore the mark");
    assert_eq!(MarkedRelayRequest::decode_any(&frame[3..]), Ok((request, true)));
    assert_eq!(MarkedRelayRequest::decode_any(&request.to_bytes()), Ok((request, false)));

    let refused = RefusedGrant { nonce: NONCE, reason: RelayRefusal::NoEdge }.to_frame();
    assert_eq!(
        refused.to_bytes(),
        hex!("010d16 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 0000 6e720102")[..]
    );
    let answer = |payload: &[u8]| RelayAnswer::decode(payload).map(|(_, answer)| answer);
    let no_edge = RelayAnswer::Refused(RelayRefusal::NoEdge);
    assert_eq!(answer(&refused.to_bytes()[3..]), Ok(no_edge));
    let granted = grant(quic("203.0.113.7:4242")).to_bytes();
    assert_eq!(answer(&granted), Ok(RelayAnswer::Granted(quic("203.0.113.7:4242"))));
    for tail in [&b""[..], b"nr\x01", b"nr\x02\xff\x07", b"na\x01\x02"] {
        let payload = [&NONCE[..], &[0, 0], tail].concat();
        assert_eq!(answer(&payload), Ok(RelayAnswer::Refused(RelayRefusal::Other)), "{tail:?}");
    }
    for reason in (1..=9).map(|code| answer(&[&NONCE[..], b"\0\0nr\x01", &[code]].concat())) {
        let Ok(RelayAnswer::Refused(reason)) = reason else { panic!("{reason:?}") };
        let again = RefusedGrant { nonce: NONCE, reason }.to_bytes();
        assert_eq!(answer(&again), Ok(RelayAnswer::Refused(reason)));
        assert_ne!(reason, RelayRefusal::Other);
    }
}

#[test]
fn malformed_connects_have_distinct_errors() {
    let with_list = |list: &[u8]| Connect::decode_front(&[&NONCE, list].concat());
    assert_eq!(Connect::decode_front(&[]), Err(DecodeError::ShortBuffer));
    assert_eq!(Connect::decode_front(&NONCE[..15]), Err(DecodeError::ShortBuffer));
    assert_eq!(with_list(&[]), Err(DecodeError::BadAddr));
    assert_eq!(with_list(&hex!("090000")), Err(DecodeError::BadAddr));
}

#[test]
fn a_connect_holds_sixteen_addresses_and_no_more() {
    let with_empty_addrs = |count: u8| {
        let list = [&[count][..], &vec![0; 2 * usize::from(count)]].concat();
        Connect::decode_front(&[&NONCE, &list[..]].concat())
    };
    let sixteen = with_empty_addrs(16).map(|connect| connect.addrs.as_slice().len());
    assert_eq!(sixteen, Ok(16));
    assert_eq!(with_empty_addrs(17), Err(DecodeError::TooManyAddrs));
}

#[test]
fn malformed_relay_messages_have_distinct_errors() {
    assert_eq!(RelayRequest::decode_front(&[]), Err(DecodeError::ShortBuffer));
    assert_eq!(RelayGrant::decode_front(&NONCE[..3]), Err(DecodeError::ShortBuffer));
    assert_eq!(RelayGrant::decode_front(&NONCE), Err(DecodeError::BadAddr));
    assert_eq!(RelayBind::decode_front(&[]), Err(DecodeError::BadAddr));
}

#[test]
fn a_punch_has_known_bytes() {
    assert_eq!(PUNCH_DATAGRAM, hex!("006e7001"));
}

#[test]
fn punches_go_to_routable_ip_literals_only() {
    let allowed = [
        ("203.0.113.7:443", "203.0.113.7:443"),
        ("192.168.1.10:5000", "192.168.1.10:5000"),
        ("10.0.0.5:1234", "10.0.0.5:1234"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ("[fd00::1]:9", "[fd00::1]:9"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7:443"),
        ("203.0.113.255:9", "203.0.113.255:9"),
        ("240.0.0.1:9", "240.0.0.1:9"),
        ("0.1.2.3:9", "0.1.2.3:9"),
    ];
    for (endpoint, socket) in allowed {
        let socket = socket.parse().expect("written as a socket address");
        assert_eq!(punch_target(&quic(endpoint)), Some(socket), "{endpoint}");
    }
    let refused = [
        "127.0.0.1:80",
        "[::1]:80",
        "0.0.0.0:1",
        "[::]:1",
        "255.255.255.255:9",
        "224.0.0.1:9",
        "[ff02::1]:9",
        "169.254.1.1:9",
        "[fe80::1]:9",
        "evil.example.com:443",
        "localhost:443",
        "not-an-addr",
        "",
        "[::ffff:127.0.0.1]:80",
        // The reference sends a punch there; no operating system accepts it.
        "203.0.113.7:0",
    ];
    for endpoint in refused {
        assert_eq!(punch_target(&quic(endpoint)), None, "{endpoint}");
    }
    assert_eq!(punch_target(&Addr::new(b"mem", b"203.0.113.7:443")), None);
}
