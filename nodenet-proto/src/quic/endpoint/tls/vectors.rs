//! Certificates with the judgement of the reference (PROTOCOL.md#reference-vectors), for the tests
//! beside this file.

use hex_literal::hex;

/// One case a line: name, the NodeId or the error, then the chain in hexadecimal, leaf first.
const LINES: &str = include_str!("vectors.txt");

/// The P-256 key, as PKCS #8, of all certificates in which it occurs.
pub(super) const P256_KEY: [u8; 138] = hex!(
    "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420f04ff62ef2bc9d0a6779"
    "00a7dab1c76f17309b34c4bfa73dd2975045f3d31f4ba1440342000461751d8c714b794d2223d6b2dc280cd23259"
    "4f55dae90af0aa0d1d35d3027aac76f5222deb201ce7d82aaa58438c81294930440e2116387ab9c3c54e1ba37d06"
);

/// A chain, and the judgement of the reference on it.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The identifier it proves, or the error.
    pub(super) expected: &'static str,
    /// Never empty: rustls answers an empty chain.
    pub(super) chain: Vec<Vec<u8>>,
}

/// All of them.
pub(super) fn cases() -> impl Iterator<Item = Case> {
    LINES.lines().map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        Case { name: word(), expected: word(), chain: words.map(bytes).collect() }
    })
}

/// The one with this name.
pub(super) fn case(name: &str) -> Case {
    cases().find(|case| case.name == name).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
