//! Contract suite of drivers ([`nodenet_proto::testkit::contract::drive`]): tokio over UDP, tokio
//! on a hub, and the plain loop of the example.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nodenet_proto::NodeId;
use nodenet_proto::api::{Command, Event};
use nodenet_proto::identity::Identity;
use nodenet_proto::stats::Counters;
use nodenet_proto::testkit::contract::drive::{CASES, LONG_CASES, NodeNet, Side};
use nodenet_tokio::testing::Hub;
use nodenet_tokio::{Builder, Delivery, Node, NodeEvent, SendError};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[allow(dead_code, reason = "the example's main function has a test of its own")]
#[path = "../examples/std_loop.rs"]
mod std_loop;

#[test]
fn tokio_over_udp() {
    // The cases wait most of the time, so they run side by side.
    thread::scope(|scope| {
        for (name, case) in CASES {
            let run = || case(&mut TokioNet::over_udp());
            thread::Builder::new()
                .name((*name).to_owned())
                .spawn_scoped(scope, run)
                .expect("threads are left");
        }
    });
}

#[test]
fn tokio_on_a_hub() {
    for (name, case) in CASES.iter().chain(LONG_CASES) {
        eprintln!("{name}");
        case(&mut TokioNet::on_a_hub());
    }
}

#[test]
fn a_plain_loop() {
    thread::scope(|scope| {
        for (name, case) in CASES {
            let run = || case(&mut StdNet::new());
            thread::Builder::new()
                .name((*name).to_owned())
                .spawn_scoped(scope, run)
                .expect("threads are left");
        }
    });
}

/// Two nodes behind the async API. Return values of its methods become events again.
struct TokioNet {
    runtime: Runtime,
    hub: Option<Hub>,
    nodes: [Member; 2],
    dead: DeadEnd,
}

struct Member {
    node: Node,
    events: Events,
    /// Commands that are not settled yet.
    outstanding: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<VecDeque<Event>>>);

impl Events {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.0.lock().expect("no holder panics")
    }

    fn push(&self, event: Event) {
        self.lock().push_back(event);
    }
}

/// A socket that is never read.
struct DeadEnd {
    addr: SocketAddr,
    _socket: Option<UdpSocket>,
}

impl DeadEnd {
    fn on_loopback() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        Self { addr: socket.local_addr().expect("it is bound"), _socket: Some(socket) }
    }
}

impl TokioNet {
    fn over_udp() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("it needs one thread");
        let builders = [1, 2].map(|number| {
            let identity = Identity::from_master_seed(&[number; 32]);
            Node::builder(identity).bind((Ipv4Addr::LOCALHOST, 0).into())
        });
        Self::new(runtime, None, builders, DeadEnd::on_loopback())
    }

    fn on_a_hub() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("it needs one thread");
        let hub = Hub::new(1);
        let builders = [hub.builder(1), hub.builder(2)];
        let dead = DeadEnd { addr: hub.addr(99), _socket: None };
        Self::new(runtime, Some(hub), builders, dead)
    }

    fn new(runtime: Runtime, hub: Option<Hub>, builders: [Builder; 2], dead: DeadEnd) -> Self {
        let nodes = builders.map(|builder| {
            let node = runtime.block_on(builder.start()).expect("the address is free");
            let events = Events::default();
            runtime.spawn(collect_deliveries(node.clone(), events.clone()));
            runtime.spawn(collect_events(node.clone(), events.clone()));
            Member { node, events, outstanding: JoinSet::new() }
        });
        Self { runtime, hub, nodes, dead }
    }

    fn member(&self, side: Side) -> &Member {
        &self.nodes[side as usize]
    }
}

impl NodeNet for TokioNet {
    fn now(&self) -> Instant {
        self.runtime.block_on(async { tokio::time::Instant::now().into_std() })
    }

    fn id(&self, side: Side) -> NodeId {
        self.member(side).node.id()
    }

    fn addr(&self, side: Side) -> SocketAddr {
        self.member(side).node.local_addr()
    }

    fn dead_addr(&self) -> SocketAddr {
        self.dead.addr
    }

    fn command(&mut self, side: Side, command: Command) {
        let Member { node, events, outstanding } = &mut self.nodes[side as usize];
        let (node, events) = (node.clone(), events.clone());
        if let Command::Leave { request } = command {
            let before = std::mem::take(outstanding);
            let leave = async move {
                before.join_all().await;
                node.shutdown().await.expect("nothing failed");
                events.push(Event::Left { request });
            };
            outstanding.spawn_on(leave, self.runtime.handle());
        } else {
            let execute = async move { events.push(execute(&node, command).await) };
            outstanding.spawn_on(execute, self.runtime.handle());
        }
    }

    fn poll_event(&mut self, side: Side) -> Option<Event> {
        self.member(side).events.lock().pop_front()
    }

    fn counters(&mut self, side: Side) -> Counters {
        let stats = self.runtime.block_on(self.member(side).node.stats());
        stats.expect("the node runs").protocol.counters
    }

    fn set_socket_full(&mut self, side: Side, full: bool) -> bool {
        if let Some(hub) = &self.hub {
            hub.set_send_buffer_full(self.addr(side), full);
        }
        self.hub.is_some()
    }

    fn run(&mut self, span: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(span).await });
    }
}

async fn execute(node: &Node, command: Command) -> Event {
    let sent = |request, sent: Result<u8, SendError>| match sent {
        Ok(copies) => Event::Sent { request, copies },
        Err(error) => Event::SendFailed { request, error },
    };
    match command {
        Command::Send { request, target, payload } => {
            sent(request, node.send(target, payload).await)
        }
        Command::SendDirect { request, target, payload } => {
            sent(request, node.send_direct(target, payload).await.map(|()| 1))
        }
        Command::Connect { request, target, addrs } => match node.connect(target, addrs).await {
            Ok(()) => Event::Connected { request, peer: target },
            Err(error) => Event::ConnectFailed { request, error },
        },
        Command::CloseEdge { request, peer } => {
            let existed = node.close_edge(peer).await.expect("the node runs");
            Event::EdgeClosed { request, existed }
        }
        command => panic!("no case asks for {command:?}"),
    }
}

async fn collect_deliveries(node: Node, events: Events) {
    let deliveries = node.deliveries();
    drop(node);
    while let Some(delivery) = deliveries.recv().await {
        let Delivery { originator, payload, path, sealed } = delivery;
        events.push(Event::Delivered { originator, payload, path, sealed, request: None });
    }
}

async fn collect_events(node: Node, events: Events) {
    let mut subscription = node.events();
    drop(node);
    while let Some(event) = subscription.recv().await {
        match event {
            NodeEvent::Protocol(event) => events.push(event),
            other => panic!("no case leads to {other:?}"),
        }
    }
}

/// Two nodes without a runtime, each given the thread for a millisecond in turn.
struct StdNet {
    peers: [std_loop::Peer; 2],
    events: [VecDeque<Event>; 2],
    dead: DeadEnd,
}

impl StdNet {
    fn new() -> Self {
        let peers =
            [1, 2].map(|_| std_loop::Peer::bind("127.0.0.1:0").expect("loopback has free ports"));
        Self { peers, events: Default::default(), dead: DeadEnd::on_loopback() }
    }
}

impl NodeNet for StdNet {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn id(&self, side: Side) -> NodeId {
        self.peers[side as usize].id
    }

    fn addr(&self, side: Side) -> SocketAddr {
        self.peers[side as usize].addr().expect("it is bound")
    }

    fn dead_addr(&self) -> SocketAddr {
        self.dead.addr
    }

    fn command(&mut self, side: Side, command: Command) {
        self.peers[side as usize].command(command);
    }

    fn poll_event(&mut self, side: Side) -> Option<Event> {
        self.events[side as usize].pop_front()
    }

    fn counters(&mut self, side: Side) -> Counters {
        self.peers[side as usize].node.stats().counters
    }

    fn set_socket_full(&mut self, _side: Side, _full: bool) -> bool {
        // Its socket blocks until there is room.
        false
    }

    fn run(&mut self, span: Duration) {
        let until = self.now() + span;
        while self.now() < until {
            for (peer, events) in self.peers.iter_mut().zip(&mut self.events) {
                let keep = |event| {
                    events.push_back(event);
                    None::<()>
                };
                peer.run_for(Duration::from_millis(1), keep).expect("the socket works");
            }
        }
    }
}
