//! Caps of the subnets of a failure domain, at every width of an IPv6 network.

use std::net::Ipv6Addr;

use super::*;

/// Addresses of which any two share `shared` bits and differ in the next.
fn host(shared: u8, number: u8) -> SocketAddr {
    let differing = u16::from(number.reverse_bits());
    let (site, net, host) = match shared {
        64 => (0, 0, differing + 1),
        56 => (0, differing, 1),
        48 => (0, differing << 8, 1),
        _ => (differing, 0, 1),
    };
    (Ipv6Addr::from([0x2001, 0xdb8, site, net, 0, 0, 0, host]), 4242).into()
}

/// How many of these contacts are stored, if each has a verified address of its own.
fn stored(shared: u8, newcomers: &[u32]) -> usize {
    let mut table = table();
    let mut enter = |(number, at): (&u32, u8)| {
        observe(&mut table, *number, &[host(shared, at)], Provenance::Verified, 0)
    };
    newcomers.iter().zip(0..).filter(|one| enter(*one) == Outcome::Inserted).count()
}

fn members(bucket: usize, count: usize) -> impl Iterator<Item = u32> {
    let table = table();
    (0..).filter(move |number| table.index(&id(*number)) == bucket).take(count)
}

#[test]
fn one_bucket_takes_four_of_a_64_six_of_a_56_and_eight_of_a_48() {
    let newcomers: Vec<u32> = members(0, 20).collect();
    let taken = [64, 56, 48, 32].map(|shared| stored(shared, &newcomers));
    assert_eq!(taken, [4, 6, 8, 20]);
}

#[test]
fn the_table_takes_eight_of_a_64_sixteen_of_a_56_and_thirty_two_of_a_48() {
    // Few enough in each bucket that none reaches its cap.
    let newcomers: Vec<u32> = (0..9).flat_map(|bucket| members(bucket, 4)).collect();
    let taken = [64, 56, 48, 32].map(|shared| stored(shared, &newcomers));
    assert_eq!(taken, [8, 16, 32, 36]);
}
