//! Links in the documents that lead to files and headings of the repository.

use std::collections::BTreeSet;

use crate::findings::Finding;
use crate::source::Tree;

/// Violations in the tree.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(".md") {
        for (line, target) in links(text) {
            let fault = fault(tree, path, target);
            found.extend(fault.map(|fault| Finding {
                check: "link",
                subject: format!("{path} {target}"),
                place: format!("{path}:{line}"),
                advice: format!("the link to {target} leads nowhere: {fault}"),
            }));
        }
    }
    found
}

/// The fault of a link to `target` in the document `path`.
fn fault(tree: &Tree, path: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { Some(path.to_owned()) } else { beside(path, file) };
    let Some(file) = file else { return Some("it leaves the repository".to_owned()) };
    let folder = format!("{file}/");
    let Some(text) = tree.files.get(&file) else {
        let is_folder = file.is_empty() || tree.files.keys().any(|path| path.starts_with(&folder));
        return (!is_folder || !anchor.is_empty()).then(|| format!("there is no {file}"));
    };
    if anchor.is_empty() || has_anchor(&file, text, anchor) {
        return None;
    }
    Some(format!("{file} has no #{anchor}"))
}

/// The path of `target`, relative to the document at `path`; `None` if it is outside.
fn beside(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            "" => return None,
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether a document has the heading or the anchor, or a source file the line.
fn has_anchor(file: &str, text: &str, anchor: &str) -> bool {
    if file.ends_with(".md") {
        let is_mark = |key: &str| text.contains(&format!("{key}=\"{anchor}\""));
        return headings(text).contains(anchor) || is_mark("id") || is_mark("name");
    }
    let lines = text.lines().count();
    let line = |mark: &str| mark.strip_prefix('L').and_then(|line| line.parse::<usize>().ok());
    anchor.split('-').all(|mark| line(mark).is_some_and(|line| (1..=lines).contains(&line)))
}

/// The anchors that GitHub makes of headings.
fn headings(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let letters = without_targets(title.trim()).to_lowercase();
        let letters = letters.chars().map(|letter| if letter == ' ' { '-' } else { letter });
        let is_kept = |letter: &char| letter.is_alphanumeric() || ['-', '_'].contains(letter);
        let anchor: String = letters.filter(is_kept).collect();
        let names = (0..).map(|n| if n == 0 { anchor.clone() } else { format!("{anchor}-{n}") });
        let free = names.into_iter().find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// `[text](target)` becomes `[text]`.
fn without_targets(title: &str) -> String {
    let mut parts = title.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| kept + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// The numbered lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

/// The targets of links and of definitions of links, with their lines.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every second part is code.
        for part in line.split('`').step_by(2) {
            let targets = part.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(|target| (number, target)));
        }
        let definition = line.starts_with('[').then(|| line.split_once("]: ")).flatten();
        found.extend(definition.map(|(_, target)| (number, target)));
    }
    let path = |target: &'_ str| target.trim().len();
    found.retain(|(_, target)| path(target) > 0);
    found.iter_mut().for_each(|(_, target)| *target = bare(target));
    found
}

/// A target without a title and brackets.
fn bare(target: &str) -> &str {
    let target = target.split_whitespace().next().unwrap_or_default();
    target.trim_start_matches('<').trim_end_matches('>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let other =
            "# A `head` of\n## Two, words\n## Two words\n```\n# none\n```\n<a id=\"E1\"></a>";
        let files = [("docs/a.md", text), ("docs/b.md", other), ("src/c.rs", "//\n//\n")];
        let findings = findings(&Tree::planted(&files));
        findings.into_iter().map(|finding| finding.subject.replace("docs/a.md ", "")).collect()
    }

    #[test]
    fn links_to_files_folders_headings_marks_and_lines_hold() {
        let text = "# Own\n[a](b.md) [b](../src/c.rs) [c](../src/) [d](#own) [e](b.md#a-head-of) \
                    [f](b.md#two-words-1) [g](b.md#E1) [h](../src/c.rs#L1-L2) `[i](none)` \
                    [j](https://example.org/none) [k](<b.md> \"title\")\n\
                    [l]: b.md\n```\n[m](none)\n```\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text = "[a](none.md) [`b`](b.md#none) [c](#own) [d](../../e) [e](/src/c.rs)\n\
                    [f](../src/c.rs#L3) [g](../sr)\n[h]: none.md#x\n";
        let expected = [
            "none.md",
            "b.md#none",
            "#own",
            "../../e",
            "/src/c.rs",
            "../src/c.rs#L3",
            "../sr",
            "none.md#x",
        ];
        assert_eq!(found(text), expected);
    }
}
