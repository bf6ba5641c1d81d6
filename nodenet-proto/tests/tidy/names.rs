//! Metaphors and replaced names in definitions.

use std::collections::BTreeSet;

use crate::findings::Finding;
use crate::source::{Tree, code_of, definitions, line_of};

/// Parts of identifiers that are metaphors.
const METAPHORS: &[&str] = &[
    "appetite",
    "birth",
    "births",
    "clothes",
    "crowd",
    "crowds",
    "departed",
    "door",
    "doors",
    "fence",
    "fences",
    "goodbye",
    "goodbyes",
    "happening",
    "happenings",
    "home",
    "homes",
    "hurry",
    "launch",
    "lonely",
    "lot",
    "lots",
    "manner",
    "manners",
    "needy",
    "opening",
    "openings",
    "parcel",
    "parcels",
    "purged",
    "reluctance",
    "remark",
    "remarks",
    "resident",
    "residents",
    "scene",
    "scenes",
    "seat",
    "seats",
    "shuttle",
    "sighting",
    "sightings",
    "stranger",
    "strangers",
    "tend",
    "tends",
    "trail",
    "trails",
    "unheard",
    "upkeep",
    "vouched",
    "waiter",
    "waiters",
    "word",
    "words",
];

/// Whole names that were replaced: where, which, and by what.
const REPLACED: &[(&str, &str, &str)] = &[
    ("nodenet-proto/", "Aim", "Purpose"),
    ("nodenet-proto/", "Claims", "HostLimit"),
    ("nodenet-proto/", "Cx", "Context"),
    ("nodenet-proto/", "Knowledge", "Peers"),
    ("nodenet-proto/", "Pace", "Period"),
    ("nodenet-proto/", "Proven", "Verified"),
    ("nodenet-proto/", "SeedPeer", "BootstrapPeer"),
    ("nodenet-proto/", "Skew", "ClockSkewDetector"),
    ("nodenet-proto/", "Stamps", "OriginationClock"),
    ("nodenet-proto/", "World", "EngineNet, ConnNet or NodeNet"),
    ("nodenet-proto/", "caps_own", "self_reported"),
    ("nodenet-proto/", "isolated", "no_outgoing or no_edges"),
    ("nodenet-proto/", "judge_conn", "check_liveness"),
    ("nodenet-proto/", "own_word", "self_reported"),
    ("nodenet-proto/", "seeds", "bootstrap"),
    ("nodenet-proto/src/overlay/", "Trial", "Probe"),
    ("nodenet-proto/src/quic/", "Shared", "Turns"),
    ("nodenet-sim/", "Maker", "Factory"),
    ("nodenet-sim/", "Place", "Position"),
    ("nodenet-sim/", "Post", "Probes"),
    ("nodenet-sim/", "Site", "Subnet"),
    ("nodenet-sim/", "Watch", "Growth"),
    ("nodenet-tokio/", "Lost", "DroppedDeliveries"),
    ("nodenet-tokio/", "SeedFile", "KeyFile"),
    ("nodenet-tokio/", "Typed", "Stdin"),
    ("nodenet-tokio/", "Watch", "Health"),
    ("nodenet-tokio/", "World", "DriverOutlet"),
    ("nodenet-tokio/", "how", "transmit"),
    ("nodenet-tokio/", "keep_up", "refresh"),
    ("nodenet-tokio/src/host.rs", "Host", "Platform"),
];

/// Modules that were replaced, in the same form.
const REPLACED_MODULES: &[(&str, &str, &str)] = &[
    ("nodenet-proto/src/", "answer", "respond"),
    ("nodenet-proto/src/", "bucket", "token_bucket or k_bucket"),
    ("nodenet-proto/src/", "claims", "host_limit"),
    ("nodenet-proto/src/", "knowledge", "peers"),
    ("nodenet-proto/src/", "learn", "observe"),
    ("nodenet-proto/src/", "pace", "period"),
    ("nodenet-proto/src/", "registration", "lifecycle"),
    ("nodenet-proto/src/", "routed", "forward"),
    ("nodenet-proto/src/quic/", "shared", "turns"),
    ("nodenet-sim/", "cut", "partition"),
    ("nodenet-sim/", "judge", "expect"),
    ("nodenet-sim/", "post", "probes"),
    ("nodenet-sim/", "space", "latency"),
    ("nodenet-sim/", "watch", "growth"),
    ("nodenet-tokio/", "host", "platform"),
    ("nodenet-tokio/", "lost", "dropped"),
    ("nodenet-tokio/", "seed_file", "key_file"),
    ("nodenet-tokio/", "typed", "stdin"),
    ("nodenet-tokio/", "watch", "health"),
];

/// Violations in the tree.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    tree.with_ending(".rs").flat_map(|(path, text)| of_file(path, text)).collect()
}

fn of_file(path: &str, text: &str) -> Vec<Finding> {
    let code = code_of(text);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for item in definitions(&code) {
        let Some(fault) = fault(path, item.keyword, item.name).filter(|_| seen.insert(item.name))
        else {
            continue;
        };
        let (keyword, name) = (item.keyword, item.name);
        found.push(Finding {
            check: "name",
            subject: format!("{path} {name}"),
            place: format!("{path}:{}", line_of(&code, item.at)),
            advice: format!("the {keyword} `{name}`: {fault}"),
        });
    }
    found
}

/// The fault of a name that is defined in this file.
fn fault(path: &str, keyword: &str, name: &str) -> Option<String> {
    let modules = if keyword == "mod" { REPLACED_MODULES } else { &[] };
    let is_old = |(area, old, _): &&(&str, &str, &str)| path.starts_with(area) && *old == name;
    if let Some((_, _, new)) = REPLACED.iter().chain(modules).find(is_old) {
        return Some(format!("the name was replaced: use {new}"));
    }
    let part = parts(name).into_iter().find(|part| METAPHORS.contains(&part.as_str()))?;
    Some(format!("`{part}` is a metaphor: use the term of the field (docs/STYLE.md, rule 7)"))
}

/// The parts of `snake_case`, `SCREAMING_CASE` and `CamelCase`, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut previous = '_';
    for letter in name.chars() {
        if letter == '_' || (letter.is_uppercase() && previous.is_lowercase()) {
            parts.push(String::new());
        }
        let part = parts.last_mut().expect("there is one at least");
        part.extend(letter.to_lowercase().filter(|letter| *letter != '_'));
        previous = letter;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let findings = findings(&Tree::planted(&[(path, text)]));
        let name = |finding: Finding| finding.subject.replace(&format!("{path} "), "");
        findings.into_iter().map(name).collect()
    }

    #[test]
    fn a_metaphor_is_found_in_every_kind_of_definition() {
        let code = "
            const HOME_OCTETS: usize = 4;
            mod births { pub(crate) struct SeatList { pub door_of: Vec<(u8, u8)>, plain: u8 } }
            enum Kind<'a> { #[doc = \"\"] Plain(&'a u8), TheLot { fence: u8 } = 3, Parcel }
            async fn whole_words<T>(home: u8) -> T { let door = 1; home(\"a lot\") } // a seat";
        let expected =
            ["HOME_OCTETS", "births", "SeatList", "door_of", "TheLot", "Parcel", "whole_words"];
        assert_eq!(found("a.rs", code), expected);
    }

    #[test]
    fn a_replaced_name_is_found_where_it_was_replaced() {
        assert_eq!(found("nodenet-tokio/src/a.rs", "struct World; struct Worlds;"), ["World"]);
        assert_eq!(found("nodenet-sim/src/a.rs", "struct World; fn allotted() {}"), [""; 0]);
        assert_eq!(found("nodenet-sim/src/a.rs", "mod space; fn cut() {}"), ["space"]);
    }
}
