//! Known answers of the reference's choice of contacts to dial (`replacement_for` of its vectors
//! `edges`), as far as this one is the same. The nearest come first, in any subnet if there are no
//! others.
//!
//! Host names and contacts without an address are no candidates here: the former are never stored,
//! the latter cannot be dialed. Not reproduced:
//!
//! - `replacement_for` from the second edge in 192.0.2.0/24 on: the reference passes over a near
//!   contact for its subnet. Every message for a node depends on the nearest, so they are dialed in
//!   any subnet. Only in slots, where there is a choice, subnets count.
//! - `replacement_for_overshoots_cap_within_one_call` (PROTOCOL.md#subnet-spread): five contacts of
//!   a subnet without an edge are all chosen. In slots each pick counts for the next one at once;
//!   see `tests`.
//! - `replacement_for_window_exhausted_by_live_edges`: no contact is chosen, because the nearest
//!   known have edges already. Here a contact with an edge is no candidate, so there is no window.

use super::{Candidate, ChoiceInputs, EdgeTargets, Light, Live, LiveEdge, choose_edges};
use crate::NodeId;
use crate::addr::Subnet;
use hex_literal::hex;

const OWN: NodeId = NodeId::from_bytes([0; 32]);
const A: NodeId = near(0x0800);
const B: NodeId = near(0x1000);
const C: NodeId = near(0x2000);

/// An identifier with only these and the last of its bits set.
const fn near(bits: u16) -> NodeId {
    let mut bytes = [0; 32];
    [bytes[26], bytes[27]] = bits.to_be_bytes();
    bytes[31] = 1;
    NodeId::from_bytes(bytes)
}

fn subnet_of(ip: &str) -> Option<Subnet> {
    Subnet::counted(ip.parse().unwrap())
}

fn edge(id: NodeId, ip: &str) -> LiveEdge {
    let (outgoing, rtt_ms, settled, light) = (true, 0, true, false);
    LiveEdge { id, outgoing, subnet: subnet_of(ip), rtt_ms, settled, light, kept: false }
}

fn choose(live: &[LiveEdge], known: &[(NodeId, &str)], want: usize) -> Vec<NodeId> {
    let candidates: Vec<Candidate> = known
        .iter()
        .map(|(id, ip)| Candidate {
            id: *id,
            subnet: subnet_of(ip),
            verified: true,
            light: Light::No,
            reachable: true,
            rtt_ms: 0,
            stale: false,
        })
        .collect();
    let (edge_targets, live) = (EdgeTargets::ROUTER, &Live::new(&OWN, live));
    let (in_flight, candidates) = (&[], &candidates[..]);
    choose_edges(
        &ChoiceInputs { own: &OWN, difficulty: 0, edge_targets, live, in_flight, candidates },
        want,
    )
}

#[test]
fn replacement_for() {
    let live = [edge(C, "192.0.2.1")];
    let known = [(B, "192.0.2.2"), (A, "198.51.100.1")];
    assert_eq!(choose(&live, &known, 5), [A, B]);
    assert_eq!(choose(&live, &known, 1), [A]);
    assert_eq!(choose(&live, &known, 0), []);
}

#[test]
fn replacement_for_saturated_fallback() {
    let far = |first: u8| {
        let mut bytes = hex!("0000000000000000000000000000000000000000000000000000000000000007");
        bytes[0] = first;
        NodeId::from_bytes(bytes)
    };
    let live = [edge(far(4), "192.0.2.4"), edge(far(2), "192.0.2.5")];
    let known = [(C, "192.0.2.2"), (B, "192.0.2.3")];
    assert_eq!(choose(&live, &known, 2), [B, C]);
    assert_eq!(choose(&live, &known, 1), [B]);
}
