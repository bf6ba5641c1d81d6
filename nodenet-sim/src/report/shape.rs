//! Shape of the network: edges of a bucket, and a ring of nodes with some of their edges.

use nodenet_proto::NodeId;

use crate::world::{Host, World};

/// Shape of a network: edges by bucket, and a sample of nodes and edges.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Mean number of edges of a node to peers that share exactly this many leading bits with it.
    pub edges_per_bucket: Vec<f64>,
    /// Some nodes: the first 32 bits of their identifiers.
    pub ring: Vec<u32>,
    /// The edges of some of these: both ends' first 32 bits.
    pub chords: Vec<(u32, u32)>,
}

/// Nodes on the ring of a report, and the number of them whose edges are drawn.
const RING_NODES: usize = 360;
const RING_STARS: usize = 6;

impl Shape {
    pub(crate) fn of(world: &dyn World) -> Self {
        let mut shape = Self::default();
        let live = world.live().len();
        let mut sums: Vec<u64> = Vec::new();
        let mut hosts: Vec<Host> = world.live().collect();
        hosts.sort_unstable();
        for (index, &host) in hosts.iter().enumerate() {
            let id = world.id(host);
            let star = index % live.div_ceil(RING_STARS).max(1) == 0;
            if star || index % live.div_ceil(RING_NODES).max(1) == 0 {
                shape.ring.push(angle(&id));
            }
            for edge in world.edges(host) {
                let bucket = usize::from(id.common_prefix_len(&edge.peer));
                if sums.len() <= bucket {
                    sums.resize(bucket + 1, 0);
                }
                sums[bucket] += 1;
                if star {
                    shape.chords.push((angle(&id), angle(&edge.peer)));
                }
            }
        }
        shape.edges_per_bucket =
            sums.into_iter().map(|sum| sum as f64 / live.max(1) as f64).collect();
        shape
    }
}

fn angle(id: &NodeId) -> u32 {
    u32::from_be_bytes(id.as_bytes()[..4].try_into().expect("an identifier is longer"))
}
