//! Benchmark of the codecs. The baseline copies the same bytes, the least work that yields owned
//! values.

use core::fmt::Debug;

use bytes::Bytes;
use nodenet_benches::{Limit, Row};
use nodenet_proto::NodeId;
use nodenet_proto::env::Ed25519Crypto;
use nodenet_proto::identity::Identity;
use nodenet_proto::wire::media::{Channel, MediaFrame};
use nodenet_proto::wire::nat::Connect;
use nodenet_proto::wire::rendezvous::Hello;
use nodenet_proto::wire::{Addr, AddrList, Contact, Decode, Encode, Neighbors, Pong};

pub(crate) fn rows() -> Vec<Row> {
    let observed = Addr::new(b"quic", b"203.0.113.7:4242");
    let addrs =
        || AddrList::first_of([observed.clone(), Addr::new(b"quic", b"[2001:db8::1]:4242")]);
    let identity = Identity::from_master_seed(&[1; 32]);
    let target = NodeId::from_bytes([7; 32]);
    let contact = |byte| Contact {
        key: Some([byte; 32]),
        addrs: addrs().into_vec(),
        ..Contact::new(NodeId::from_bytes([byte; 32]))
    };
    let mut rows = Vec::new();
    rows.extend(both("Pong", &Pong { observed: observed.clone() }));
    rows.extend(both("Neighbors of 17", &Neighbors::new([7; 8], (0..17).map(contact))));
    rows.extend(both("Hello", &Hello::sign(&Ed25519Crypto, &identity, &target, addrs(), [7; 16])));
    rows.extend(both("Connect", &Connect { nonce: [7; 16], addrs: addrs() }));
    rows.push(media());
    rows
}

fn both<T: Encode + for<'a> Decode<'a> + Debug>(name: &str, value: &T) -> [Row; 2] {
    let bytes = value.to_bytes();
    let copy = || Bytes::copy_from_slice(&bytes);
    let encode = || value.to_bytes();
    let decode = || T::decode_exact(&bytes).expect("what we encoded");
    let baseline = "copying its bytes";
    [
        Row::time(
            format!("encode {name}, {} B", bytes.len()),
            baseline,
            Limit::None,
            1,
            (encode, copy),
        ),
        Row::time(
            format!("decode {name}, {} B", bytes.len()),
            baseline,
            Limit::None,
            1,
            (decode, copy),
        ),
    ]
}

fn media() -> Row {
    let frame = MediaFrame::for_datagram(Channel::FIRST, Bytes::from(vec![0xab; 1_200]));
    let bytes = frame.expect("as large as it may be").to_bytes();
    let decode = || MediaFrame::from_datagram(bytes.clone()).expect("what we encoded");
    let copy = || Bytes::copy_from_slice(&bytes);
    Row::time("decode media datagram, 1201 B", "copying its bytes", Limit::None, 1, (decode, copy))
}
