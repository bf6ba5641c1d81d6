//! The drivers here keep the contract of [`nodenet_proto::drive::contract`].

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nodenet_proto::NodeId;
use nodenet_proto::api::{self, Command, Event, SendFailure};
use nodenet_proto::drive::contract::{CASES, LONG_CASES, NodeNet, Side};
use nodenet_proto::identity::Identity;
use nodenet_proto::stats::Counters;
use nodenet_tokio::testing::Hub;
use nodenet_tokio::{Builder, ConnectError, Node, NodeEvent, SendError};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[allow(dead_code, reason = "the example's main function has a test of its own")]
#[path = "../examples/std_loop.rs"]
mod std_loop;

#[test]
fn tokio_over_udp() {
    // Most of the time nothing happens, so the cases can wait together.
    thread::scope(|scope| {
        for (name, case) in CASES {
            let run = || case(&mut TokioWorld::over_udp());
            thread::Builder::new().name((*name).to_owned()).spawn_scoped(scope, run).unwrap();
        }
    });
}

#[test]
fn tokio_on_a_hub() {
    for (name, case) in CASES.iter().chain(LONG_CASES) {
        eprintln!("{name}");
        case(&mut TokioWorld::on_a_hub());
    }
}

#[test]
fn a_plain_loop() {
    thread::scope(|scope| {
        for (name, case) in CASES {
            let run = || case(&mut StdWorld::new());
            thread::Builder::new().name((*name).to_owned()).spawn_scoped(scope, run).unwrap();
        }
    });
}

/// Two nodes behind the async API, whose answers become events again.
struct TokioWorld {
    runtime: Runtime,
    hub: Option<Hub>,
    nodes: [Member; 2],
    dead: DeadEnd,
}

struct Member {
    node: Node,
    events: Events,
    /// What it was told to do and has not answered yet.
    outstanding: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<VecDeque<Event>>>);

impl Events {
    fn push(&self, event: Event) {
        self.0.lock().unwrap().push_back(event);
    }
}

/// A socket that nobody reads.
struct DeadEnd {
    addr: SocketAddr,
    _socket: Option<UdpSocket>,
}

impl DeadEnd {
    fn on_loopback() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { addr: socket.local_addr().unwrap(), _socket: Some(socket) }
    }
}

impl TokioWorld {
    fn over_udp() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let builders = [1, 2].map(|number| {
            let identity = Identity::from_master_seed(&[number; 32]);
            Node::builder(identity).bind((Ipv4Addr::LOCALHOST, 0).into())
        });
        Self::new(runtime, None, builders, DeadEnd::on_loopback())
    }

    fn on_a_hub() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        let hub = Hub::new(1);
        let builders = [hub.builder(1), hub.builder(2)];
        let dead = DeadEnd { addr: hub.addr(99), _socket: None };
        Self::new(runtime, Some(hub), builders, dead)
    }

    fn new(runtime: Runtime, hub: Option<Hub>, builders: [Builder; 2], dead: DeadEnd) -> Self {
        let nodes = builders.map(|builder| {
            let node = runtime.block_on(builder.start()).unwrap();
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

impl NodeNet for TokioWorld {
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
                node.shutdown().await.unwrap();
                events.push(Event::Left { request });
            };
            outstanding.spawn_on(leave, self.runtime.handle());
        } else {
            let execute = async move { events.push(execute(&node, command).await) };
            outstanding.spawn_on(execute, self.runtime.handle());
        }
    }

    fn poll_event(&mut self, side: Side) -> Option<Event> {
        self.member(side).events.0.lock().unwrap().pop_front()
    }

    fn counters(&mut self, side: Side) -> Counters {
        self.runtime.block_on(self.member(side).node.stats()).unwrap().protocol.counters
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
        Err(error) => Event::SendFailed { request, error: send_failure(error) },
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
            Err(ConnectError::Dial(error)) => {
                Event::ConnectFailed { request, error: api::ConnectError::Dial(error) }
            }
            Err(error) => panic!("no case meets this: {error}"),
        },
        Command::CloseEdge { request, peer } => {
            Event::EdgeClosed { request, existed: node.close_edge(peer).await.unwrap() }
        }
        command => panic!("no case asks for {command:?}"),
    }
}

fn send_failure(error: SendError) -> SendFailure {
    match error {
        SendError::Unroutable | SendError::NoEdge(_) => SendFailure::Unroutable,
        SendError::Backpressure => SendFailure::Backpressure,
        SendError::TooLarge { len, max } => SendFailure::TooLarge { len, max },
        _ => SendFailure::Closed,
    }
}

async fn collect_deliveries(node: Node, events: Events) {
    let deliveries = node.deliveries();
    drop(node);
    while let Some(delivery) = deliveries.recv().await {
        let (originator, payload, path) = (delivery.originator, delivery.payload, delivery.path);
        events.push(Event::Delivered { originator, payload, path, request: None });
    }
}

async fn collect_events(node: Node, events: Events) {
    let mut told = node.events();
    drop(node);
    while let Some(event) = told.recv().await {
        events.push(match event {
            NodeEvent::EdgeUp { peer, outgoing, remote } => {
                Event::EdgeUp { peer, outgoing, remote }
            }
            NodeEvent::EdgeDown { peer, reason } => Event::EdgeDown { peer, reason },
            other => panic!("no case leads to {other:?}"),
        });
    }
}

/// Two nodes without a runtime, each given the thread for a millisecond in turn.
struct StdWorld {
    peers: [std_loop::Peer; 2],
    events: [VecDeque<Event>; 2],
    dead: DeadEnd,
}

impl StdWorld {
    fn new() -> Self {
        let peers = [1, 2].map(|_| std_loop::Peer::bind("127.0.0.1:0").unwrap());
        Self { peers, events: Default::default(), dead: DeadEnd::on_loopback() }
    }
}

impl NodeNet for StdWorld {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn id(&self, side: Side) -> NodeId {
        self.peers[side as usize].id
    }

    fn addr(&self, side: Side) -> SocketAddr {
        self.peers[side as usize].addr().unwrap()
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
                peer.run_for(Duration::from_millis(1), keep).unwrap();
            }
        }
    }
}
