//! The one drain loop that all drivers share.

use crate::node::{Deadline, Event, Node, Output, Transmit, TransmitBuf};

/// Drains `node`: hands out every transmit and event, and returns the deadline to wait for.
///
/// `transmit` is given the buffer's bytes and returns false when the socket can not take them; then
/// draining stops and `None` is returned: keep the transmit, send it when the socket is writable, and
/// drain again.
pub fn drain(
    node: &mut Node,
    buf: &mut TransmitBuf,
    mut transmit: impl FnMut(&Transmit, &[u8]) -> bool,
    mut event: impl FnMut(Event),
) -> Option<Option<Deadline>> {
    loop {
        match node.poll_output(buf) {
            Output::Transmit(how) => {
                if !transmit(&how, &buf.bytes) {
                    return None;
                }
            }
            Output::Event(what) => event(what),
            Output::Timeout(deadline) => return Some(deadline),
        }
    }
}
