//! Relay sessions of a volunteer: which pairs this node relays for, and whose share each takes
//! (PROTOCOL.md#relay-volunteers).
//!
//! Responsible for: the decision about a request, the order of grant and bind, the quota. Never:
//! passes a datagram on, or ends a session that is in use.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::{Action, Message, Neighbour, Neighbours};
use crate::NodeId;
use crate::addr::Subnet;
use crate::api::{Month, RelayObstacle, RelayPolicy, RelayUsage};
use crate::context::Context;
use crate::env::CounterHash;
use crate::transport::{Command, SpliceId, SpliceOverReason, SpliceSide};
use crate::wire::Addr;
use crate::wire::nat::{NAT_NONCE_LEN, RefusedGrant, RelayBind, RelayGrant, RelayRefusal};

/// Sessions of one node (reference).
pub(super) const SESSIONS_MAX: usize = 256;
/// Sessions that one node asked for (a guess: four relayed peers in both directions).
pub(super) const OF_REQUESTER_MAX: usize = 8;
/// Sessions to one node (a guess: eight relayed peers, each with two).
pub(super) const OF_TARGET_MAX: usize = 16;
/// Sessions between two nodes. Both ends of a pair ask at once (reference), and one that lost its
/// conn asks again while the session before is not over.
pub(super) const OF_PAIR_MAX: usize = 4;
/// How often it is looked whether a new month began.
const MONTH_CHECK: Duration = Duration::from_secs(3_600);

/// A pair that this node relays for, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    requester: NodeId,
    target: NodeId,
    /// The network of the requester.
    origin: Subnet,
    sides: [SpliceSide; 2],
    /// What each end is told.
    named: [IpAddr; 2],
}

#[derive(Debug)]
struct Pending {
    nonce: [u8; NAT_NONCE_LEN],
    is_marked: bool,
}

/// The sessions, and what is left of the quota.
#[derive(Debug)]
pub(super) struct Volunteer {
    sessions: IndexMap<SpliceId, (Session, Option<Pending>), CounterHash>,
    next: u64,
    per_month: Option<u64>,
    /// What was used when the limit of `month` was set.
    used: RelayUsage,
    /// Whether the transport has the limits.
    is_limited: bool,
    is_quota_used: bool,
    /// When to look whether a new month began.
    check_at: Option<Instant>,
    /// Whether the node has left, or is about to.
    is_stopped: bool,
}

impl Volunteer {
    /// No sessions.
    pub(super) fn new(policy: &RelayPolicy, month: Month) -> Self {
        let bytes = if policy.used.month == month { policy.used.bytes } else { 0 };
        Self {
            sessions: IndexMap::default(),
            next: 0,
            per_month: policy.bytes_per_month,
            used: RelayUsage { month, bytes },
            is_limited: false,
            is_quota_used: policy.bytes_per_month.is_some_and(|max| bytes >= max),
            check_at: None,
            is_stopped: false,
        }
    }

    pub(super) fn is_quota_used(&self) -> bool {
        self.is_quota_used
    }

    /// Whether and how to relay between a neighbour and `target`. `known` is the IP address of an
    /// end if it sends from the one that its edge has.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn decide(
        &self,
        cx: &Context<'_, Action>,
        neighbours: &dyn Neighbours,
        from: &Neighbour,
        target: &NodeId,
        known: impl Fn(SocketAddr) -> Option<IpAddr>,
    ) -> Result<Session, RelayRefusal> {
        if !cx.own.is_volunteer() {
            return Err(RelayRefusal::NotVolunteering);
        }
        match cx.own.relay_obstacle() {
            None => {}
            Some(RelayObstacle::QuotaUsed) => return Err(RelayRefusal::QuotaUsed),
            Some(RelayObstacle::NoAddress) => return Err(RelayRefusal::NoAddress),
            Some(_) => return Err(RelayRefusal::NotVolunteering),
        }
        let only_for = &cx.config.relay.only_for;
        let is_served = |id: &NodeId| only_for.is_empty() || only_for.contains(id);
        if !is_served(&from.peer) && !is_served(target) {
            return Err(RelayRefusal::NotForThese);
        }
        let other = neighbours.find(target).filter(|other| other.peer != from.peer);
        let other = other.ok_or(RelayRefusal::NoEdge)?;
        let origin = Subnet::of(from.remote.ip());
        self.has_room(origin, &from.peer, target)?;
        let ends = [from.remote, other.remote];
        let [Some(one), Some(two)] = ends.map(|remote| cx.own.relay_addr(remote.ip())) else {
            return Err(RelayRefusal::NoAddress);
        };
        let side = |local_ip, remote| SpliceSide { local_ip, prefers: known(remote) };
        Ok(Session {
            requester: from.peer,
            target: *target,
            origin,
            sides: [side(one.bound, ends[0]), side(two.bound, ends[1])],
            named: [one.named, two.named],
        })
    }

    /// Whether there is a session for this pair. A network with some gets one more while more are
    /// free than it has (dynamic thresholds, Choudhury and Hahne 1998, with α = 1): one network
    /// takes half of them at most, and there is always one for another (THREATS.md#e13).
    fn has_room(
        &self,
        origin: Subnet,
        requester: &NodeId,
        target: &NodeId,
    ) -> Result<(), RelayRefusal> {
        let all = || self.sessions.values().map(|(session, _)| session);
        let (mut of_origin, mut of_requester, mut of_pair) = (0, 0, 0);
        let (mut of_target, mut of_target_and_origin) = (0, 0);
        for session in all() {
            let (ends, is_of_origin) =
                ((session.requester, session.target), session.origin == origin);
            of_origin += usize::from(is_of_origin);
            of_requester += usize::from(session.requester == *requester);
            of_target += usize::from(session.target == *target);
            of_target_and_origin += usize::from(session.target == *target && is_of_origin);
            let is_pair = ends == (*requester, *target) || ends == (*target, *requester);
            of_pair += usize::from(is_pair);
        }
        let free = SESSIONS_MAX - self.sessions.len();
        match () {
            () if free == 0 => Err(RelayRefusal::Full),
            () if of_requester >= OF_REQUESTER_MAX
                || of_pair >= OF_PAIR_MAX
                || of_origin >= free =>
            {
                Err(RelayRefusal::RequesterFull)
            }
            () if of_target + of_target_and_origin >= OF_TARGET_MAX => {
                Err(RelayRefusal::TargetFull)
            }
            () => Ok(()),
        }
    }

    /// Opens the sockets of a session.
    pub(super) fn open(
        &mut self,
        cx: &mut Context<'_, Action>,
        session: Session,
        nonce: [u8; NAT_NONCE_LEN],
        is_marked: bool,
    ) {
        if !self.is_limited {
            self.limit(cx);
        }
        let splice = SpliceId(self.next);
        self.next += 1;
        let (sides, group) = (session.sides, group_of(session.origin));
        cx.act(Action::Transport(Command::OpenSplice { splice, sides, group }));
        self.sessions.insert(splice, (session, Some(Pending { nonce, is_marked })));
    }

    /// The sockets are bound: the grant leaves, then the bind.
    pub(super) fn handle_opened(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        splice: SpliceId,
        locals: [SocketAddr; 2],
    ) {
        let Some((session, pending)) = self.sessions.get_mut(&splice) else { return };
        let Some(Pending { nonce, .. }) = pending.take() else { return };
        let has_edges = neighbours.find(&session.requester).is_some()
            && neighbours.find(&session.target).is_some();
        if !has_edges {
            return cx.act(Action::Transport(Command::CloseSplice(splice)));
        }
        let addr = |side: usize| {
            Addr::from_socket_addr(SocketAddr::new(session.named[side], locals[side].port()))
        };
        let grant = RelayGrant { nonce, addr: addr(0) };
        cx.act(Action::Send(session.requester, Message::Grant(grant)));
        cx.act(Action::Send(session.target, Message::Bind(RelayBind { addr: addr(1) })));
    }

    /// A splice is over. One that did not open is refused.
    pub(super) fn handle_over(
        &mut self,
        cx: &mut Context<'_, Action>,
        splice: SpliceId,
        reason: SpliceOverReason,
    ) {
        if reason == SpliceOverReason::QuotaUsed {
            self.is_quota_used = true;
            cx.own.set_relay_quota_used(true);
        }
        let Some((session, pending)) = self.sessions.swap_remove(&splice) else { return };
        let Some(Pending { nonce, is_marked: true }) = pending else { return };
        let reason = match reason {
            SpliceOverReason::Full => RelayRefusal::Full,
            SpliceOverReason::QuotaUsed => RelayRefusal::QuotaUsed,
            SpliceOverReason::SocketFailed | SpliceOverReason::Unsupported => {
                RelayRefusal::NoSocket
            }
            SpliceOverReason::ClosedHere | SpliceOverReason::Idle => return,
        };
        let refused = RefusedGrant { nonce, reason };
        cx.act(Action::Send(session.requester, Message::Refuse(refused)));
    }

    /// Begins the quota again if a new month began.
    pub(super) fn handle_time(&mut self, cx: &mut Context<'_, Action>) {
        if self.check_at.is_none_or(|at| at > cx.now) {
            return;
        }
        self.check_at = Some(cx.now + MONTH_CHECK);
        let month = Month::of(cx.wall);
        if month > self.used.month {
            self.used = RelayUsage { month, bytes: 0 };
            self.is_quota_used = false;
            cx.own.set_relay_quota_used(false);
            self.limit(cx);
        }
    }

    /// Tells the transport what may be passed on.
    fn limit(&mut self, cx: &mut Context<'_, Action>) {
        self.is_limited = true;
        let bytes_per_s = cx.config.relay.bytes_per_s;
        let bytes_left = self.per_month.map(|max| max.saturating_sub(self.used.bytes));
        cx.act(Action::Transport(Command::LimitSplices { bytes_per_s, bytes_left }));
        self.plan_check(cx.now);
    }

    /// Plans the look at the calendar, where there is a quota.
    pub(super) fn plan_check(&mut self, now: Instant) {
        if self.per_month.is_some() && self.check_at.is_none() && !self.is_stopped {
            self.check_at = Some(now + MONTH_CHECK);
        }
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.check_at
    }

    /// Ends every session.
    pub(super) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        for splice in self.sessions.keys() {
            cx.act(Action::Transport(Command::CloseSplice(*splice)));
        }
        (self.check_at, self.is_stopped) = (None, true);
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn bytes_per_month(&self) -> Option<u64> {
        self.per_month
    }

    /// What was used this month before the transport got its limit.
    pub(super) fn used(&self) -> RelayUsage {
        self.used
    }

    pub(super) fn check(&self) {
        assert!(self.sessions.len() <= SESSIONS_MAX);
        assert!(self.sessions.keys().all(|splice| splice.0 < self.next));
    }
}

/// One number for each network. The halves of an IPv4 and an IPv6 subnet do not overlap.
fn group_of(origin: Subnet) -> u64 {
    let half = |from: usize| {
        let bytes = &origin.as_bytes()[from..from + 8];
        bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    half(0) ^ half(8)
}
