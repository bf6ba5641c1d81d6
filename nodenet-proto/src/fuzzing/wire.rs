//! Fuzz targets of the decoders: a decoded value must encode again, and no input may cause a panic.

use core::fmt::Debug;
use core::time::Duration;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::NodeId;
use crate::addr::{Subnet, is_plausible_reflexive};
use crate::buf::{Frame, HeadPool};
use crate::env::{Ed25519Crypto, Seed, UnixNanos};
use crate::identity::Identity;
use crate::node::demux::payload_of;
use crate::quic::tls::certificate::{Certificate, parse_extension};
use crate::rendezvous::{ReplayCache, ReplayError};
use crate::splice::Payload;
use crate::wire::media::{MediaError, MediaFrame};
use crate::wire::nat::{
    Connect, ConnectAck, MarkedRelayRequest, RefusedGrant, RelayAnswer, RelayBind, RelayGrant,
    RelayRequest, Signals, WithSignals, punch_target,
};
use crate::wire::rendezvous::{Hello, Reply};
use crate::wire::sealed_box::{
    OpenError, Recipient, SealedBox, open, open_bound, seal, seal_bound,
};
use crate::wire::{
    Addr, AddrList, ContactList, Decode, Encode, Envelope, FrameHeader, FrameType, Lookup,
    Neighbors, Pong, Reader, RoutedFrame, Siblings,
};

/// Addresses and lists of them.
pub fn addr(input: &[u8]) {
    check_decoder::<Addr>(input);
    check_decoder::<AddrList>(input);
}

/// Lists of contacts.
pub fn contact(input: &[u8]) {
    check_decoder::<ContactList>(input);
}

/// Control messages of the overlay.
pub fn control(input: &[u8]) {
    check_decoder::<Pong>(input);
    check_decoder::<Siblings>(input);
    check_decoder::<Lookup>(input);
    check_decoder::<Neighbors>(input);
}

/// A frame as a transport delivers it, and the frame that a forwarder sends.
pub fn frame(input: &[u8]) {
    check_decoder::<FrameHeader>(input);
    let whole = FrameHeader::of(&in_pieces(input, 1));
    assert_eq!(FrameHeader::of(&in_pieces(input, 3)), whole, "chunks do not matter");
    let Ok((header, at)) = whole else {
        return;
    };
    assert_eq!(at + header.payload_len, input.len());
    let Some(frame_type) = header.frame_type().filter(|frame_type| frame_type.is_routed()) else {
        return;
    };
    let Ok(routed) = RoutedFrame::parse(in_pieces(input, 3), frame_type, at) else {
        return;
    };
    let parsed = Envelope::decode_exact(&input[at..]).expect("it was just parsed in place");
    let expected = Envelope { hop_limit: 7, ..parsed };
    let forwarded = routed.into_forward(7, &mut HeadPool::new()).to_bytes();
    let (header, at) = FrameHeader::of(&Frame::from(forwarded.clone())).expect("we wrote it");
    assert_eq!(header.frame_type(), Some(frame_type));
    assert_eq!(forwarded[at..], expected.to_bytes(), "the shortest form, and otherwise the same");
}

/// An envelope, read in place and as a value.
pub fn envelope(input: &[u8]) {
    check_decoder::<Envelope>(input);
    let in_place = RoutedFrame::parse(in_pieces(input, 2), FrameType::Route, 0);
    match (in_place, Envelope::decode_exact(input)) {
        (Err(in_place), Err(value)) => assert_eq!(in_place, value),
        (Ok(in_place), Ok(value)) => {
            assert_eq!(in_place.target(), &value.target);
            assert_eq!(in_place.hop_limit(), value.hop_limit);
            assert_eq!(in_place.key(), &value.key);
            assert_eq!(in_place.sent(), value.sent);
            assert_eq!(in_place.avoid(), &value.avoid);
            let type_byte = FrameType::Route.to_byte();
            let digest = in_place.signing_digest(&Ed25519Crypto);
            assert_eq!(digest, value.signing_digest(type_byte, &Ed25519Crypto));
            let _ = in_place.is_signed(&digest, &Ed25519Crypto);
            assert_eq!(in_place.payload_len(), value.payload.len());
            assert_eq!(in_place.into_payload(), value.payload);
        }
        (in_place, value) => panic!("in place: {in_place:?}, as a value: {value:?}"),
    }
}

/// Hello and Reply.
pub fn rendezvous(input: &[u8]) {
    check_decoder::<Hello>(input);
    check_decoder::<Reply>(input);
}

/// Connect and the relay messages.
pub fn nat(input: &[u8]) {
    check_decoder::<Connect>(input);
    check_decoder::<ConnectAck>(input);
    check_decoder::<RelayRequest>(input);
    check_decoder::<RelayGrant>(input);
    check_decoder::<RelayBind>(input);
    if let Ok((nonce, RelayAnswer::Refused(reason))) = RelayAnswer::decode(input) {
        let again = RelayAnswer::decode(&RefusedGrant { nonce, reason }.to_bytes());
        assert_eq!(again, Ok((nonce, RelayAnswer::Refused(reason))));
    }
    if let Ok((request, true)) = MarkedRelayRequest::decode_any(input) {
        let again = MarkedRelayRequest::decode_any(&MarkedRelayRequest(request).to_bytes());
        assert_eq!(again, Ok((request, true)));
    }
    check_decoder::<Signals>(input);
    if let Ok((message, Some(signals))) = Connect::decode_with_signals(input) {
        let again = Connect::decode_with_signals(&message.to_bytes_with(&signals));
        assert_eq!(again, Ok((message, Some(signals))));
    }
    let may_be_quic = input.first().is_some_and(|first| *first >= 0x40);
    assert_eq!(payload_of(input) == Some(Payload::Quic), may_be_quic);
}

/// The content of a media datagram, and of a message.
pub fn media(input: &[u8]) {
    for parse in [MediaFrame::from_datagram, MediaFrame::from_message] {
        match parse(Bytes::copy_from_slice(input)) {
            Ok(frame) => assert_eq!(frame.to_bytes(), input),
            Err(MediaError::Empty) => assert!(input.is_empty()),
            Err(MediaError::ReservedChannel(number)) => assert_eq!(number, input[0]),
            Err(MediaError::TooLarge { len, max }) => {
                assert!(len > max && len + 1 == input.len());
            }
        }
    }
}

/// A box as received, the same box signed by a sender, and a plaintext.
pub fn sealed_box(input: &[u8]) {
    static PARTIES: OnceLock<[Identity; 2]> = OnceLock::new();
    let [sender, recipient] =
        PARTIES.get_or_init(|| [1, 2].map(|seed| Identity::from_master_seed(&[seed; 32])));
    let (now, age_max) = (UnixNanos(1_700_000_000_123_456_789), Duration::from_secs(3_600));

    check_decoder::<SealedBox>(input);
    let _ = open(recipient, input, b"context", now, age_max);

    if let Ok(mut signed) = SealedBox::decode_exact(input) {
        signed.sign(sender, recipient.exchange_key());
        let opened = open(recipient, &signed.to_bytes(), b"context", now, age_max);
        assert_ne!(opened, Err(OpenError::BadSignature));
        assert!(!matches!(opened, Err(OpenError::Malformed(_))));
    }

    let mut rng = Seed::from_u64(1).stream("sealed box");
    let sealed = seal(sender, recipient.exchange_key(), now, input, b"context", &mut rng);
    let opened = open(recipient, &sealed.expect("an honest key"), b"context", now, age_max);
    assert_eq!(opened.map(|opened| opened.plaintext).as_deref(), Ok(input));

    let to = Recipient { id: recipient.id(), exchange_key: *recipient.exchange_key() };
    let bound = seal_bound(sender, &to, now, input, b"context", &mut rng).expect("an honest key");
    let mut replays = ReplayCache::new(age_max);
    let opened = replays.open_bound(recipient, &bound, b"context", now);
    assert_eq!(opened.map(|opened| opened.plaintext).as_deref(), Ok(input));
    let again = replays.open_bound(recipient, &bound, b"context", now);
    assert_eq!(again, Err(ReplayError::Replayed));
    let mut stolen = SealedBox::decode_exact(&bound).expect("it is one");
    stolen.sign(recipient, recipient.exchange_key());
    let opened = open_bound(recipient, &stolen.to_bytes(), b"context", now, age_max);
    assert_eq!(opened, Err(OpenError::Undecryptable));
}

/// A peer's certificate, and the identity extension in it.
pub fn certificate(input: &[u8]) {
    if let Ok(certificate) = Certificate::parse(input) {
        assert!(certificate.public_key_der().len() <= input.len());
        if let Ok(key) = certificate.verify() {
            assert_eq!(certificate.claimed_identity(), Ok(key));
        }
    }
    assert_eq!(parse_extension(input).is_some(), input.len() == 96);
}

/// Text input: identifiers, and the endpoint of an address.
pub fn text(input: &[u8]) {
    if let Ok(Ok(id)) = str::from_utf8(input).map(str::parse::<NodeId>) {
        assert_eq!(id.to_string().as_bytes(), input.to_ascii_lowercase());
    }
    let addr = Addr::new(b"quic", input);
    assert!(addr.to_string().is_ascii());
    assert_eq!(addr.subnet(), addr.ip_port().map(|(ip, _)| Subnet::of(ip)));
    if let Some(socket) = addr.to_socket_addr() {
        assert_eq!(addr.ip_port(), Some((socket.ip(), socket.port())));
        assert_eq!(Addr::from_socket_addr(socket).to_socket_addr(), Some(socket));
        if let Some(target) = punch_target(&addr) {
            assert!(target == socket && is_plausible_reflexive(target.ip()));
        }
    }
}

/// Decodes `input` and, if it is a `T`, encodes it again.
///
/// # Panics
/// If the value does not survive: the encoding must equal the input, or be shorter if the input had
/// `uvarint`s longer than necessary.
pub(crate) fn check_decoder<T>(input: &[u8])
where
    T: Encode + for<'a> Decode<'a> + PartialEq + Debug,
{
    let mut reader = Reader::new(input);
    let Ok(value) = T::decode(&mut reader) else {
        return;
    };
    let read = &input[..input.len() - reader.remaining()];
    let encoded = value.to_bytes();
    assert_eq!(encoded.len(), value.encoded_len(), "the announced length is exact");
    assert!(encoded.len() <= read.len(), "the encoding is the shortest there is");
    if encoded.len() == read.len() {
        assert_eq!(encoded, read, "nothing is lost");
    }
    assert_eq!(T::decode_exact(&encoded), Ok(value), "what is encoded is decoded");
}

/// `input` as a frame that arrived in up to `count` chunks of about the same length.
fn in_pieces(input: &[u8], count: usize) -> Frame {
    let mut frame = Frame::new();
    for chunk in input.chunks(input.len().div_ceil(count).max(1)) {
        frame.push_back(Bytes::copy_from_slice(chunk));
    }
    frame
}
