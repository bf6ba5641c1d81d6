//! Encoding of addresses: two byte strings that routing never interprets
//! (PROTOCOL.md#address-encoding).
//!
//! ```text
//! addr   uvarint(len net) ‖ net ‖ uvarint(len endpoint) ‖ endpoint
//! addrs  uvarint(count) ‖ addr × count
//! ```
//!
//! Responsible for: the layout, and conversion from and to socket addresses. Never: resolves a name
//! or decides to dial. Strings are kept bit for bit, because signatures cover a re-encoding of
//! them.

use core::cmp::Ordering;
use core::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bytes::BufMut;
use heapless::Vec as FixedVec;

use super::codec::{
    Decode, DecodeError, Encode, Reader, len_prefixed_len, put_len_prefixed, put_uvarint,
    uvarint_len,
};
use crate::addr::{Subnet, canonical, split_endpoint};

#[cfg(test)]
mod tests;

/// Most addresses in one Hello, Reply, Connect or ConnectAck (PROTOCOL.md#address-list-limit).
pub const ADDRS_MAX: usize = 16;
/// Shortest encoding of an address: two empty strings (PROTOCOL.md#address-encoding).
pub const ADDR_LEN_MIN: usize = 2;
/// Family of addresses that are `host:port` over UDP.
pub const NET_QUIC: &[u8] = b"quic";
/// Longest text of a socket address: an IPv6 address of 39 letters with a ten-digit scope, in
/// brackets, and a port. An IPv4-mapped address is written as IPv4.
const ENDPOINT_TEXT_MAX: usize = 1 + 39 + 1 + 10 + 1 + 1 + 5;

/// An address at which, as some node says, it or another can be reached.
///
/// Ordered by family, then endpoint, both bytewise.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Addr {
    both: Both,
    net_len: u32,
}

/// Both strings, one behind the other. A list of contacts holds dozens of addresses while it is
/// read or written, and nearly all are short. A longer address is kept in an allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Both {
    Short(FixedVec<u8, SHORT_MAX, u8>),
    Long(Box<[u8]>),
}

/// Room for every IPv4 endpoint (25 bytes with its family) and most IPv6 ones.
const SHORT_MAX: usize = 46;

impl Default for Both {
    fn default() -> Self {
        Self::Short(FixedVec::new())
    }
}

impl Both {
    fn new(net: &[u8], endpoint: &[u8]) -> Self {
        let mut short = FixedVec::new();
        match short.extend_from_slice(net).and_then(|()| short.extend_from_slice(endpoint)) {
            Ok(()) => Self::Short(short),
            Err(_) => Self::Long([net, endpoint].concat().into()),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(short) => short,
            Self::Long(long) => long,
        }
    }
}

impl Addr {
    /// An address of any family.
    ///
    /// # Panics
    /// If `net` has 2^32 bytes or more.
    pub fn new(net: &[u8], endpoint: &[u8]) -> Self {
        let net_len = u32::try_from(net.len()).expect("no family has four billion bytes");
        Self { both: Both::new(net, endpoint), net_len }
    }

    /// The address of a UDP socket in the spelling that all nodes use (PROTOCOL.md#address-text):
    /// an IPv4-mapped address as IPv4.
    pub fn from_socket_addr(addr: SocketAddr) -> Self {
        let mut endpoint = EndpointText::new();
        match canonical(addr) {
            SocketAddr::V4(addr) => write_v4(&mut endpoint, addr),
            SocketAddr::V6(addr) => write!(endpoint, "{addr}"),
        }
        .expect("the longest fits");
        Self::new(NET_QUIC, endpoint.as_bytes())
    }

    /// The family.
    pub fn net(&self) -> &[u8] {
        &self.both.as_slice()[..self.net_len as usize]
    }

    /// The endpoint, in the syntax of the family.
    pub fn endpoint(&self) -> &[u8] {
        &self.both.as_slice()[self.net_len as usize..]
    }

    /// The socket that this names, if it is a `quic` address with an IP literal. An IPv4-mapped
    /// address becomes IPv4. A zone that is no number has no meaning on this machine and gives
    /// `None`.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        if self.net() != NET_QUIC {
            return None;
        }
        let (ip, zone, port) = split_endpoint(self.endpoint())?;
        let scope_id = match zone {
            Some(zone) => zone.parse().ok()?,
            None => 0,
        };
        Some(match ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope_id).into(),
        })
    }

    /// The IP address and port in the endpoint, in any family. A zone is left out.
    pub fn ip_port(&self) -> Option<(IpAddr, u16)> {
        let (ip, _, port) = split_endpoint(self.endpoint())?;
        Some((ip, port))
    }

    /// The subnet of the address, if its endpoint is an IP address and a port. The family does not
    /// matter (PROTOCOL.md#subnets).
    pub fn subnet(&self) -> Option<Subnet> {
        self.ip_port().map(|(ip, _)| Subnet::of(ip))
    }
}

type EndpointText = heapless::String<ENDPOINT_TEXT_MAX>;

/// An answer names twenty addresses. With the formatter of the standard library their text took a
/// third of the time that the answer took (measured).
fn write_v4(out: &mut EndpointText, addr: SocketAddrV4) -> fmt::Result {
    for (number, end) in addr.ip().octets().into_iter().zip(['.', '.', '.', ':']) {
        write_decimal(out, number.into())?;
        out.write_char(end)?;
    }
    write_decimal(out, addr.port())
}

fn write_decimal(out: &mut EndpointText, number: u16) -> fmt::Result {
    if number >= 10 {
        write_decimal(out, number / 10)?;
    }
    out.write_char(char::from(b'0' + (number % 10) as u8))
}

impl PartialOrd for Addr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Addr {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.net(), self.endpoint()).cmp(&(other.net(), other.endpoint()))
    }
}

/// `net://endpoint`; bytes that are not printable ASCII are escaped, so that a peer cannot write
/// control characters into a log.
impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.net().escape_ascii(), self.endpoint().escape_ascii())
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Self::from_socket_addr(addr)
    }
}

impl Encode for Addr {
    fn encoded_len(&self) -> usize {
        len_prefixed_len(self.net()) + len_prefixed_len(self.endpoint())
    }

    fn encode(&self, out: &mut impl BufMut) {
        put_len_prefixed(out, self.net());
        put_len_prefixed(out, self.endpoint());
    }
}

/// Every failure is [`DecodeError::BadAddr`].
impl Decode<'_> for Addr {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let net = reader.len_prefixed().map_err(|_| DecodeError::BadAddr)?;
        let endpoint = reader.len_prefixed().map_err(|_| DecodeError::BadAddr)?;
        Ok(Self::new(net, endpoint))
    }
}

/// At most [`ADDRS_MAX`] addresses, best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddrList(Vec<Addr>);

impl AddrList {
    /// No address.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The first [`ADDRS_MAX`] of `addrs`.
    pub fn first_of(addrs: impl IntoIterator<Item = Addr>) -> Self {
        Self(addrs.into_iter().take(ADDRS_MAX).collect())
    }

    /// The addresses in order.
    pub fn as_slice(&self) -> &[Addr] {
        &self.0
    }

    /// The addresses as a vector.
    pub fn into_vec(self) -> Vec<Addr> {
        self.0
    }
}

impl Encode for AddrList {
    fn encoded_len(&self) -> usize {
        addrs_encoded_len(&self.0)
    }

    fn encode(&self, out: &mut impl BufMut) {
        put_addrs(out, &self.0);
    }
}

/// Fails with [`DecodeError::TooManyAddrs`] as soon as the count is read, otherwise with
/// [`DecodeError::BadAddr`].
impl Decode<'_> for AddrList {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let declared = reader.clone().uvarint().map_err(|_| DecodeError::BadAddr)?;
        if declared > ADDRS_MAX as u64 {
            return Err(DecodeError::TooManyAddrs);
        }
        let count = reader.count(ADDR_LEN_MIN).map_err(|_| DecodeError::BadAddr)?;
        let mut addrs = Vec::with_capacity(count);
        for _ in 0..count {
            addrs.push(Addr::decode(reader)?);
        }
        Ok(Self(addrs))
    }
}

/// Length of a counted list of addresses.
pub(super) fn addrs_encoded_len(addrs: &[Addr]) -> usize {
    uvarint_len(addrs.len() as u64) + addrs.iter().map(Encode::encoded_len).sum::<usize>()
}

/// Appends a counted list of addresses.
pub(super) fn put_addrs(out: &mut impl BufMut, addrs: &[Addr]) {
    put_uvarint(out, addrs.len() as u64);
    for addr in addrs {
        addr.encode(out);
    }
}
