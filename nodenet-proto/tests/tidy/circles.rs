//! Import cycles: modules of a crate that use each other directly or through others.
//!
//! Uses of a module's own descendants do not count, and neither does `mod`: a parent consists of
//! its children, and a child may use items of its parent.

use std::collections::{BTreeMap, BTreeSet};

use crate::findings::Finding;
use crate::modules::{Crate, ModulePath};
use crate::source::Tree;

/// The libraries and programs that are checked.
const ROOTS: [&str; 5] = [
    "nodenet-proto/src/lib.rs",
    "nodenet-tokio/src/lib.rs",
    "nodenet-tokio/src/bin/nodenet/main.rs",
    "nodenet-sim/src/lib.rs",
    "nodenet-sim/src/bin/nodenet-sim/main.rs",
];

/// Violations in the tree.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    ROOTS.into_iter().flat_map(|root| of_crate(&Crate::read(tree, root), root)).collect()
}

fn of_crate(read: &Crate, root: &str) -> Vec<Finding> {
    let mut arrows: BTreeMap<(ModulePath, ModulePath), usize> = BTreeMap::new();
    for (here, module) in &read.modules {
        for import in &module.imports {
            let target = read.resolve(&import.path);
            if !target.starts_with(here) {
                arrows.entry((here.clone(), target)).or_insert(import.line);
            }
        }
    }
    let finding = |circle: Vec<(ModulePath, ModulePath)>| {
        let place = |arrow: &(ModulePath, ModulePath)| {
            format!("{}:{}", read.modules[&arrow.0].file, arrows[arrow])
        };
        let name = |path: &ModulePath| {
            if path.is_empty() { "(root)".to_owned() } else { path.join("/") }
        };
        let members: BTreeSet<String> = circle.iter().map(|(from, _)| name(from)).collect();
        let members: Vec<String> = members.into_iter().collect();
        let uses = |arrow| format!("\n    {} uses {}", place(arrow), name(&arrow.1));
        Finding {
            check: "circle",
            subject: format!("{root}: {}", members.join(" ")),
            place: place(&circle[0]),
            advice: format!(
                "{} modules use each other in a circle: move what both sides need below them{}",
                members.len(),
                circle.iter().map(uses).collect::<String>()
            ),
        }
    };
    circles(arrows.keys().cloned()).into_iter().map(finding).collect()
}

/// The arrows of each circle: those between nodes that can be reached from each other.
pub(crate) fn circles<N: Ord + Clone>(arrows: impl Iterator<Item = (N, N)>) -> Vec<Vec<(N, N)>> {
    let arrows: Vec<(N, N)> = arrows.collect();
    let mut next: BTreeMap<&N, Vec<&N>> = BTreeMap::new();
    arrows.iter().for_each(|(from, to)| next.entry(from).or_default().push(to));
    let reach = |start| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(node) = open.pop() {
            let new = next.get(node).into_iter().flatten().filter(|node| reached.insert(**node));
            open.extend(new.collect::<Vec<_>>());
        }
        reached
    };
    let reached: BTreeMap<&N, BTreeSet<&N>> =
        next.keys().map(|node| (*node, reach(*node))).collect();
    let mut done = BTreeSet::new();
    let mut found = Vec::new();
    for (node, around) in reached.iter().filter(|(node, around)| around.contains(*node)) {
        let is_back = |other: &&&N| reached.get(*other).is_some_and(|back| back.contains(*node));
        let circle: BTreeSet<&N> = around.iter().filter(is_back).copied().collect();
        if circle.iter().all(|node| done.insert(*node)) {
            let inside = |(from, to): &&(N, N)| circle.contains(from) && circle.contains(to);
            found.push(arrows.iter().filter(inside).cloned().collect());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, &str)> =
            files.iter().map(|(name, text)| (format!("nodenet-sim/src/{name}"), *text)).collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let found = findings(&Tree::planted(&files));
        let root = "nodenet-sim/src/lib.rs: ";
        found.into_iter().map(|finding| finding.subject.replace(root, "")).collect()
    }

    #[test]
    fn a_circle_through_three_files_and_a_re_export_is_found() {
        let files = [
            ("lib.rs", "mod run; mod scenario; mod report; pub use report::Report;"),
            ("run.rs", "use crate::scenario::Scenario; pub struct Run;"),
            ("scenario.rs", "pub struct Scenario(crate::Report);"),
            ("report/mod.rs", "mod row; pub(crate) use row::*;"),
            ("report/row.rs", "use crate::run; pub struct Report;"),
        ];
        assert_eq!(subjects(&files), ["report/row run scenario"]);
    }

    #[test]
    fn a_parent_and_its_child_are_no_circle() {
        let files = [
            ("lib.rs", "mod world; use world::World; pub struct Time;"),
            (
                "world/mod.rs",
                "mod net; use self::net::Net; pub struct World(Net); use crate::Time;",
            ),
            ("world/net.rs", "use super::World; pub struct Net; impl World {}"),
        ];
        assert_eq!(subjects(&files), [""; 0]);
    }

    #[test]
    fn siblings_that_use_each_other_through_their_parent_are_a_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; use a::A; use b::B;"),
            ("a.rs", "use super::B; pub struct A;"),
            ("b.rs", "#[cfg(test)]\nuse crate::c;\nuse super::A; pub struct B;"),
        ];
        assert_eq!(subjects(&files), ["a b"]);
        let files =
            [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b;"), ("b.rs", "// crate::a")];
        assert_eq!(subjects(&files), [""; 0]);
    }
}
