//! Source files of the repository, and Rust text with comments, literals and test code blanked.
//!
//! Blanking writes spaces and keeps line ends, so an offset means the same in the text and in the
//! code. This is not a parser: it covers only the syntax that the checks need.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Features that compile code only for tests, fuzzing and measurements.
const TEST_FEATURES: [&str; 3] = ["\"testkit\"", "\"fuzzing\"", "\"bench-internals\""];

/// The repository: paths from its root, and the text of the `.rs` and `.md` files.
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the repository at `root`, without build output.
    pub(crate) fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder of the repository is readable") {
                let path = entry.expect("an entry of a folder is readable").path();
                let inside = path.strip_prefix(root).expect("the path is below the root");
                let name = inside.to_str().expect("the name is UTF-8").replace('\\', "/");
                if path.is_dir() {
                    let skipped = name == ".git" || name == "target" || name.ends_with("/target");
                    folders.extend((!skipped).then_some(path));
                } else {
                    let is_read = name.ends_with(".rs") || name.ends_with(".md");
                    let read = || fs::read_to_string(&path).expect("a source file is UTF-8");
                    files.insert(name, if is_read { read() } else { String::new() });
                }
            }
        }
        Self { files }
    }

    /// A repository with these files, for tests of the checks.
    pub(crate) fn planted(files: &[(&str, &str)]) -> Self {
        let owned = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self { files: files.iter().map(owned).collect() }
    }

    /// The files whose name ends so, with their text.
    pub(crate) fn with_ending<'t>(
        &'t self,
        ending: &'t str,
    ) -> impl Iterator<Item = (&'t str, &'t str)> + 't {
        let files = self.files.iter().filter(move |(path, _)| path.ends_with(ending));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// The number of the line that `at` is on.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// `text` with comments, strings and characters blanked.
pub(crate) fn code_of(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let length = literal_length(text.as_bytes(), at);
        blank(&mut bytes[at..at + length]);
        at += length.max(1);
    }
    String::from_utf8(bytes).expect("whole literals are blanked")
}

/// The comments of `text`, each with its offset.
pub(crate) fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        while at < text.len() {
            let (start, length) = (at, literal_length(text.as_bytes(), at));
            at += length.max(1);
            let literal = &text.as_bytes()[start..start + length];
            if literal.starts_with(b"//") || literal.starts_with(b"/*") {
                return Some((start, &text[start..start + length]));
            }
        }
        None
    })
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// The length of the comment or literal that begins at `at`, or 0.
fn literal_length(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_length(rest),
        [b'"', ..] => quoted_length(rest, b'"'),
        [b'r', b'#' | b'"', ..] => raw_string_length(rest),
        [b'\'', b'\\', ..] => quoted_length(rest, b'\''),
        [b'\'', first, ..] => {
            let width = first.leading_ones().max(1) as usize;
            if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" if depth == 1 => return at + 2,
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of `r#"…"#`, or 0 if it is a raw identifier.
fn raw_string_length(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end: Vec<u8> = [b'"'].into_iter().chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = hashes + 2;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |found| body + found + end.len())
}

/// `code` with the items blanked that only tests, fuzzing and measurements compile.
pub(crate) fn without_tests(text: &str, code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for (at, _) in code.match_indices("cfg(") {
        let before = code[..at].trim_end();
        let predicate = &text[at..=closing(code, at + 3)];
        if !is_for_tests(predicate) {
            continue;
        }
        if before.ends_with("#![") {
            blank(&mut bytes);
        } else if before.ends_with("#[") {
            let end = item_end(code, at);
            blank(&mut bytes[at..end]);
        }
    }
    String::from_utf8(bytes).expect("whole items are blanked")
}

fn is_for_tests(predicate: &str) -> bool {
    let is_test = identifiers(predicate).any(|(_, name)| name == "test");
    let is_feature = TEST_FEATURES.iter().any(|feature| predicate.contains(feature));
    (is_test || is_feature) && !predicate.contains("not(")
}

/// Where the item ends whose attribute has `at` in it.
fn item_end(code: &str, at: usize) -> usize {
    let mut at = at;
    // The rest of this attribute, and further ones.
    loop {
        at += code[at..].find(']').expect("an attribute is closed") + 1;
        let rest = code[at..].trim_start();
        if !rest.starts_with("#[") {
            break;
        }
    }
    // A field, a variant or an arm ends at a comma, an item may have some in its generics.
    const ITEMS: [&str; 15] = [
        "pub", "fn", "mod", "use", "impl", "struct", "enum", "const", "static", "type", "trait",
        "extern", "unsafe", "async", "let",
    ];
    let is_item = identifiers(&code[at..]).next().is_some_and(|(_, name)| ITEMS.contains(&name));
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' => at = closing(code, at),
            b'{' if code[..at].trim_end().ends_with("::") => at = closing(code, at),
            b'{' => return closing(code, at) + 1,
            b';' => return at + 1,
            b',' if !is_item => return at + 1,
            b'}' => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The offset of the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (length, byte) in code[open..].bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 1 => return open + length,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len() - 1
}

/// The identifiers, keywords and numbers of `code`, each with its offset.
pub(crate) fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let bytes = code.as_bytes();
    let starts = (0..bytes.len())
        .filter(move |at| is_part(bytes[*at]) && (*at == 0 || !is_part(bytes[*at - 1])));
    starts.map(move |at| {
        let length = bytes[at..].iter().take_while(|byte| is_part(**byte)).count();
        (at, &code[at..at + length])
    })
}

/// A name that `code` defines, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Definition<'c> {
    pub(crate) keyword: &'c str,
    pub(crate) name: &'c str,
    pub(crate) at: usize,
}

/// Functions, types, modules and constants, and the variants and fields of the types.
pub(crate) fn definitions(code: &str) -> Vec<Definition<'_>> {
    const KEYWORDS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "mod", "const", "static"];
    let names: Vec<(usize, &str)> = identifiers(code).collect();
    let mut found = Vec::new();
    for pair in names.windows(2) {
        let [(start, keyword), (at, name)] = [pair[0], pair[1]];
        let is_next = code[start + keyword.len()..at].trim().is_empty();
        let is_name = !["fn", "unsafe", "mut", "async", "extern"].contains(&name);
        let is_lifetime = code[..start].ends_with('\'');
        if KEYWORDS.contains(&keyword) && is_next && is_name && !is_lifetime {
            found.push(Definition { keyword, name, at });
            if ["struct", "enum"].contains(&keyword) {
                found.extend(members(code, at, keyword == "struct"));
            }
        }
    }
    found
}

/// The fields or variants of the type whose name stands at `at`.
fn members(code: &str, at: usize, is_struct: bool) -> Vec<Definition<'_>> {
    let bytes = code.as_bytes();
    let Some(open) = (at..code.len()).find(|at| matches!(bytes[*at], b'{' | b';')) else {
        return Vec::new();
    };
    let end = if bytes[open] == b'{' { closing(code, open) } else { open };
    let mut found = Vec::new();
    let mut at = open + 1;
    while at < end {
        let rest = &code[at..];
        match bytes[at] {
            byte if byte.is_ascii_whitespace() => at += 1,
            b'#' => at = closing(code, at + 1) + 1,
            _ if rest.starts_with("pub(") => at = closing(code, at + 3) + 1,
            _ if rest.starts_with("pub ") => at += 4,
            _ => {
                let keyword = if is_struct { "field" } else { "variant" };
                let first = identifiers(rest).next().filter(|(start, _)| *start == 0);
                found.extend(first.map(|(_, name)| Definition { keyword, name, at }));
                at = member_end(code, at, is_struct);
            }
        }
    }
    found
}

/// Behind the comma that ends the member at `at`, or at the bracket that ends the list.
fn member_end(code: &str, at: usize, is_struct: bool) -> usize {
    let bytes = code.as_bytes();
    let (mut at, mut angles) = (at, 0_i32);
    loop {
        match bytes[at] {
            b'(' | b'[' | b'{' => at = closing(code, at),
            b'<' if is_struct => angles += 1,
            b'>' if is_struct && !matches!(bytes[at - 1], b'-' | b'=') => angles -= 1,
            b',' if angles == 0 => return at + 1,
            b'}' => return at,
            _ => {}
        }
        at += 1;
    }
}
