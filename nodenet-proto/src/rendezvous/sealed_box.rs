//! Sealed payloads of routed messages (PROTOCOL.md#sealed-messages, docs/decisions/0019).
//!
//! Responsible for: which payload of a Route is a box of a sealed message, and that each is
//! delivered once. Never: takes a payload away that is not one: it is delivered as it came.
//!
//! There is no mark on the wire. A sealed message is a payload that has the layout of a box, is
//! signed by the originator of the message, and decrypts with both identifiers and
//! [`ROUTE_CONTEXT`] as its associated data. Boxes of applications have other associated data.

use core::time::Duration;

use bytes::Bytes;

use super::Action;
use super::replay::{ReplayCache, ReplayError};
use crate::NodeId;
use crate::context::Context;
use crate::stats::DropReason;
use crate::wire::sealed_box::{OVERHEAD_MAX, Recipient, SealError, SealedBox, seal_bound};
use crate::wire::{Decode, SEND_PAYLOAD_MAX};

/// Associated data of sealed messages, behind both identifiers (PROTOCOL.md#sealed-messages).
pub const ROUTE_CONTEXT: &[u8] = b"nodenet/sealed-route";
/// Largest payload of a sealed message.
pub const SEALED_PAYLOAD_MAX: usize = SEND_PAYLOAD_MAX - OVERHEAD_MAX;
/// A sealed message opens while its box is at most this old or ahead: as long as its envelope is
/// fresh, and as much again for a clock that was corrected between box and envelope (a guess).
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// What became of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unsealed {
    /// It is no sealed message.
    Plain(Bytes),
    /// It was sealed to this node by the originator.
    Sealed(Bytes),
    /// It is a sealed message that must not be delivered; counted.
    Refused,
}

/// Seals a payload for a Route to the recipient.
pub(super) fn seal(
    cx: &mut Context<'_, Action>,
    recipient: &Recipient,
    payload: &[u8],
) -> Result<Bytes, SealError> {
    seal_bound(cx.identity, recipient, cx.wall, payload, ROUTE_CONTEXT, cx.rng)
}

/// Opens the payload of a verified Route if it is a sealed message.
pub(super) fn unseal(
    cx: &mut Context<'_, Action>,
    replays: &mut ReplayCache,
    originator: &NodeId,
    payload: Bytes,
) -> Unsealed {
    let Some(sealed) = box_of(cx, originator, &payload) else { return Unsealed::Plain(payload) };
    // The age is judged when it is certain that the box is a sealed message.
    let opened = sealed.open_bound(cx.identity, ROUTE_CONTEXT, cx.wall, Duration::MAX);
    let Ok((opened, fingerprint)) = opened else {
        cx.stats.counters.boxes_unopened += 1;
        return Unsealed::Plain(payload);
    };
    let refused = match replays.record(cx.wall, &opened, fingerprint) {
        Ok(()) => return Unsealed::Sealed(opened.plaintext.into()),
        Err(ReplayError::Open(_)) => DropReason::SealedStale,
        Err(ReplayError::Replayed) => DropReason::SealedReplayed,
        Err(ReplayError::Forgotten) => DropReason::SealedForgotten,
    };
    cx.discard(refused);
    Unsealed::Refused
}

/// The box that a payload is, if it names the originator as its sender. A copy costs only what has
/// that form.
fn box_of(cx: &Context<'_, Action>, originator: &NodeId, payload: &[u8]) -> Option<SealedBox> {
    let sender_key = payload.get(32..64)?.try_into().expect("32 bytes");
    if !SealedBox::is_layout(payload) || cx.crypto.node_id(sender_key) != *originator {
        return None;
    }
    SealedBox::decode_exact(payload).ok()
}
