//! Requests to relay volunteers: which are asked, two at a time, and the next one where a volunteer
//! is silent or refuses (PROTOCOL.md#relay-requests).
//!
//! Responsible for: which answer is taken, the time-out of each volunteer, the order of volunteers.
//! Never: judges the address in a grant, or decides whether an attempt needs a relay.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Action, Claim, Message, Neighbour, Neighbours};
use crate::NodeId;
use crate::context::Context;
use crate::wire::nat::{MarkedRelayRequest, NAT_NONCE_LEN, RelayRefusal, RelayRequest};

/// Targets for which volunteers are asked at once, at most (a guess: as many as have an attempt).
pub(super) const SEARCHES_MAX: usize = 64;
/// Volunteers that are asked for one target, at most (a guess).
pub(super) const VOLUNTEERS_MAX: usize = 8;
/// Volunteers that are asked at once (a guess: a second one is ready when the first one dies).
const AT_ONCE: usize = 2;
/// A volunteer that has not answered by then is passed over: it is a neighbour, and opens its
/// sockets within milliseconds (a guess).
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// An answer counts for this long after that (a guess: half of an attempt).
pub(super) const LATE_WAIT: Duration = Duration::from_secs(5);
/// Such volunteers, at most.
const LATE_MAX: usize = 128;
/// A volunteer that failed is asked last for this long (a guess).
const COLD: Duration = Duration::from_secs(60);
/// Volunteers that failed of late, at most.
const COLD_MAX: usize = 64;
/// Volunteers without an edge that are dialed for one target: as many as a node of this kind names.
const REACHED_MAX: usize = super::NAMED_MAX;
/// An edge to one has to be there by then (a guess: the time of an attempt of the topology).
pub(super) const REACH_WAIT: Duration = Duration::from_secs(3);
/// Targets whose volunteers are remembered until they are asked.
const NOTES_MAX: usize = SEARCHES_MAX;

/// Why no volunteer relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelayUnavailable {
    /// None is known to which there is an edge.
    #[error("no neighbour is known to relay; let a node that others reach run with --relay")]
    NoVolunteer,
    /// None answered.
    #[error("no volunteer answered")]
    Silent,
    /// All refused; this is the reason that the last one gave.
    #[error("the last volunteer that was asked refused: {0}")]
    Refused(RelayRefusal),
    /// The last one named an address of another node.
    #[error("the last volunteer that was asked named an address that is not its own")]
    BadGrant,
    /// Too many targets are looked for.
    #[error("relays for too many peers are being asked for; try again later")]
    Busy,
}

/// A request without an answer.
#[derive(Debug, Clone)]
struct Question {
    volunteer: NodeId,
    nonce: [u8; NAT_NONCE_LEN],
    until: Instant,
}

/// What is asked for one target.
#[derive(Debug)]
struct Search {
    target: NodeId,
    left: VecDeque<NodeId>,
    open: Vec<Question>,
    /// Volunteers without an edge, which are dialed, and until when.
    dialed: Vec<(NodeId, Instant)>,
    is_granted: bool,
    asked: u8,
    reason: RelayUnavailable,
}

impl Search {
    /// Asks until as many are asked as may be at once. Returns whether nothing is open any more.
    fn advance(&mut self, cx: &mut Context<'_, Action>, neighbours: &dyn Neighbours) -> bool {
        while self.open.len() < AT_ONCE && !self.is_granted {
            let Some(volunteer) = self.left.pop_front() else { break };
            if neighbours.find(&volunteer).is_none() {
                continue;
            }
            let nonce = cx.rng.array();
            let request = MarkedRelayRequest(RelayRequest { nonce, target: self.target });
            cx.act(Action::Send(volunteer, Message::Request(request)));
            self.open.push(Question { volunteer, nonce, until: cx.now + ANSWER_WAIT });
            self.asked = self.asked.saturating_add(1);
        }
        let is_over = self.open.is_empty() && (self.dialed.is_empty() || self.is_granted);
        if is_over && !self.is_granted {
            let Self { target, asked, reason, .. } = *self;
            cx.act(Action::Unavailable { target, asked, reason });
        }
        is_over
    }

    fn close(&mut self, volunteer: &NodeId) {
        self.open.retain(|question| question.volunteer != *volunteer);
    }
}

/// What this node asks of volunteers.
#[derive(Debug, Default)]
pub(super) struct Searches {
    searches: Vec<Search>,
    /// Volunteers that were silent or had no room, and until when they are asked last.
    cold: VecDeque<(NodeId, Instant)>,
    /// Volunteers that were passed over for their silence, and may answer yet: their request or
    /// grant may have got lost and be on its way again.
    late: Vec<(NodeId, Question)>,
    /// Volunteers that targets named, until they are asked for.
    named: VecDeque<(NodeId, Vec<(NodeId, SocketAddr)>)>,
}

impl Searches {
    /// Asks for `target`: the volunteers that it named, then those that are known here. A second
    /// call adds volunteers.
    pub(super) fn ask(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        target: NodeId,
    ) {
        let named = self.named.iter().find(|(id, _)| *id == target);
        let named = named.map(|(_, named)| named.clone()).unwrap_or_default();
        let own = cx.identity.id();
        let is_other = |id: &NodeId| *id != target && *id != own;
        let (near, far): (Vec<_>, Vec<_>) =
            named.into_iter().partition(|(id, _)| neighbours.find(id).is_some());
        let near = near.into_iter().map(|(id, _)| id);
        let known = near.chain(self.choose(cx.now, neighbours)).filter(is_other);
        let known: Vec<NodeId> = known.collect();
        let at = match self.searches.iter().position(|search| search.target == target) {
            Some(at) => at,
            None if self.searches.len() >= SEARCHES_MAX => {
                let reason = RelayUnavailable::Busy;
                return cx.act(Action::Unavailable { target, asked: 0, reason });
            }
            None => {
                self.searches.push(Search {
                    target,
                    left: VecDeque::new(),
                    open: Vec::new(),
                    dialed: Vec::new(),
                    is_granted: false,
                    asked: 0,
                    reason: RelayUnavailable::NoVolunteer,
                });
                self.searches.len() - 1
            }
        };
        let search = &mut self.searches[at];
        // Asked again, so what was granted did not lead there.
        search.is_granted = false;
        for volunteer in known {
            let is_known = search.left.contains(&volunteer)
                || search.open.iter().any(|question| question.volunteer == volunteer);
            if !is_known && search.left.len() + search.open.len() < VOLUNTEERS_MAX {
                search.left.push_back(volunteer);
            }
        }
        for (volunteer, addr) in far.into_iter().filter(|(id, _)| is_other(id)) {
            let is_dialed = search.dialed.iter().any(|(id, _)| *id == volunteer);
            let may_dial = cx.own.policy().may_dial(addr) && !cx.own.addrs().contains(&addr);
            if may_dial && !is_dialed && search.dialed.len() < REACHED_MAX {
                search.dialed.push((volunteer, cx.now + REACH_WAIT));
                cx.act(Action::Reach { volunteer, addr });
            }
        }
        self.advance(cx, neighbours, at);
    }

    /// Notes the volunteers that `target` named last.
    pub(super) fn note_named(&mut self, target: NodeId, volunteers: Vec<(NodeId, SocketAddr)>) {
        self.named.retain(|(id, _)| *id != target);
        if volunteers.is_empty() {
            return;
        }
        if self.named.len() >= NOTES_MAX {
            self.named.pop_front();
        }
        self.named.push_back((target, volunteers));
    }

    /// There is an edge to this peer. A search that waits for it asks it next.
    pub(super) fn handle_edge_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        peer: &NodeId,
    ) {
        for at in (0..self.searches.len()).rev() {
            let search = &mut self.searches[at];
            let before = search.dialed.len();
            search.dialed.retain(|(id, _)| id != peer);
            if search.dialed.len() < before {
                search.left.retain(|id| id != peer);
                search.left.push_front(*peer);
                search.left.truncate(VOLUNTEERS_MAX - search.open.len());
                self.advance(cx, neighbours, at);
            }
        }
    }

    /// The neighbours that relay: those that say so of themselves first, those that failed of late
    /// last, the near before the far.
    fn choose(&self, now: Instant, neighbours: &dyn Neighbours) -> Vec<NodeId> {
        let mut known = neighbours.volunteers();
        known.retain(|volunteer| volunteer.claim != Claim::None);
        known.sort_by_key(|volunteer| {
            let rtt_ms = volunteer.rtt_ms.unwrap_or(u16::MAX);
            let claim = core::cmp::Reverse(volunteer.claim);
            (self.is_cold(now, &volunteer.peer), claim, rtt_ms, volunteer.peer)
        });
        known.iter().map(|volunteer: &Neighbour| volunteer.peer).collect()
    }

    /// The target of a request to this volunteer with this nonce.
    pub(super) fn asked(
        &self,
        now: Instant,
        volunteer: &NodeId,
        nonce: &[u8; NAT_NONCE_LEN],
    ) -> Option<NodeId> {
        let is_it =
            |question: &Question| question.volunteer == *volunteer && question.nonce == *nonce;
        let asked = self.searches.iter().find(|search| search.open.iter().any(is_it));
        let is_late = |question: &Question| question.until > now && is_it(question);
        let late = || self.late.iter().find(|(_, question)| is_late(question));
        asked.map(|search| search.target).or_else(|| late().map(|(target, _)| *target))
    }

    /// A volunteer relays.
    pub(super) fn grant(
        &mut self,
        cx: &mut Context<'_, Action>,
        target: &NodeId,
        volunteer: &NodeId,
        addr: SocketAddr,
    ) {
        self.late.retain(|(of, late)| of != target || late.volunteer != *volunteer);
        cx.act(Action::Granted { target: *target, volunteer: *volunteer, addr });
        let Some(search) = self.find(target) else { return };
        search.close(volunteer);
        search.is_granted = true;
        // The second volunteer may still answer: it is the one to turn to if the first one dies.
        search.dialed.clear();
        if search.open.is_empty() {
            self.searches.retain(|search| search.target != *target);
        }
    }

    /// A volunteer does not relay.
    pub(super) fn refuse(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        target: &NodeId,
        volunteer: &NodeId,
        reason: RelayRefusal,
    ) {
        // For another target it may well have an edge and room.
        if !matches!(reason, RelayRefusal::NoEdge | RelayRefusal::TargetFull) {
            self.chill(cx.now, *volunteer);
        }
        self.give_up(cx, neighbours, target, volunteer, RelayUnavailable::Refused(reason));
    }

    /// A volunteer named an address that is none of its own.
    pub(super) fn distrust(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        target: &NodeId,
        volunteer: &NodeId,
    ) {
        self.chill(cx.now, *volunteer);
        self.give_up(cx, neighbours, target, volunteer, RelayUnavailable::BadGrant);
    }

    fn give_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        target: &NodeId,
        volunteer: &NodeId,
        reason: RelayUnavailable,
    ) {
        let Some(at) = self.searches.iter().position(|search| search.target == *target) else {
            return;
        };
        self.searches[at].close(volunteer);
        self.searches[at].reason = reason;
        self.advance(cx, neighbours, at);
    }

    /// Passes over the volunteers whose time is over.
    pub(super) fn handle_time(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
    ) {
        let mut silent = Vec::new();
        for search in &self.searches {
            for question in search.open.iter().filter(|question| question.until <= cx.now) {
                silent.push((search.target, question.volunteer));
            }
        }
        for (target, volunteer) in silent {
            self.chill(cx.now, volunteer);
            self.note_late(cx.now, &target, &volunteer);
            self.give_up(cx, neighbours, &target, &volunteer, RelayUnavailable::Silent);
        }
        for at in (0..self.searches.len()).rev() {
            let search = &mut self.searches[at];
            let before = search.dialed.len();
            search.dialed.retain(|(_, until)| *until > cx.now);
            if search.dialed.len() < before {
                self.advance(cx, neighbours, at);
            }
        }
    }

    /// The edge to this peer is gone.
    pub(super) fn handle_edge_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        peer: &NodeId,
    ) {
        let is_asked =
            |search: &&Search| search.open.iter().any(|question| question.volunteer == *peer);
        let targets: Vec<NodeId> =
            self.searches.iter().filter(is_asked).map(|search| search.target).collect();
        for target in targets {
            self.give_up(cx, neighbours, &target, peer, RelayUnavailable::Silent);
        }
    }

    /// Forgets what is asked for `target`.
    pub(super) fn stop_asking(&mut self, target: &NodeId) {
        self.searches.retain(|search| search.target != *target);
        self.late.retain(|(of, _)| of != target);
        self.named.retain(|(id, _)| id != target);
    }

    /// Forgets everything.
    pub(super) fn stop(&mut self) {
        self.searches.clear();
        self.late.clear();
        self.named.clear();
    }

    /// When the time of the next volunteer is over.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let open = self.searches.iter().flat_map(|search| &search.open);
        let dialed = self.searches.iter().flat_map(|search| &search.dialed);
        open.map(|question| question.until).chain(dialed.map(|(_, until)| *until)).min()
    }

    pub(super) fn len(&self) -> usize {
        self.searches.len()
    }

    pub(super) fn check(&self) {
        assert!(self.searches.len() <= SEARCHES_MAX && self.cold.len() <= COLD_MAX);
        assert!(self.named.len() <= NOTES_MAX && self.late.len() <= LATE_MAX);
        for search in &self.searches {
            let waits = search.open.len() + search.dialed.len();
            assert!(waits > 0, "a search waits for an answer or an edge");
            assert!(search.open.len() <= AT_ONCE && search.dialed.len() <= REACHED_MAX);
            assert!(search.left.len() + search.open.len() <= VOLUNTEERS_MAX);
        }
    }

    /// A volunteer is passed over. What it may still answer counts for a while.
    fn note_late(&mut self, now: Instant, target: &NodeId, volunteer: &NodeId) {
        self.late
            .retain(|(of, late)| late.until > now && (of, &late.volunteer) != (target, volunteer));
        let search = self.searches.iter().find(|search| search.target == *target);
        let of = |question: &&Question| question.volunteer == *volunteer;
        let Some(open) = search.and_then(|search| search.open.iter().find(of)) else { return };
        if self.late.len() >= LATE_MAX {
            self.late.remove(0);
        }
        let until = now + LATE_WAIT;
        self.late.push((*target, Question { until, ..open.clone() }));
    }

    fn find(&mut self, target: &NodeId) -> Option<&mut Search> {
        self.searches.iter_mut().find(|search| search.target == *target)
    }

    fn advance(&mut self, cx: &mut Context<'_, Action>, neighbours: &dyn Neighbours, at: usize) {
        if self.searches[at].advance(cx, neighbours) {
            self.searches.remove(at);
        }
    }

    fn is_cold(&self, now: Instant, volunteer: &NodeId) -> bool {
        self.cold.iter().any(|(known, until)| known == volunteer && *until > now)
    }

    fn chill(&mut self, now: Instant, volunteer: NodeId) {
        self.cold.retain(|(known, until)| *known != volunteer && *until > now);
        if self.cold.len() >= COLD_MAX {
            self.cold.pop_front();
        }
        self.cold.push_back((volunteer, now + COLD));
    }
}
