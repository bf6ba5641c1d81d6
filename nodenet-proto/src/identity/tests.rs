use std::collections::BTreeSet;

use hex_literal::hex;

use super::{Identity, node_id, signing_seed, verify};

struct Derivation {
    seed: [u8; 32],
    signing_seed: [u8; 32],
    public_key: [u8; 32],
    exchange_key: [u8; 32],
    id: [u8; 32],
    /// Over [`MESSAGE`].
    signature: [u8; 64],
}

const MESSAGE: &[u8] = b"nodenet vector message";

const DERIVATIONS: &[Derivation] = &[
    Derivation {
        seed: hex!("0000000000000000000000000000000000000000000000000000000000000000"),
        signing_seed: hex!("da8b1357fbef20c520845df25bc13387689d0d1d734caec200baa9ffc4ebb73f"),
        public_key: hex!("f0607706d46e5cdfda84436ce203d298be42724cd8339f3ddc0c14d59e5e9328"),
        exchange_key: hex!("3fa96cb3d0a3920a14a23ab5bbe753b27d00df43a6403f478c397b78597b635e"),
        id: hex!("103b2086533ed2e9c2693855414dacb9503cc1c7e97244ccbe7a3ececc0ef95f"),
        signature: hex!(
            "a0c9c8ed016c6d96af41d43032cb2eb6badc4cf286e853053cecacb6b87d5980"
            "b9de172670b1db1595f4c3c8086b861d474daeadf6c6eead4d5045748d71fa05"
        ),
    },
    Derivation {
        seed: hex!("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
        signing_seed: hex!("494b84e6bf1e708e8065ede970dac457f143b0202185a18d9eb8b7976f989532"),
        public_key: hex!("9143b53eb4c3690c3595388fbc78bd317df2312eef993dd8ab0511aef8f51e99"),
        exchange_key: hex!("7b88f3cf76dcf8a817e82aa3bbc06e30990b090db7cd83e275c4263c1576de47"),
        id: hex!("0187bbe920a3a1d10d4f3aa118198b1ac769851320f372eb505a0e3e62a6de3f"),
        signature: hex!(
            "e011387be2522ddcd8be1e72ae0d5c8732f25dcb8d7e81bd0667f6638dbf74bd"
            "d62b6c5ff72daad4e26a974d8f612de6f7f85c7e96c971d76b8da654f5d4ac04"
        ),
    },
    Derivation {
        seed: hex!("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"),
        signing_seed: hex!("a9784f6469c7bc3e7b7694f047b82c4a2676f21f49ad6958af13f62d6f3085ff"),
        public_key: hex!("f921dfe6a43d8e34b0019cd7cef3f8605052b37db5d792583294375d996c0862"),
        exchange_key: hex!("26d74bba073a11ce1fbd8089f82b2daeb3a010c4ba78d31af5172b09a3fc2a31"),
        id: hex!("45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5"),
        signature: hex!(
            "8fa0591332849835708e1cba62d5e2f1dd5dafade22bd263501835a4676439c2"
            "a70ce73f554c6a2f87f3dfa2cc1b39941a59f063a89a24ef54d4a72ce5c5ef0f"
        ),
    },
    Derivation {
        seed: hex!("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        signing_seed: hex!("0592ae0b35878f899172da9b7c13a5e5194e9f6f29e814fd2cea3fdf6a449007"),
        public_key: hex!("571bc018599102eb79ab70735a26cb0c8cb950b83e547f8392d3136a69762986"),
        exchange_key: hex!("6b0e3c38019bcbf5669f8847be00e2c246cb4a95362fc447e6b7b0155f824427"),
        id: hex!("8179d3902f1f08700f450a1d4a553597f30896fe63d46690db1134672d3fdca7"),
        signature: hex!(
            "b4b971e0f351db50572fcc8efa6465070d6f48b5fd6edf289234cb29c1d9c358"
            "f35084bf683478fcdc5a5b0a8d942985fb1c20d286dd8d81ecc5e18989ec5c08"
        ),
    },
    Derivation {
        seed: hex!("0707070707070707070707070707070707070707070707070707070707070707"),
        signing_seed: hex!("2415313468a587d44df8f0f3ad9b79559346a02b4ac54af6792f354083a00d8c"),
        public_key: hex!("5888337a54780352031e38a33726ae35fcd5a11899b747bb7e36da762b6eb5de"),
        exchange_key: hex!("ccad7a39c1c19be5834cb522618e9280485d1b403d6006c9fc550a4f3b28b131"),
        id: hex!("89c593291a24cb9ceb715c7477476660ecd9f898dc33121a8d13f927bab8b6a9"),
        signature: hex!(
            "8a247bae208a602ea6766e009f0a696efbf9defda1b02f02aa8997625828bcbf"
            "c1dad4aeb4cfda18c6d125709cedd18714320be834430e2b3dbaac5d8c2a4708"
        ),
    },
    Derivation {
        seed: hex!("20272e353c434a51585f666d747b828990979ea5acb3bac1c8cfd6dde4ebf2f9"),
        signing_seed: hex!("712342a4d942c4f85350ff56171ecb657bddd80b915bbb8aecdc92a8776b374f"),
        public_key: hex!("6accf442ce8f7bef2e78448564c0b8afcb21c9ec600f1b74a832a3f2b74c7844"),
        exchange_key: hex!("b57c4960aff01990203714210293ca79473114766252db58af567e778941f42d"),
        id: hex!("4c55a6c53b55ff620b8158a262e23ecc4a605db600e233b5a8aa3b3f51d6db85"),
        signature: hex!(
            "0178568b4738dbf1e1bac9da207baa9d3563da106c29f61e641a49dd92e1fe9e"
            "f17a3e0d14834474aeb045319e49b7e2f225fd051358110b8547441208738001"
        ),
    },
    Derivation {
        seed: hex!("c9db074dad27bb6931130f25559f038119cb977d7d97cb1981039f55250f1331"),
        signing_seed: hex!("b4578281efdaff197e683fcc3b40689544da2a8f048fb09226a545ce3682d0ad"),
        public_key: hex!("d3eebf129b4bd1061f6ea3dcc85a47b25ec8e24e71b8166ddd2652a7494f2cb6"),
        exchange_key: hex!("ec6eb29044b393ebe5a5b60fb76a5d96d6c0c1622cbff22f8f0da28d13bf7420"),
        id: hex!("769b4dd6a89b491cbb2e826f9a7a1b5451392e441dd2aba641fff1412e7458a8"),
        signature: hex!(
            "6352e6535afa74a193de3f74e8d1e6d24e2e07a18604255c6fc7a79a31f5b76f"
            "eb3565bebde91aa3bc86c38614d24b1e0ea4553410fef0c61207b723bf000e06"
        ),
    },
];

#[test]
fn one_seed_gives_every_key() {
    for known in DERIVATIONS {
        let identity = Identity::from_master_seed(&known.seed);
        assert_eq!(*signing_seed(&known.seed), known.signing_seed);
        assert_eq!(*identity.public_key(), known.public_key);
        assert_eq!(*identity.exchange_key(), known.exchange_key);
        assert_eq!(*identity.id().as_bytes(), known.id);
        assert_eq!(node_id(&known.public_key), identity.id());
        assert_eq!(identity.sign(MESSAGE), known.signature);
        assert!(verify(&known.public_key, MESSAGE, &known.signature));
        assert!(!verify(&known.public_key, b"another message", &known.signature));
    }
}

#[test]
fn secrets_differ_between_purposes_and_between_seeds() {
    let mut secrets = BTreeSet::new();
    for known in DERIVATIONS {
        let identity = Identity::from_master_seed(&known.seed);
        assert!(secrets.insert(known.seed));
        assert!(secrets.insert(*signing_seed(&known.seed)));
        assert!(secrets.insert(identity.exchange.to_bytes()));
        assert!(secrets.insert(**identity.reset_key()));
        assert!(secrets.insert(**identity.connection_id_key()));
    }
}

/// Computed with another implementation of HKDF. With another label, the peers of an upgraded node
/// would get no reset.
#[test]
fn the_keys_of_resets_and_connection_ids_are_the_same_in_every_build() {
    let identity = Identity::from_master_seed(&[7; 32]);
    let reset = hex!("4b8bc5f4710f33e6fbcf7f8950f331244265ae74ab002818d783b6b90873db31");
    let connection_id = hex!("b00d33622491e0fc7178e40e5891594c99ad8d26211eae08282ca2eda9893772");
    assert_eq!((**identity.reset_key(), **identity.connection_id_key()), (reset, connection_id));
}

/// Two master seeds and the secret that their holders agree on.
const AGREEMENTS: &[([u8; 32], [u8; 32], [u8; 32])] = &[
    (
        hex!("0000000000000000000000000000000000000000000000000000000000000000"),
        hex!("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
        hex!("4ddca0760c1b0c4d3446a967766de84d2a99bb81ac1d7ba2b2586df4fa84c82d"),
    ),
    (
        hex!("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"),
        hex!("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        hex!("094ad490bbe2c94a07fd321c6edd9febc9b8107f292611a67d85b675ffbd2948"),
    ),
    (
        hex!("20272e353c434a51585f666d747b828990979ea5acb3bac1c8cfd6dde4ebf2f9"),
        hex!("c9db074dad27bb6931130f25559f038119cb977d7d97cb1981039f55250f1331"),
        hex!("9cae35c95a125d59e0afa7de8058d5b264c6bf0310738d66de703c2e43fe6c50"),
    ),
];

#[test]
fn both_ends_agree_on_one_secret() {
    for (a, b, shared) in AGREEMENTS {
        let [a, b] = [a, b].map(Identity::from_master_seed);
        assert_eq!(a.agree(b.exchange_key()).as_deref(), Some(shared));
        assert_eq!(b.agree(a.exchange_key()).as_deref(), Some(shared));
    }
}

/// A name, a peer's key, and the secret that the holder of the seed 00 01 .. 1f agrees on with that
/// peer.
type UnusualPeer = (&'static str, [u8; 32], Option<[u8; 32]>);

const UNUSUAL_PEERS: &[UnusualPeer] = &[
    (
        "low_order_zero",
        hex!("0000000000000000000000000000000000000000000000000000000000000000"),
        None,
    ),
    (
        "low_order_one",
        hex!("0100000000000000000000000000000000000000000000000000000000000000"),
        None,
    ),
    (
        "low_order_8a",
        hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        None,
    ),
    (
        "low_order_8b",
        hex!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        None,
    ),
    (
        "low_order_p_minus_1",
        hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        None,
    ),
    ("low_order_p", hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), None),
    (
        "low_order_p_plus_1",
        hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        None,
    ),
    (
        "low_order_zero_high_bit",
        hex!("0000000000000000000000000000000000000000000000000000000000000080"),
        None,
    ),
    (
        "ordinary_peer",
        hex!("15e0f802eb2b0d693a03a08811dbf75d879e076edefb76108afeaea6d3c20826"),
        Some(hex!("85164c14193ce4634eba66907e80b675dedbb3d10f48aa9696fdee0a3cd52b13")),
    ),
    (
        "ordinary_peer_high_bit_set_is_ignored",
        hex!("15e0f802eb2b0d693a03a08811dbf75d879e076edefb76108afeaea6d3c208a6"),
        Some(hex!("85164c14193ce4634eba66907e80b675dedbb3d10f48aa9696fdee0a3cd52b13")),
    ),
    (
        "noncanonical_u_p_plus_9",
        hex!("f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        Some(hex!("7b88f3cf76dcf8a817e82aa3bbc06e30990b090db7cd83e275c4263c1576de47")),
    ),
];

#[test]
fn low_order_keys_agree_on_nothing() {
    let identity = Identity::from_master_seed(&core::array::from_fn(|i| i as u8));
    for (name, peer, shared) in UNUSUAL_PEERS {
        assert_eq!(identity.agree(peer).as_deref(), shared.as_ref(), "{name}");
    }
}

struct Verification {
    name: &'static str,
    key: [u8; 32],
    message: &'static [u8],
    signature: [u8; 64],
    accept: bool,
}

/// The reference accepts small-order keys too; here they are refused. There is no other difference.
const VERIFICATIONS: &[Verification] = &[
    Verification {
        name: "valid",
        key: hex!("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "8fd377fee278146d6b3614ab93824e85ef16a7ae34eeb4c1830d3fd326f203bf"
            "43e706b7812487e1a97f661c0c7138903b0d6dcb48fbfa86f5674cd59591a809"
        ),
        accept: true,
    },
    Verification {
        name: "s_plus_l",
        key: hex!("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "8fd377fee278146d6b3614ab93824e85ef16a7ae34eeb4c1830d3fd326f203bf"
            "30bbfc139c879939801c5ebfea6a17a53b0d6dcb48fbfa86f5674cd59591a819"
        ),
        accept: false,
    },
    Verification {
        name: "s_top_bits",
        key: hex!("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "8fd377fee278146d6b3614ab93824e85ef16a7ae34eeb4c1830d3fd326f203bf"
            "43e706b7812487e1a97f661c0c7138903b0d6dcb48fbfa86f5674cd59591a829"
        ),
        accept: false,
    },
    Verification {
        name: "empty_message_bad",
        key: hex!("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"),
        message: b"",
        signature: hex!(
            "8fd377fee278146d6b3614ab93824e85ef16a7ae34eeb4c1830d3fd326f203bf"
            "43e706b7812487e1a97f661c0c7138903b0d6dcb48fbfa86f5674cd59591a809"
        ),
        accept: false,
    },
    Verification {
        name: "small_order_identity_key",
        key: hex!("0100000000000000000000000000000000000000000000000000000000000000"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "0100000000000000000000000000000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "small_order_identity_key_other_msg",
        key: hex!("0100000000000000000000000000000000000000000000000000000000000000"),
        message: b"any other message",
        signature: hex!(
            "0100000000000000000000000000000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "small_order_key_s_zero_r_bad",
        key: hex!("0100000000000000000000000000000000000000000000000000000000000000"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "5866666666666666666666666666666666666666666666666666666666666666"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "noncanonical_a_identity",
        key: hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "0100000000000000000000000000000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "noncanonical_a_identity_sign",
        key: hex!("0100000000000000000000000000000000000000000000000000000000000080"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "0100000000000000000000000000000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "noncanonical_r_identity",
        key: hex!("0100000000000000000000000000000000000000000000000000000000000000"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "a_not_on_curve",
        key: hex!("0200000000000000000000000000000000000000000000000000000000000000"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "8fd377fee278146d6b3614ab93824e85ef16a7ae34eeb4c1830d3fd326f203bf"
            "43e706b7812487e1a97f661c0c7138903b0d6dcb48fbfa86f5674cd59591a809"
        ),
        accept: false,
    },
    Verification {
        name: "order2_key_odd_k",
        key: hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        message: b"order-two key 0",
        signature: hex!(
            "0100000000000000000000000000000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "order2_key_even_k",
        key: hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        message: b"order-two key 1",
        signature: hex!(
            "0100000000000000000000000000000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        accept: false,
    },
    Verification {
        name: "mixed_order_key_k_not_multiple_of_8",
        key: hex!("b502ff3d92e31d8190b4aa4ea0414005167fad089c4de9dac8a2fc850fed4f58"),
        message: b"mixed order key 0",
        signature: hex!(
            "db326102f1a4682c335572be042acbb31630f677e63058226314a249cd5ca697"
            "b8e1ac01b5a0d046ef8540fb888e368c778a484590ec613af58f0c296c2cde0f"
        ),
        accept: false,
    },
    Verification {
        name: "mixed_order_key_k_multiple_of_8",
        key: hex!("b502ff3d92e31d8190b4aa4ea0414005167fad089c4de9dac8a2fc850fed4f58"),
        message: b"mixed order key 3",
        signature: hex!(
            "d99799424a1735d39b9fa0fa8cce23071236dac198030db8dac46b5cc75ebdbb"
            "0aa384acb9b98a34d98ed51a114ac0605aa8d499a8b512dec39c04d61b10bb06"
        ),
        accept: true,
    },
    Verification {
        name: "torsioned_r",
        key: hex!("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"),
        message: b"nodenet ed25519 edge",
        signature: hex!(
            "f759f68d01c873e18348619cc0c9add7d01ae02a02d5450112b7f1fffd4c3384"
            "685079ef50a914e059de70bb0d2dbd7b69d9c1c993b0370bf3f93718dfadae05"
        ),
        accept: false,
    },
];

#[test]
fn signatures_are_accepted_by_the_rules_of_the_network() {
    for Verification { name, key, message, signature, accept } in VERIFICATIONS {
        assert_eq!(verify(key, message, signature), *accept, "{name}");
    }
}

/// The identity point signs every message with S = 0 and has no owner. Seven more points and their
/// other encodings are unsafe too.
#[test]
fn keys_without_an_owner_are_refused() {
    let mut everything = [0; 64];
    everything[0] = 1;
    for spelling in SMALL_ORDER_KEYS {
        for message in 0..64u8 {
            assert!(!verify(spelling, &[message], &everything));
        }
    }
}

/// Every encoding that decodes to a point of small order, found by trying each.
const SMALL_ORDER_KEYS: &[[u8; 32]] = &[
    hex!("0000000000000000000000000000000000000000000000000000000000000000"),
    hex!("0000000000000000000000000000000000000000000000000000000000000080"),
    hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    hex!("0100000000000000000000000000000000000000000000000000000000000000"),
    hex!("0100000000000000000000000000000000000000000000000000000000000080"),
    hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    hex!("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    hex!("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    hex!("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    hex!("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
    hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
];
