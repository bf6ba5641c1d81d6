//! Drain loop of a node, shared by all drivers.
//!
//! A driver implements [`Outlet`] and calls [`drain`] after every input and every deadline. It
//! never matches on [`Output`] itself, so a new kind of output is a compile error in one place.
//!
//! `testkit::contract::drive` tests whether a driver keeps its part (feature `testkit`).

use std::net::IpAddr;

use crate::api::Event;
use crate::io::{Deadline, SocketId, Transmit, TransmitBuf};
use crate::node::{Node, Output};

/// The outputs of a node, as calls to its driver.
pub trait Outlet {
    /// Sends the datagram or datagrams in `bytes`. Returns false if the socket cannot take them
    /// now. Then the outlet has kept a copy, sends it when the socket is writable, and drains
    /// again.
    fn transmit(&mut self, how: &Transmit, bytes: &[u8]) -> bool;

    /// Reports an event to the application.
    fn event(&mut self, event: Event);

    /// Opens a UDP socket on a port of the system's choice and reports
    /// [`crate::node::Input::SocketOpened`] or [`crate::node::Input::SocketFailed`] as an input.
    fn open_socket(&mut self, socket: SocketId, local_ip: IpAddr);

    /// Closes a socket that was asked for.
    fn close_socket(&mut self, socket: SocketId);
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is left to do until the deadline or the next input.
    Idle(Option<Deadline>),
    /// The outlet's socket is full. Drain again when it is writable.
    Blocked,
}

/// Passes every output of `node` to `outlet`.
pub fn drain(node: &mut Node, buf: &mut TransmitBuf, outlet: &mut impl Outlet) -> Drained {
    loop {
        match node.poll_output(buf) {
            Output::Transmit(ref how) => {
                if !outlet.transmit(how, &buf.bytes) {
                    return Drained::Blocked;
                }
            }
            Output::Event(event) => outlet.event(event),
            Output::OpenSocket { socket, local_ip } => outlet.open_socket(socket, local_ip),
            Output::CloseSocket { socket } => outlet.close_socket(socket),
            Output::Timeout(deadline) => return Drained::Idle(deadline),
        }
    }
}
