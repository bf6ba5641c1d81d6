use hex_literal::hex;

use super::{CONTACT_ADDRS_MAX, CONTACT_LEN_MIN, CONTACTS_MAX, Capabilities, Contact, ContactList};
use crate::NodeId;
use crate::identity::Identity;
use crate::wire::generic_tests::six_tests;
use crate::wire::{Addr, Decode, DecodeError, Encode};

/// A list that is not cut short.
fn list(contacts: impl IntoIterator<Item = Contact>) -> ContactList {
    ContactList::first_of(contacts, usize::MAX)
}

fn keyless(byte: u8) -> Contact {
    Contact::new(NodeId::from_bytes([byte; 32]))
}

/// The node whose master seed repeats `byte`.
fn keyed(byte: u8) -> Contact {
    let identity = Identity::from_master_seed(&[byte; 32]);
    Contact { key: Some(*identity.public_key()), ..Contact::new(identity.id()) }
}

six_tests!(contact_list: ContactList, trailing = Refused, known = [
    (hex!("00"), list([])),
    (
        hex!(
            "014e7774ad5e0d87f293ce33fd147608be69d66301bdc551b8a129fd55721117"
            "a89d47754b12f0b21ae4b3f2dce227fd70d7a0066af4eea6d493104e994f3e59"
            "2400000000000000000000000000000000000000000000000000000000000000"
            "00000000000104717569630e3139322e302e322e313a34323432"
        ),
        list([Contact { addrs: vec![Addr::new(b"quic", b"192.0.2.1:4242")], ..keyed(1) }]),
    ),
    (
        hex!(
            "044e7774ad5e0d87f293ce33fd147608be69d66301bdc551b8a129fd55721117"
            "a89d47754b12f0b21ae4b3f2dce227fd70d7a0066af4eea6d493104e994f3e59"
            "24242e44e863ded193c111029c13be1dddfdacb587c5a81849e204130a4c5241"
            "5500000002008ca8c5df08465a801cebaf48926aefde453d0542bebcb7d8d34e"
            "43d8d496e8118221806d56c9bab7088d5584382195ea1e8508d143577a9f2894"
            "94c440b23d840000000000000000000000000000000000000000000000000000"
            "00000000000000000003020471756963113139382e35312e3130302e393a3730"
            "3030036d656d026e340606060606060606060606060606060606060606060606"
            "0606060606060606060000000000000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
            "0000000000000000000000000000070707070707070707070707070707070707"
            "0707070707070707070707070707080808080808080808080808080808080808"
            "0808080808080808080808080808000000000000000000000000000000000000"
            "0000000000000000000000000000ffffffff02000001ff0100"
        ),
        list([
            Contact {
                exchange_key: Some(*Identity::from_master_seed(&[1; 32]).exchange_key()),
                capabilities: Capabilities::PUBLIC_ANCHOR,
                ..keyed(1)
            },
            Contact {
                capabilities: Capabilities::PUBLIC_ANCHOR.with(Capabilities::CAN_RELAY),
                addrs: vec![Addr::new(b"quic", b"198.51.100.9:7000"), Addr::new(b"mem", b"n4")],
                ..keyed(2)
            },
            keyless(6),
            Contact {
                key: Some([8; 32]),
                capabilities: Capabilities(u32::MAX),
                addrs: vec![Addr::default(), Addr::new(b"\xff", b"\x00")],
                ..keyless(7)
            },
        ]),
    ),
]);

#[test]
fn seventeen_contacts_are_the_most() {
    let full = list(
        (1..=17).map(|i| Contact { capabilities: Capabilities(u32::from(i) - 1), ..keyless(i) }),
    );
    let bytes = full.to_bytes();
    assert_eq!(bytes.len(), 1 + 17 * CONTACT_LEN_MIN);
    assert_eq!(ContactList::decode_exact(&bytes), Ok(full));
    let eighteen = [&[18][..], &bytes[1..], &[0; CONTACT_LEN_MIN]].concat();
    assert_eq!(ContactList::decode_exact(&eighteen), Err(DecodeError::ShortBuffer));
}

/// The bytes of a contact up to its addresses: 00 01 02 .. 63.
fn fixed() -> Vec<u8> {
    (0..100).collect()
}

#[test]
fn malformed_lists_are_refused() {
    let fixed = fixed();
    for bytes in [
        vec![],
        hex!("0000").to_vec(),
        hex!("ffffffff0f").to_vec(),
        hex!("01").to_vec(),
        [&[1][..], &fixed].concat(),
        [&[1][..], &fixed, &[0, 0xaa]].concat(),
        [&[1][..], &fixed, &[2, 0, 0, 0]].concat(),
        [&[1][..], &fixed, &hex!("010961")].concat(),
        [&[1][..], &fixed, &hex!("01016109")].concat(),
        [&[1][..], &fixed, &hex!("ffffffffffffffffff01")].concat(),
    ] {
        let decoded = ContactList::decode_exact(&bytes);
        assert_eq!(decoded, Err(DecodeError::ShortBuffer), "{bytes:02x?}");
    }
}

#[test]
fn longer_numbers_are_read() {
    assert_eq!(ContactList::decode_exact(&hex!("8000")), Ok(list([])));
    let longer = [&hex!("8100")[..], &fixed(), &hex!("81800081006d8000")].concat();
    let decoded = ContactList::decode_exact(&longer).expect("a list");
    assert_eq!(decoded.to_bytes(), [&[1][..], &fixed(), &hex!("01016d00")].concat());
    assert_eq!(decoded.as_slice()[0].capabilities, Capabilities(0x6061_6263));
}

/// Encodings of 256 and 257 empty addresses, in one contact or spread over two.
#[test]
fn addresses_are_counted_over_the_whole_list() {
    let fixed = fixed();
    let [all, one_more] = [256, 257].map(|count| vec![0; 2 * count]);
    let one = |count: &[u8], addrs: &[u8]| [&[1][..], &fixed, count, addrs].concat();
    let two = |count: u8, addrs: &[u8]| {
        let first = [&fixed[..], &hex!("8001"), &[0; 256]].concat();
        let second = [&fixed[..], &[0x80 | count, 1], &addrs[256..]].concat();
        [&[2][..], &first, &second].concat()
    };
    for bytes in [one(&hex!("8002"), &all), two(0, &all)] {
        let decoded = ContactList::decode_exact(&bytes).expect("exactly as many as may be");
        let count: usize = decoded.as_slice().iter().map(|contact| contact.addrs.len()).sum();
        assert_eq!(count, CONTACT_ADDRS_MAX);
        assert_eq!(decoded.to_bytes(), bytes);
    }
    for bytes in [one(&hex!("8102"), &one_more), two(1, &one_more)] {
        assert_eq!(ContactList::decode_exact(&bytes), Err(DecodeError::ShortBuffer));
    }
}

#[test]
fn an_encoded_list_decodes() {
    let many = (0..40).map(|i| Contact { addrs: vec![Addr::default(); 50], ..keyless(i) });
    for len_max in [0, 1, 101, 102, 103, 500, 2_000, 60_000] {
        let list = ContactList::first_of(many.clone(), len_max);
        assert!(list.encoded_len() <= len_max.max(1));
        assert!(list.as_slice().len() <= CONTACTS_MAX);
        assert_eq!(ContactList::decode_exact(&list.to_bytes()), Ok(list));
    }
    let list = ContactList::first_of(many, 60_000);
    let addrs: Vec<usize> = list.as_slice().iter().map(|contact| contact.addrs.len()).collect();
    assert_eq!(addrs[..7], [50, 50, 50, 50, 50, 6, 0], "the last contacts lose their addresses");
    assert_eq!(addrs.len(), CONTACTS_MAX);
}

#[test]
fn capabilities_are_asked_for_together() {
    for (capabilities, wanted, has) in [
        (0x0, 1, false),
        (0x1, 1, true),
        (0x1, 2, false),
        (0x3, 2, true),
        (0x3, 3, true),
        (0x1, 3, false),
        (0x1, 0, true),
        (0xfffffffc, 3, false),
    ] {
        let capabilities: u32 = capabilities;
        assert_eq!(Capabilities(capabilities).has(Capabilities(wanted)), has);
    }
}
