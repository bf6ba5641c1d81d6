//! Regression tests of the fuzz corpora: every committed input runs through the body of its target.

use std::fs;
use std::path::{Path, PathBuf};

use super::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_input_passes_its_target() {
    for (name, body) in TARGETS {
        let inputs = entries(&corpora().join(name));
        assert!(!inputs.is_empty(), "the corpus of {name} is empty");
        for path in inputs {
            let input = fs::read(&path).expect("readable");
            // If the body panics, this line says which input it was.
            println!("{}", path.display());
            body(&input);
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    for dir in entries(&corpora()) {
        let name = dir.file_name().and_then(|name| name.to_str()).expect("named in ASCII");
        assert!(
            TARGETS.iter().any(|(known, _)| *known == name),
            "no target runs {}",
            dir.display()
        );
    }
}
