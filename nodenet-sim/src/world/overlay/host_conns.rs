//! Conns of one host, as its machine sees them.

use std::time::Duration;

use nodenet_proto::buf::Frame;
use nodenet_proto::transport::{Class, ConnId, Conns, PathInfo, SendError};

use super::net::{IN_FLIGHT_MAX, Net};
use crate::world::Host;

/// Conns of one host, lent to its machine for a call.
pub(crate) struct HostConns<'a> {
    pub(crate) net: &'a mut Net,
    pub(crate) host: Host,
}

impl Conns for HostConns<'_> {
    fn try_send(&mut self, conn: ConnId, class: Class, frame: Frame) -> Result<(), SendError> {
        let Some(end) = self.net.conns.resolve(self.host, conn) else {
            return Err(SendError::Gone(frame));
        };
        let mine = self.net.conns.end_mut(end);
        let after = mine.in_flight.saturating_add(frame.len() as u32);
        if mine.in_flight > 0 && after > IN_FLIGHT_MAX[class as usize] {
            mine.refused = true;
            return Err(SendError::Full(frame));
        }
        self.net.transmit(end, frame);
        Ok(())
    }

    fn path(&self, conn: ConnId) -> Option<PathInfo> {
        path(self.net, self.host, conn)
    }
}

/// Conns of one host, for reading alone.
pub(crate) struct ReadOnlyConns<'a> {
    pub(crate) net: &'a Net,
    pub(crate) host: Host,
}

impl Conns for ReadOnlyConns<'_> {
    fn try_send(&mut self, _: ConnId, _: Class, frame: Frame) -> Result<(), SendError> {
        Err(SendError::Gone(frame))
    }

    fn path(&self, conn: ConnId) -> Option<PathInfo> {
        path(self.net, self.host, conn)
    }
}

fn path(net: &Net, host: Host, conn: ConnId) -> Option<PathInfo> {
    let end = net.conns.resolve(host, conn)?;
    let remote = net.conns.end(end.peer()).seen_at.into();
    let rtt = Duration::from_nanos(net.conns.conn(end).delay_nanos * 2);
    Some(PathInfo { remote, rtt })
}
