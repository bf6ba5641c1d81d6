//! Lints of the source tree that no compiler has: floors, circles, sizes, names, prose, links.
//!
//! Each check is a module with its own rules and tests. Violations that are still there are listed
//! in `tidy/exceptions.txt`; the list must match exactly, so it only shrinks.
//!
//! `TIDY_WRITE=1 cargo test -p nodenet-proto --test tidy` writes the list anew.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/findings.rs"]
mod findings;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use findings::{complaints, counts, parse_list, write_list};
use source::Tree;

#[test]
fn the_tree_keeps_its_rules_but_for_the_listed_exceptions() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = Tree::read(package.parent().expect("the package is in the workspace"));
    let checks =
        [floors::findings, circles::findings, sizes::findings, names::findings, prose::findings];
    let mut found: Vec<_> = checks.iter().flat_map(|check| check(&tree)).collect();
    found.extend(links::findings(&tree));

    let list = package.join("tests/tidy/exceptions.txt");
    if std::env::var_os("TIDY_WRITE").is_some_and(|value| value == "1") {
        fs::write(&list, write_list(&found)).expect("the list of exceptions is writable");
    }
    let listed = parse_list(&fs::read_to_string(&list).expect("the list of exceptions is there"));
    println!("{} exceptions: {}", listed.len(), counts(&found));
    let complaints = complaints(&found, &listed);
    assert!(complaints.is_empty(), "{}\n\n{} in all", complaints.join("\n"), complaints.len());
}
