//! Attacks on detours, where greedy routing ends (THREATS.md).

use bytes::Bytes;

use super::kit::{EngineNet, LATENCY, Who, identity};
use super::puppets::{drops, flood, route, routed, sign};
use crate::NodeId;
use crate::stats::DropReason;
use crate::transport::ConnId;
use crate::wire::envelope::{AvoidSet, Envelope};
use crate::wire::frame::app_frame;
use crate::wire::{self, Encode, FrameType, Message, Neighbors};

/// Neighbours of the dead end: those that get a copy, and two that forward one.
const NEIGHBOURS: u64 = 18;

/// An engine that is a dead end for `target`, an unknown node, and puppets with an edge to it.
struct DeadEnd {
    world: EngineNet,
    puppets: Vec<Who>,
    conns: Vec<ConnId>,
    target: NodeId,
}

impl DeadEnd {
    fn new() -> Self {
        let mut world = EngineNet::still(1);
        let puppets: Vec<Who> =
            (0..NEIGHBOURS).map(|number| world.add_puppet(identity(50 + number))).collect();
        let conns: Vec<ConnId> = puppets.iter().map(|&puppet| world.open(puppet, 0)).collect();
        for &conn in &conns {
            world.say(conn, wire::Ping.to_frame());
        }
        let mut target = *world.id(0).as_bytes();
        target[31] ^= 1;
        Self { world, puppets, conns, target: NodeId::from_bytes(target) }
    }

    fn message(&self) -> Envelope {
        sign(1000, FrameType::Route, self.target, self.world.wall(), b"around")
    }

    /// The neighbour with this number passes a copy on.
    fn bring(&mut self, neighbour: usize, copy: &Envelope) {
        self.world.say(self.conns[neighbour], copy.to_frame(FrameType::Route));
    }

    /// Unroutable messages, each of another originator, all over the first neighbour at once.
    fn flood(&mut self, messages: u64) {
        for originator in 0..messages {
            let frame = route(2000 + originator, self.target, self.world.wall(), b"flood");
            flood(&mut self.world, self.conns[0], frame);
        }
    }

    /// The hop limits of the copies that the neighbours got since the last call.
    fn detoured(&mut self) -> Vec<u8> {
        self.world.run_for(LATENCY);
        let heard = self.puppets.iter().flat_map(|&who| self.world.heard(who, FrameType::Route));
        heard.map(|frame| routed(frame).hop_limit()).collect()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        drops(&self.world, reason)
    }
}

/// The hop limit is not signed: a forwarder may spend that of its copy.
#[test]
fn a_copy_that_can_go_no_farther_does_not_cost_the_others_their_detour() {
    let mut end = DeadEnd::new();
    let message = end.message();
    end.bring(0, &Envelope { hop_limit: 1, ..message.clone() });
    assert_eq!(end.drops(DropReason::HopLimitSpent), 1);
    end.bring(1, &message);
    assert_eq!(end.detoured(), [15; 16]);
}

/// Nor is the avoid set signed, and a copy that avoids its target never reaches it.
#[test]
fn a_copy_that_avoids_its_target_does_not_cost_the_others_their_detour() {
    let mut end = DeadEnd::new();
    let message = end.message();
    end.bring(0, &message.avoiding(AvoidSet::from_iter([end.target])));
    assert_eq!(end.drops(DropReason::DeadEnd), 1);
    end.bring(1, &message);
    assert_eq!(end.detoured(), [15; 16]);
}

#[test]
fn a_copy_over_a_busy_edge_does_not_cost_the_others_their_detour() {
    let mut end = DeadEnd::new();
    for _ in 0..1015 {
        flood(&mut end.world, end.conns[0], app_frame(Bytes::new()).unwrap());
    }
    let message = end.message();
    flood(&mut end.world, end.conns[0], message.to_frame(FrameType::Route));
    flood(&mut end.world, end.conns[1], message.to_frame(FrameType::Route));
    assert_eq!(end.detoured(), [15; 16]);
}

#[test]
fn unroutable_messages_do_not_use_up_what_a_neighbour_may_forward() {
    let mut end = DeadEnd::new();
    end.flood(200);
    for _ in 0..824 {
        flood(&mut end.world, end.conns[0], app_frame(Bytes::new()).unwrap());
    }
    assert_eq!(end.drops(DropReason::ForwardRateLimited), 0);
}

/// A detour makes sixteen frames of one, and originators cost nothing.
#[test]
fn detours_are_few_and_every_neighbour_is_sure_of_some() {
    let mut end = DeadEnd::new();
    end.flood(200);
    assert_eq!(end.drops(DropReason::DetourRateLimited), 200 - 8 - 128);
    // Of 32 messages that an edge takes at once, transit leaves a quarter to the application.
    assert_eq!(end.detoured().len(), 24 * 16);
    assert_eq!(end.drops(DropReason::RepairExhausted), (8 + 128 - 24) * 16);
    let message = end.message();
    let mut refused_over = |conn: usize| {
        let before = end.drops(DropReason::DetourRateLimited);
        flood(&mut end.world, end.conns[conn], message.to_frame(FrameType::Route));
        end.drops(DropReason::DetourRateLimited) - before
    };
    assert_eq!([0, 1].map(&mut refused_over), [1, 0], "what one edge may not, another may");
}

#[test]
fn a_forged_message_uses_up_no_detours() {
    let mut end = DeadEnd::new();
    for number in 0..200_u64 {
        let mut forged = end.message();
        forged.payload = Bytes::copy_from_slice(&number.to_be_bytes());
        flood(&mut end.world, end.conns[0], forged.to_frame(FrameType::Route));
    }
    assert_eq!(end.drops(DropReason::BadSignature), 200);
    end.flood(8 + 128);
    assert_eq!(end.drops(DropReason::DetourRateLimited), 0);
}

/// What a detour multiplies is bytes.
#[test]
fn large_messages_get_fewer_detours() {
    let mut end = DeadEnd::new();
    for originator in 0..20 {
        let frame = route(2000 + originator, end.target, end.world.wall(), &[0; 60_000]);
        flood(&mut end.world, end.conns[0], frame);
    }
    assert_eq!(end.detoured().len(), 128 / 15 * 16, "fifteen pieces each");
}

/// A question of 230 bytes has an answer of 2,500, and a detour makes sixteen of that.
#[test]
fn an_answer_is_not_multiplied() {
    let mut end = DeadEnd::new();
    let answer = Neighbors::new([7; 8], []).to_bytes();
    let answer = sign(1000, FrameType::Neighbors, end.target, end.world.wall(), &answer);
    let before = end.world.wire.sent.len();
    end.world.say(end.conns[0], answer.to_frame(FrameType::Neighbors));
    assert_eq!(end.world.wire.sent.len() - before, 1, "the answer itself");
    assert_eq!(end.drops(DropReason::DeadEnd), 1);
}
