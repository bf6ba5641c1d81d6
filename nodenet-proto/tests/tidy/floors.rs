//! Layering of `nodenet-proto` in floors: a room imports only from floors below its own.
//!
//! A room is a module of `src/`, or of `src/overlay/` for the order inside the overlay. The path
//! counts as it is written: a re-export from a higher floor is an import from there.

use std::collections::BTreeMap;

use crate::circles::circles;
use crate::findings::Finding;
use crate::modules::{Crate, Import};
use crate::source::Tree;

const CHECK: &str = "floor";

/// Rooms by floor, the lowest first. Rooms of the lowest three may import each other without a
/// circle; rooms of any other floor never do.
const FLOORS: &[&[&str]] = &[
    &["id", "io", "buf", "addr", "stats"],
    &["identity", "pow", "env"],
    &["wire", "transport", "api"],
    &["context"],
    &["connect", "quic", "splice"],
    &["overlay"],
    &["rendezvous", "nat", "relay", "media"],
    &["engine"],
    &["node"],
    &["drive", "testkit", "fuzzing"],
];

/// Floors of vocabulary, whose rooms may import each other.
const SHARED_FLOORS: usize = 3;

/// The transport boundary: the machines below it do not import messages, and only the node imports
/// them. All other rooms use `transport`.
const BELOW_BOUNDARY: [&str; 2] = ["quic", "splice"];
const ABOVE_BOUNDARY: [&str; 3] = ["wire", "api", "context"];
const KNOWS_BOTH: [&str; 2] = ["node", "testkit"];

/// The rooms of the overlay, the lowest first; `mod` is its `mod.rs`.
const OVERLAY: &[&str] =
    &["actions", "edges", "peers", "routing", "topology", "exchange", "frames", "mod"];

/// Violations in the tree.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let proto = Crate::read(tree, "nodenet-proto/src/lib.rs");
    let mut found = unlisted(&proto);
    let mut shared = BTreeMap::new();
    for (here, module) in &proto.modules {
        let Some(room) = here.first() else { continue };
        for import in &module.imports {
            let Some(target) = room_of(&proto, &import.path) else { continue };
            let verdict = if target != *room {
                shared.entry((room.clone(), target.clone())).or_insert((&module.file, import.line));
                judge(room, &target)
            } else if room == "overlay" {
                judge_overlay(&overlay_room(here), &overlay_target(&proto, import))
            } else {
                None
            };
            let place = format!("{}:{}", module.file, import.line);
            let subject = format!("{} {}", module.file, import.path.join("::"));
            found.extend(verdict.map(|advice| Finding { check: CHECK, subject, place, advice }));
        }
    }
    shared.retain(|(room, target), _| floor(room).is_some() && floor(room) == floor(target));
    shared.retain(|(room, _), _| floor(room).is_some_and(|floor| floor < SHARED_FLOORS));
    for circle in circles(shared.keys().cloned()) {
        let (file, line) = shared[&(circle[0].0.clone(), circle[0].1.clone())];
        let arrows: Vec<String> = circle.iter().map(|(a, b)| format!("{a} uses {b}")).collect();
        let mut rooms: Vec<&str> = circle.iter().map(|(room, _)| room.as_str()).collect();
        rooms.dedup();
        found.push(Finding {
            check: CHECK,
            subject: format!("circle of rooms: {}", rooms.join(" ")),
            place: format!("{file}:{line}"),
            advice: format!(
                "rooms of one floor import each other in a circle ({}): move what both need to a \
                 floor below",
                arrows.join(", ")
            ),
        });
    }
    found
}

/// Modules that no floor names.
fn unlisted(proto: &Crate) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, module) in &proto.modules {
        let (room, is_listed) = match path.as_slice() {
            [room] => (room.clone(), floor(room).is_some()),
            [first, room] if first == "overlay" => {
                (format!("overlay/{room}"), OVERLAY.contains(&room.as_str()))
            }
            _ => continue,
        };
        if !is_listed {
            found.push(Finding {
                check: CHECK,
                subject: format!("unlisted room: {room}"),
                place: format!("{}:1", module.file),
                advice: format!(
                    "the room `{room}` is on no floor: move the file into a room that is, or add \
                     it to the tables in tidy/floors.rs"
                ),
            });
        }
    }
    found
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The room that a path leads into; an item that `lib.rs` re-exports counts for the room that
/// defines it.
fn room_of(proto: &Crate, path: &[String]) -> Option<String> {
    let first = path.first()?;
    let is_room = floor(first).is_some() || proto.modules.contains_key(&path[..1]);
    if is_room { Some(first.clone()) } else { proto.resolve(path).first().cloned() }
}

fn overlay_room(module: &[String]) -> String {
    module.get(1).map_or("mod", String::as_str).to_owned()
}

/// The room inside the overlay that an import leads into.
fn overlay_target(proto: &Crate, import: &Import) -> String {
    let is_room = import.path.get(1).is_some_and(|room| OVERLAY.contains(&room.as_str()));
    if is_room { import.path[1].clone() } else { overlay_room(&proto.resolve(&import.path)) }
}

/// The fault of an import of `target` in `room`.
fn judge(room: &str, target: &str) -> Option<String> {
    let (own, other) = (floor(room)?, floor(target)?);
    let is_below = BELOW_BOUNDARY.contains(&room) && ABOVE_BOUNDARY.contains(&target);
    let is_above = BELOW_BOUNDARY.contains(&target) && !KNOWS_BOTH.contains(&room);
    if other > own {
        Some(format!(
            "`{room}` (floor {own}) uses `{target}` (floor {other}) above it: move the item to a \
             floor below {own}, or pass it in"
        ))
    } else if other == own && own >= SHARED_FLOORS {
        Some(format!(
            "`{room}` and `{target}` are on floor {own}, where rooms never import each other: pass \
             it through an action and the engine"
        ))
    } else if is_below || is_above {
        Some(format!(
            "`{room}` and `{target}` are on two sides of the transport boundary: pass it through \
             `transport`"
        ))
    } else {
        None
    }
}

/// The fault of an import between two rooms of the overlay.
fn judge_overlay(room: &str, target: &str) -> Option<String> {
    let height = |name: &str| OVERLAY.iter().position(|listed| *listed == name);
    let is_upwards = height(target)? > height(room)?;
    is_upwards.then(|| {
        format!(
            "`overlay/{room}` uses `overlay/{target}`, which is above it: return the fact, and let \
             `overlay/exchange.rs` pass it on"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, &str)> =
            files.iter().map(|(name, text)| (format!("nodenet-proto/src/{name}"), *text)).collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let found = findings(&Tree::planted(&files));
        let short = |finding: Finding| finding.subject.replace("nodenet-proto/src/", "");
        found.into_iter().map(short).collect()
    }

    #[test]
    fn an_import_from_a_floor_above_is_found_in_every_notation() {
        let lib = "pub mod env; mod engine; mod id; pub use id::NodeId; pub use engine::Event;";
        for code in [
            "use crate::engine::Event;",
            "use crate::{NodeId, engine::{self, Event}};",
            "use super::super::engine::Event as E;",
            "fn now() -> u8 { crate::engine::Event::default() }",
            "pub(crate) use crate::engine::*;",
            "use crate::Event;",
        ] {
            let files = [
                ("lib.rs", lib),
                ("engine.rs", "pub struct Event;"),
                ("id.rs", "pub struct NodeId;"),
                ("env/mod.rs", "mod inner;"),
                ("env/inner.rs", code),
            ];
            let found = subjects(&files);
            assert!(
                !found.is_empty() && found[0].starts_with("env/inner.rs "),
                "{code}: {found:?}"
            );
        }
    }

    #[test]
    fn an_import_from_below_in_a_test_or_in_text_is_allowed() {
        let files = [
            ("lib.rs", "mod id; mod env; mod engine; #[cfg(test)] mod testkit;"),
            ("engine.rs", "use crate::env::Random; use crate::id; pub struct Event;"),
            ("testkit.rs", "use crate::engine::Event;"),
            ("id.rs", "//! crate::engine::Event\nconst A: &str = \"crate::engine::Event\";"),
            (
                "env.rs",
                "pub struct Random;\n#[cfg(test)]\nmod tests { use crate::engine::Event; }\n\
                 #[cfg(any(test, feature = \"fuzzing\"))]\nuse crate::engine::Event;",
            ),
        ];
        assert_eq!(subjects(&files), [""; 0]);
    }

    #[test]
    fn machines_of_one_floor_do_not_import_each_other() {
        let files = [
            ("lib.rs", "mod connect; mod quic;"),
            ("connect.rs", "use crate::quic::Quic;"),
            ("quic.rs", "pub struct Quic;"),
        ];
        assert_eq!(subjects(&files), ["connect.rs quic::Quic"]);
    }

    #[test]
    fn vocabularies_import_each_other_without_a_circle() {
        let lib = ("lib.rs", "mod wire; mod transport;");
        let wire = ("wire/mod.rs", "mod head; use crate::transport::Frame;");
        assert_eq!(subjects(&[lib, wire, ("transport.rs", "pub struct Frame;")]), [""; 0]);
        let transport = ("transport.rs", "use crate::wire::head; pub struct Frame;");
        let files = [lib, wire, transport, ("wire/head.rs", "")];
        assert_eq!(subjects(&files), ["circle of rooms: transport wire"]);
    }

    #[test]
    fn the_transport_boundary_is_crossed_by_the_node_alone() {
        let files = [
            ("lib.rs", "mod wire; mod quic; mod engine; mod node;"),
            ("wire.rs", "pub struct Ping;"),
            ("quic.rs", "use crate::wire::Ping; pub struct Quic;"),
            ("engine.rs", "use crate::quic::Quic;"),
            ("node.rs", "use crate::quic::Quic; use crate::wire::Ping;"),
        ];
        assert_eq!(subjects(&files), ["engine.rs quic::Quic", "quic.rs wire::Ping"]);
    }

    #[test]
    fn rooms_of_the_overlay_import_downwards_and_an_unlisted_room_is_found() {
        let files = [
            ("lib.rs", "mod overlay;"),
            (
                "overlay/mod.rs",
                "mod edges; mod peers; mod tending; use edges::Edge; enum Action {}",
            ),
            ("overlay/edges.rs", "use super::peers::Peers; use super::Action; pub struct Edge;"),
            ("overlay/peers.rs", "use super::Edge; pub struct Peers;"),
            ("overlay/tending.rs", "use super::Action;"),
        ];
        let found = subjects(&files);
        let upwards = "overlay/edges.rs overlay::peers::Peers";
        let expected =
            ["unlisted room: overlay/tending", upwards, "overlay/edges.rs overlay::Action"];
        assert_eq!(found, expected);
    }
}
