//! Persons as subjects of comments: words that stand where a conn, a frame or a peer is meant.

use crate::findings::Finding;
use crate::source::{Tree, comments, identifiers, line_of};

/// Words that name no thing (docs/STYLE.md, rule 2).
const PERSONS: [&str; 3] = ["whoever", "nobody", "somebody"];

/// Violations in the tree.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    tree.with_ending(".rs").filter_map(|(path, text)| of_file(path, text)).collect()
}

fn of_file(path: &str, text: &str) -> Option<Finding> {
    let persons = comments(text).flat_map(|(start, comment)| {
        let is_person = |word: &str| PERSONS.iter().any(|person| word.eq_ignore_ascii_case(person));
        let words = identifiers(comment).filter(move |(_, word)| is_person(word));
        words.map(move |(at, word)| (start + at, word))
    });
    let found: Vec<(usize, &str)> = persons.collect();
    let &(first, word) = found.first()?;
    let count = found.len();
    Some(Finding {
        check: "prose",
        subject: format!("{path} {count}"),
        place: format!("{path}:{}", line_of(text, first)),
        advice: format!(
            "comments name a person {count} times, first `{word}`: name the conn, edge, frame, \
             peer or node (docs/STYLE.md, rule 2)"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let findings = findings(&Tree::planted(&[("a.rs", text)]));
        let shown = |finding: Finding| format!("{} {}", finding.check, finding.place);
        findings.into_iter().map(shown).collect()
    }

    #[test]
    fn a_person_is_found_in_every_kind_of_comment() {
        assert_eq!(found("//! Whoever dials.\n"), ["prose a.rs:1"]);
        assert_eq!(found("\n/// For nobody\nfn f() {}\n"), ["prose a.rs:2"]);
        assert_eq!(found("fn f() {} // of somebody's\n"), ["prose a.rs:1"]);
        assert_eq!(found("/* a /* nested */\nNobody */\n"), ["prose a.rs:2"]);
    }

    #[test]
    fn code_and_strings_are_no_comments() {
        let text = "fn nobody() -> &'static str { \"// whoever\" } // somebodys, a nobody_else\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn the_exception_of_a_file_has_the_number_of_its_persons() {
        let tree = Tree::planted(&[("a.rs", "// nobody, or somebody\n// whoever\n")]);
        assert_eq!(findings(&tree)[0].subject, "a.rs 3");
    }
}
