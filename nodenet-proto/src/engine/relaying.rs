//! Relaying: edges as the relay service sees them, and its actions.

use super::Engine;
use super::timers::Timer;
use crate::NodeId;
use crate::connect::{Candidate, Purpose, Source, Want};
use crate::context::Context;
use crate::overlay::Overlay;
use crate::overlay::edges::Edge;
use crate::relay::{self, Claim, Neighbour, Neighbours, Relay};
use crate::transport::{Class, ConnId, Conns};
use crate::wire::{Capabilities, FrameType, Message};

/// The edges of this node.
struct Edges<'a> {
    overlay: &'a Overlay,
    paths: &'a dyn Conns,
}

impl Edges<'_> {
    fn claim(&self, peer: &NodeId) -> Claim {
        match self.overlay.capabilities(peer) {
            Some((caps, is_signed)) if caps.has(Capabilities::CAN_RELAY) => {
                if is_signed {
                    Claim::Signed
                } else {
                    Claim::Gossiped
                }
            }
            _ => Claim::None,
        }
    }

    fn describe(&self, edge: &Edge) -> Option<Neighbour> {
        let path = self.paths.path(edge.send_conn().id)?;
        Some(Neighbour {
            peer: edge.peer,
            remote: path.remote,
            is_dialed: edge.is_outgoing(),
            claim: self.claim(&edge.peer),
            rtt_ms: u16::try_from(path.rtt.as_millis()).ok(),
        })
    }
}

impl Neighbours for Edges<'_> {
    fn find(&self, peer: &NodeId) -> Option<Neighbour> {
        self.overlay.edges().get(peer).and_then(|edge| self.describe(edge))
    }

    fn volunteers(&self) -> Vec<Neighbour> {
        let edges = self.overlay.edges().iter();
        let volunteers = edges.filter(|edge| self.claim(&edge.peer) != Claim::None);
        volunteers.filter_map(|edge| self.describe(edge)).collect()
    }

    fn remotes(&self) -> Vec<std::net::SocketAddr> {
        let conns = self.overlay.edges().iter().flat_map(Edge::conns);
        conns.filter_map(|conn| self.paths.path(conn.id)).map(|path| path.remote).collect()
    }
}

impl Engine {
    /// Calls the relay service, and carries out its actions. It may read the edges.
    pub(super) fn run_relay<T>(
        &mut self,
        conns: &mut dyn Conns,
        act: impl FnOnce(&mut Relay, &mut Context<'_, relay::Action>, &dyn Neighbours) -> T,
    ) -> T {
        let mut actions = Vec::new();
        let edges = Edges { overlay: &self.overlay, paths: &*conns };
        let mut cx = self.env.context(|streams| &mut streams.relay, &mut actions, &*conns);
        let result = act(&mut self.relay, &mut cx, &edges);
        for action in actions {
            self.carry_out_relay(action, conns);
        }
        result
    }

    fn carry_out_relay(&mut self, action: relay::Action, conns: &mut dyn Conns) {
        use relay::{Action, Message as Sent};
        match action {
            Action::Send(peer, message) => {
                let frame = match message {
                    Sent::Request(request) => request.to_frame(),
                    Sent::Grant(grant) => grant.to_frame(),
                    Sent::Refuse(refused) => refused.to_frame(),
                    Sent::Bind(bind) => bind.to_frame(),
                };
                let hops: Vec<ConnId> = self
                    .overlay
                    .edges()
                    .get(&peer)
                    .into_iter()
                    .map(|edge| edge.send_conn().id)
                    .collect();
                self.offer(conns, Class::Control, frame, &hops);
            }
            Action::Transport(command) => self.commands.push_back(command),
            Action::Burst { peer, addr } => {
                self.run_nat(conns, |nat, cx| nat.handle_bind(cx, peer, addr));
            }
            Action::Granted { target, volunteer, addr } => {
                self.run_connect(conns, |connect, cx| {
                    connect.handle_granted(cx, target, volunteer, addr);
                });
            }
            Action::Reach { volunteer, addr } => {
                // A volunteer is reachable from anywhere, so its first packet may be this node's.
                let candidates =
                    vec![Candidate { addr, source: Source::Unverified, is_open: true }];
                let want = Want { peer: volunteer, candidates, purpose: Purpose::Edge };
                self.want(conns, want);
            }
            Action::Unavailable { target, asked, reason } => {
                tracing::debug!(%target, %reason, "no volunteer relays");
                self.run_connect(conns, |connect, cx| connect.handle_no_relay(cx, target, asked));
            }
            Action::Set(at) => self.set_timer(Timer::Relay, at),
            Action::Stop => self.timers.stop(&Timer::Relay),
        }
    }

    /// A message between a volunteer and an end of a pair arrived.
    pub(super) fn serve_relay(
        &mut self,
        conns: &mut dyn Conns,
        frame_type: FrameType,
        from: NodeId,
        conn: ConnId,
        payload: &[u8],
    ) {
        let remote = conns.path(conn).map(|path| path.remote);
        self.run_relay(conns, |relay, cx, neighbours| {
            let (Some(mut from), Some(remote)) = (neighbours.find(&from), remote) else { return };
            from.remote = remote;
            match frame_type {
                FrameType::RelayRequest => relay.handle_request(cx, neighbours, &from, payload),
                FrameType::RelayGrant => relay.handle_grant(cx, neighbours, &from, payload),
                _ => relay.handle_bind(cx, neighbours, &from, payload),
            }
        });
    }

    /// Notes the volunteers that this node names in the next Connect or ConnectAck.
    pub(super) fn choose_volunteers(&mut self, conns: &mut dyn Conns) {
        self.run_relay(conns, |relay, cx, neighbours| relay.choose_named(cx, neighbours));
    }
}
