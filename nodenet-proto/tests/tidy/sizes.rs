//! Lengths of files and functions, and widths of lines.

use crate::findings::Finding;
use crate::source::{Tree, closing, code_of, definitions, line_of};

/// Lines of a file.
const FILE_LINES_MAX: usize = 550;
/// Lines of a function from `fn` to its last brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line.
const LINE_WIDTH_MAX: usize = 100;

/// Violations in the tree.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let files = tree.with_ending(".rs");
    files
        .flat_map(|(path, text)| {
            [file(path, text), functions(path, text), lines(path, text)].concat()
        })
        .collect()
}

fn file(path: &str, text: &str) -> Vec<Finding> {
    let length = text.lines().count();
    let finding = Finding {
        check: "length",
        subject: format!("{path} {length}"),
        place: format!("{path}:{length}"),
        advice: format!(
            "the file has {length} lines, {FILE_LINES_MAX} at most: split it by subject"
        ),
    };
    Vec::from_iter((length > FILE_LINES_MAX).then_some(finding))
}

fn functions(path: &str, text: &str) -> Vec<Finding> {
    let code = code_of(text);
    let functions = definitions(&code).into_iter().filter(|item| item.keyword == "fn");
    let findings = functions.filter_map(|item| {
        let mut end = item.at;
        while !matches!(code.as_bytes().get(end)?, b'{' | b';') {
            let is_list = matches!(code.as_bytes()[end], b'(' | b'[');
            end = if is_list { closing(&code, end) + 1 } else { end + 1 };
        }
        let end = if code.as_bytes()[end] == b'{' { closing(&code, end) } else { end };
        let line = line_of(&code, item.at);
        let length = line_of(&code, end) - line + 1;
        let name = item.name;
        (length > FUNCTION_LINES_MAX).then(|| Finding {
            check: "function",
            subject: format!("{path} {name} {length}"),
            place: format!("{path}:{line}"),
            advice: format!(
                "`{name}` has {length} lines, {FUNCTION_LINES_MAX} at most: give a step a name"
            ),
        })
    });
    findings.collect()
}

fn lines(path: &str, text: &str) -> Vec<Finding> {
    let numbered = text.lines().enumerate();
    let mut wide = numbered.filter(|(_, line)| line.chars().count() > LINE_WIDTH_MAX);
    let Some((first, _)) = wide.next() else { return Vec::new() };
    let count = 1 + wide.count();
    let place = format!("{path}:{}", first + 1);
    let advice = format!(
        "{count} lines are wider than {LINE_WIDTH_MAX} characters, this is the first: break them"
    );
    vec![Finding { check: "width", subject: format!("{path} {count}"), place, advice }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let findings = findings(&Tree::planted(&[("a.rs", text)]));
        let shown = |finding: Finding| format!("{} {}", finding.check, finding.subject);
        findings.into_iter().map(shown).collect()
    }

    #[test]
    fn a_file_of_551_lines_is_too_long() {
        assert_eq!(found(&"//\n".repeat(550)), [""; 0]);
        assert_eq!(found(&"//\n".repeat(551)), ["length a.rs 551"]);
    }

    #[test]
    fn a_function_of_71_lines_is_too_long() {
        let function = |inner: usize| {
            let body = "    // }\n".repeat(inner);
            format!("trait T {{\n    fn a(b: [u8; 2]);\n}}\nconst fn b(\n) -> u8 {{\n{body}}}\n")
        };
        assert_eq!(found(&function(67)), [""; 0]);
        assert_eq!(found(&function(68)), ["function a.rs b 71"]);
    }

    #[test]
    fn a_line_of_101_characters_is_too_wide() {
        let line = |width: usize| format!("// {}\n", "ß".repeat(width - 3));
        assert_eq!(found(&line(100)), [""; 0]);
        assert_eq!(found(&(line(101) + &line(102) + &line(99))), ["width a.rs 2"]);
    }
}
