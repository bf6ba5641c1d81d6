//! Benchmark of minting an identity: one try, on one core.

use curve25519_dalek::EdwardsPoint;
use nodenet_benches::{Limit, Row};
use nodenet_proto::env::Seed;
use nodenet_proto::pow::{DIFFICULTY_MAX, Minter, TRIES_PER_STEP};

pub(crate) fn rows() -> Vec<Row> {
    let mut minter = Minter::new(DIFFICULTY_MAX).expect("as difficult as it may be");
    let mut rng = Seed::from_u64(1).stream("minting");
    let step = move || minter.step(&mut rng);
    let mut rng = Seed::from_u64(2).stream("minting");
    let keys = move || {
        let mut last = EdwardsPoint::default().compress();
        for _ in 0..TRIES_PER_STEP {
            last = EdwardsPoint::mul_base_clamped(rng.array()).compress();
        }
        last
    };
    let baseline = "base point × scalar, compressed";
    let tries = TRIES_PER_STEP as u32;
    vec![Row::time("minting, one try", baseline, Limit::Ratio(1.2), tries, (step, keys))]
}
