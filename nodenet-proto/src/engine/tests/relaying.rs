//! Messages between volunteers and the ends of pairs at whole engines: what they cost, and who may
//! send them.

use std::time::Duration;

use super::kit::{EngineNet, identity};
use super::puppets::{drops, flood, victim};
use crate::api::{Config, RelayPolicy};
use crate::stats::DropReason;
use crate::transport::{Command, ConnId, Event, SpliceId};
use crate::wire::nat::{MarkedRelayRequest, RelayAnswer, RelayBind, RelayRefusal, RelayRequest};
use crate::wire::{self, Addr, FrameType, Message};

/// THREATS.md#c7
#[test]
fn of_two_hundred_binds_thirty_two_are_read_and_none_of_an_unknown_volunteer_punches() {
    let (mut world, _, conn) = victim();
    let bind = RelayBind { addr: Addr::new(b"quic", b"198.51.100.9:53") };
    // The ping before them took its part of the budget, which has refilled since.
    world.run_for(Duration::from_secs(2));
    for _ in 0..200 {
        flood(&mut world, conn, bind.to_frame());
    }
    assert_eq!(drops(&world, DropReason::BindRefused), 32);
    assert_eq!(drops(&world, DropReason::ControlRateLimited), 168);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.punches(), []);
}

#[test]
fn a_volunteer_grants_binds_and_refuses_over_its_edges() {
    let mut world = EngineNet::new();
    let relay = RelayPolicy { volunteer: true, ..RelayPolicy::default() };
    let public_addrs = vec!["203.0.113.9:4242".parse().expect("a literal")];
    let config = Config { relay, public_addrs, maintenance: false, ..Config::default() };
    let own = world.add(config);
    // The puppets are on the site of the volunteer.
    let addrs = ["203.0.113.9:4242", "10.0.0.1:4242"].map(|text| text.parse().expect("a literal"));
    world.with_engine(own, |engine, now, _| engine.handle_local_addrs(now, &addrs));
    let ends = [50, 51].map(|number| world.add_puppet(identity(number)));
    let conns: Vec<ConnId> = ends.iter().map(|end| world.open(*end, own)).collect();
    for conn in &conns {
        world.say(*conn, wire::Ping.to_frame());
    }
    let target = world.id(ends[1]);
    let request = MarkedRelayRequest(RelayRequest { nonce: [7; 16], target });
    world.say(conns[0], request.to_frame());
    let asked = std::mem::take(&mut world.wire.splices);
    assert!(
        matches!(asked[..], [Command::LimitSplices { .. }, Command::OpenSplice { .. }]),
        "{asked:?}"
    );
    let locals = [50_001, 50_002].map(|port| std::net::SocketAddr::from(([10, 0, 0, 1], port)));
    world.give(own, Event::SpliceOpened { splice: SpliceId(0), locals });
    world.run_for(Duration::from_millis(100));
    let granted = world.heard(ends[0], FrameType::RelayGrant);
    let addr = Addr::new(b"quic", b"10.0.0.1:50001");
    let answers = |frame: &bytes::Bytes| RelayAnswer::decode(&frame[3..]);
    assert_eq!(
        granted.iter().map(answers).collect::<Vec<_>>(),
        [Ok(([7; 16], RelayAnswer::Granted(addr)))]
    );
    let bind = RelayBind { addr: Addr::new(b"quic", b"10.0.0.1:50002") };
    assert_eq!(world.heard(ends[1], FrameType::RelayBind), [bind.to_frame().to_bytes()]);

    let (nonce, target) = ([8; 16], crate::NodeId::from_bytes([9; 32]));
    world.say(conns[0], MarkedRelayRequest(RelayRequest { nonce, target }).to_frame());
    world.run_for(Duration::from_millis(100));
    let refused = world.heard(ends[0], FrameType::RelayGrant);
    let expected = Ok((nonce, RelayAnswer::Refused(RelayRefusal::NoEdge)));
    assert_eq!(refused.last().map(answers), Some(expected));
    assert_eq!(world.engine(own).relay_report().sessions, 1);

    world.leave(own);
    assert_eq!(world.wire.splices, [Command::CloseSplice(SpliceId(0))]);
}
