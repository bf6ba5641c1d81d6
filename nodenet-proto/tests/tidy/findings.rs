//! Findings of the checks, and the list of exceptions.

use std::collections::{BTreeMap, BTreeSet};

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    /// The violated rule and its place, without line numbers: the entry in the list of exceptions.
    pub(crate) subject: String,
    /// File and line.
    pub(crate) place: String,
    /// The fault and its repair.
    pub(crate) advice: String,
}

impl Finding {
    fn entry(&self) -> String {
        format!("{} {}", self.check, self.subject)
    }
}

/// Head of the list.
const HEAD: &str = "\
# Violations of nodenet-proto/tests/tidy.rs that are still there, one a line. The list only shrinks:
# an entry without its violation fails the test. TIDY_WRITE=1 writes the list anew; the difference
# then shows what was added, and each added line needs a reason in the commit.
";

/// The entries of a list of exceptions.
pub(crate) fn parse_list(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The list that has exactly these violations as exceptions.
pub(crate) fn write_list(findings: &[Finding]) -> String {
    let entries: BTreeSet<String> = findings.iter().map(Finding::entry).collect();
    entries.iter().fold(HEAD.to_owned(), |list, entry| list + entry + "\n")
}

/// Failures of the test: violations that are no exceptions, and exceptions that are not needed.
pub(crate) fn complaints(findings: &[Finding], exceptions: &BTreeSet<String>) -> Vec<String> {
    let found: BTreeSet<String> = findings.iter().map(Finding::entry).collect();
    let new = findings.iter().filter(|finding| !exceptions.contains(&finding.entry()));
    let new = new.map(|Finding { check, subject, place, advice }| {
        format!("{place}: {check}: {advice}\n    (as an exception: {check} {subject})")
    });
    let unneeded = exceptions.difference(&found);
    let unneeded = unneeded.map(|entry| {
        format!(
            "tidy/exceptions.txt: the exception is not needed any more: {entry}\n    \
             Delete the line, or write the list anew with TIDY_WRITE=1."
        )
    });
    new.chain(unneeded).collect()
}

/// Number of violations of each check.
pub(crate) fn counts(findings: &[Finding]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    findings.iter().for_each(|finding| *counts.entry(finding.check).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(check, n)| format!("{check} {n}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            check: "length",
            subject: "a.rs 551".to_owned(),
            place: "a.rs:551".to_owned(),
            advice: "the file has 551 lines".to_owned(),
        }
    }

    #[test]
    fn a_violation_fails_unless_it_is_an_exception() {
        let listed = parse_list("# a comment\n\nlength a.rs 551\n");
        assert_eq!(complaints(&[finding()], &listed), [""; 0]);
        let [complaint] = complaints(&[finding()], &BTreeSet::new()).try_into().unwrap();
        assert!(complaint.starts_with("a.rs:551: length: the file has 551 lines"), "{complaint}");
    }

    #[test]
    fn an_exception_without_its_violation_fails() {
        let listed = parse_list("length a.rs 552\n");
        let complaints = complaints(&[finding()], &listed);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[1].contains("not needed any more: length a.rs 552"), "{complaints:?}");
    }

    #[test]
    fn a_list_that_was_written_holds() {
        let list = write_list(&[finding(), finding()]);
        assert_eq!(parse_list(&list).len(), 1);
        assert_eq!(complaints(&[finding()], &parse_list(&list)), [""; 0]);
    }
}
