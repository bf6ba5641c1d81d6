//! The nodenet protocol as a state machine: datagrams and time in, datagrams and events out.
//!
//! A [`node::Node`] owns no socket, reads no clock and draws no entropy. A driver gives it
//! datagrams and the time, and executes its outputs. `nodenet_tokio` is such a driver. Another is a
//! short loop:
//!
//! ```
//! use std::net::{IpAddr, SocketAddr};
//! use std::time::Instant;
//!
//! use bytes::{Bytes, BytesMut};
//! use nodenet_proto::api::{Command, Event, RequestId};
//! use nodenet_proto::drive::{Drained, Outlet, drain};
//! use nodenet_proto::env::{Seed, UnixNanos};
//! use nodenet_proto::identity::Identity;
//! use nodenet_proto::io::{SocketId, Transmit, TransmitBuf};
//! use nodenet_proto::node::{Config, Input, Node};
//!
//! /// What a drain hands out: datagrams for the other node, events for the application.
//! #[derive(Default)]
//! struct Outbox {
//!     datagrams: Vec<BytesMut>,
//!     events: Vec<Event>,
//! }
//!
//! impl Outlet for Outbox {
//!     fn transmit(&mut self, _how: &Transmit, bytes: &[u8]) -> bool {
//!         self.datagrams.push(BytesMut::from(bytes));
//!         true
//!     }
//!     fn event(&mut self, event: Event) {
//!         self.events.push(event);
//!     }
//!     fn open_socket(&mut self, _: SocketId, _: IpAddr) {}
//!     fn close_socket(&mut self, _: SocketId) {}
//! }
//!
//! // Virtual time: it goes on where the loop says so. Seeds of a real node come from the system.
//! let mut now = Instant::now();
//! let node = |number: u8| {
//!     let identity = Identity::from_master_seed(&[number; 32]);
//!     Node::new(Config::default(), identity, Seed::from_u64(number.into()), now, UnixNanos(0))
//! };
//! let mut nodes = [node(1)?, node(2)?];
//! let addrs = [SocketAddr::from(([10, 0, 0, 1], 4242)), SocketAddr::from(([10, 0, 0, 2], 4242))];
//! let (alice, bob) = (nodes[0].id(), nodes[1].id());
//! let request = RequestId(1);
//! let connect = Command::Connect { request, target: bob, addrs: vec![addrs[1]] };
//! nodes[0].handle_input(now, Input::Command(connect));
//!
//! let mut buf = TransmitBuf::new(1);
//! let (sender, payload) = 'run: loop {
//!     let (mut deadlines, mut is_idle) = (Vec::new(), true);
//!     for side in [0, 1] {
//!         let mut out = Outbox::default();
//!         let Drained::Idle(deadline) = drain(&mut nodes[side], &mut buf, &mut out) else {
//!             unreachable!("the outbox is never full");
//!         };
//!         deadlines.extend(deadline.map(|deadline| deadline.at));
//!         is_idle &= out.datagrams.is_empty() && out.events.is_empty();
//!         for data in out.datagrams {
//!             let (socket, remote) = (SocketId::MAIN, addrs[side]);
//!             let input = Input::Datagram { socket, remote, local_ip: None, ecn: None, data };
//!             nodes[1 - side].handle_input(now, input);
//!         }
//!         for event in out.events {
//!             match event {
//!                 Event::Connected { peer, .. } => {
//!                     let payload = Bytes::from("hello");
//!                     let send = Command::Send { request: RequestId(2), target: peer, payload };
//!                     nodes[side].handle_input(now, Input::Command(send));
//!                 }
//!                 Event::Delivered { originator, payload, .. } => {
//!                     break 'run (originator, payload);
//!                 }
//!                 _ => {}
//!             }
//!         }
//!     }
//!     if is_idle {
//!         now = deadlines.into_iter().min().expect("a node that dials has a deadline");
//!         nodes.iter_mut().for_each(|node| node.handle_timeout(now));
//!     }
//! };
//! assert_eq!((sender, &payload[..]), (alice, &b"hello"[..]));
//! # Ok::<(), nodenet_proto::node::ConfigError>(())
//! ```
//!
//! # Where to read next
//! - [`node`]: the contract of the loop. `testkit::contract::drive` tests any loop against it; the
//!   feature `testkit` compiles it.
//! - [`api`]: commands, events, errors and settings.
//! - [`engine`], [`transport`] and [`quic`]: the machines inside a node and the boundary between
//!   them. `docs/ARCHITECTURE.md` has the picture.
//! - [`rendezvous`]: limits and the replay cache of sealed messages.
//! - [`wire`]: the byte layouts. `docs/PROTOCOL.md` has the rules that comments cite.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod addr;
pub mod api;
pub mod buf;
mod connect;
mod context;
pub mod drive;
pub mod engine;
pub mod env;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod identity;
pub mod io;
mod nat;
pub mod node;
#[cfg(not(feature = "bench-internals"))]
#[allow(unreachable_pub, reason = "benches reach it with the feature `bench-internals`")]
mod overlay;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
#[allow(missing_docs, reason = "it is no part of the API")]
pub mod overlay;
pub mod pow;
pub mod quic;
mod relay;
pub mod rendezvous;
mod splice;
pub mod stats;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod transport;
pub mod wire;

pub use id::NodeId;
