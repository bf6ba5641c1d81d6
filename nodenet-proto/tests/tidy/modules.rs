//! Module graph of a crate: its modules and the paths that each uses.
//!
//! A path is followed through re-exports to the file that defines its item. Test code is left out:
//! its modules are not in the tree and its paths are not read.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Tree, closing, code_of, definitions, identifiers, line_of, without_tests};

/// A module by the names on the way to it; the root has none.
pub(crate) type ModulePath = Vec<String>;

/// A path that a module uses, from the root of its crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// The name in a `use`; `*` stands for all items in `path`, the empty name for a path in the
    /// code.
    pub(crate) name: String,
    pub(crate) is_public: bool,
}

/// One file.
pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) imports: Vec<Import>,
    defined: BTreeSet<String>,
}

/// A library or a program.
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    /// The crate whose root is this file; a crate without modules if there is no such file.
    pub(crate) fn read(tree: &Tree, root: &str) -> Self {
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut modules = BTreeMap::new();
        let mut open = vec![(ModulePath::new(), root.to_owned())];
        while let Some((path, file)) = open.pop() {
            let Some(text) = tree.files.get(&file) else { continue };
            let code = without_tests(text, &code_of(text));
            let defined = definitions(&code);
            for module in defined.iter().filter(|item| item.keyword == "mod") {
                let child = [path.as_slice(), &[module.name.to_owned()]].concat();
                let stem = format!("{folder}/{}", child.join("/"));
                let files = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
                let is_file = |file: &String| tree.files.contains_key(file);
                open.extend(files.into_iter().find(is_file).map(|file| (child, file)));
            }
            let defined = defined.iter().map(|item| item.name.to_owned()).collect();
            let imports = imports(&code, &path);
            modules.insert(path, Module { file, imports, defined });
        }
        let mut read = Self { modules };
        read.drop_external_paths();
        read
    }

    /// A path whose first name is no module here begins with another crate or with an item.
    fn drop_external_paths(&mut self) {
        let known: BTreeSet<ModulePath> = self.modules.keys().cloned().collect();
        for (here, module) in &mut self.modules {
            module.imports.retain_mut(|import| {
                if import.path.first().is_none_or(|first| first != "?") {
                    return true;
                }
                import.path = [here.as_slice(), &import.path[1..]].concat();
                known.contains(&import.path[..=here.len()])
            });
        }
    }

    /// The module that defines the item at `path`.
    pub(crate) fn resolve(&self, path: &[String]) -> ModulePath {
        self.follow(path, 16)
    }

    fn follow(&self, path: &[String], steps: usize) -> ModulePath {
        let mut here = 0;
        while here < path.len() && self.modules.contains_key(&path[..=here]) {
            here += 1;
        }
        let found = path[..here].to_vec();
        let Some(module) = self.modules.get(&found) else { return found };
        let Some(name) = path.get(here) else { return found };
        if steps == 0 || module.defined.contains(name) {
            return found;
        }
        if let Some(import) = module.imports.iter().find(|import| import.name == *name) {
            let onwards = [import.path.as_slice(), &path[here + 1..]].concat();
            return if onwards == path { found } else { self.follow(&onwards, steps - 1) };
        }
        let globs = module.imports.iter().filter(|import| import.name == "*");
        let targets = globs.map(|import| self.follow(&import.path, steps - 1));
        let defines = |at: &ModulePath| {
            self.modules.get(at).is_some_and(|module| module.defined.contains(name))
        };
        targets.into_iter().find(defines).unwrap_or(found)
    }
}

/// The paths in the code of the module `here`. A first name of `?` stands for a path that begins
/// with a name rather than with `crate`, `self` or `super`.
fn imports(code: &str, here: &[String]) -> Vec<Import> {
    let mut found = Vec::new();
    let mut read_to = 0;
    let inline = inline_modules(code);
    for (at, first) in identifiers(code) {
        let before = code[..at].trim_end();
        let is_restriction = before.ends_with("pub(in") || before.ends_with("pub (in");
        if at < read_to || before.ends_with("::") || is_restriction {
            continue;
        }
        let around = inline.iter().filter(|(_, open, close)| (*open..*close).contains(&at));
        let names = around.map(|(name, ..)| (*name).to_owned());
        let scope: Vec<String> = here.iter().cloned().chain(names).collect();
        let mut push = |path: &[&str], name: &str, is_public| {
            let line = line_of(code, at);
            let path = absolute(path, &scope);
            found.extend(path.map(|path| Import { line, path, name: name.to_owned(), is_public }));
        };
        let rest = &code[at + first.len()..];
        if first == "use" && rest.starts_with(char::is_whitespace) {
            let end = at + code[at..].find(';').expect("a use ends with a semicolon");
            let is_public = before.ends_with("pub") || is_visibility(before);
            use_tree(&code[at + 3..end], &mut Vec::new(), &mut |path, name| {
                push(path, name, is_public);
            });
            read_to = end;
        } else if rest.starts_with("::") && !rest.starts_with("::<") {
            let path = inline_path(&code[at..]);
            push(&path, "", false);
        }
    }
    found
}

/// Whether `before` ends with `pub(…)`.
fn is_visibility(before: &str) -> bool {
    before.ends_with(')') && before.rfind('(').is_some_and(|open| before[..open].ends_with("pub"))
}

/// The modules with a body in this file: name, and where the body begins and ends.
fn inline_modules(code: &str) -> Vec<(&str, usize, usize)> {
    let modules = definitions(code).into_iter().filter(|item| item.keyword == "mod");
    let bodies = modules.filter_map(|item| {
        let open = item.at + item.name.len();
        let brace = open + code[open..].find(|letter: char| !letter.is_whitespace())?;
        code[brace..].starts_with('{').then(|| (item.name, brace, closing(code, brace)))
    });
    bodies.collect()
}

/// `a::b::C` at the beginning of `code`.
fn inline_path(code: &str) -> Vec<&str> {
    let mut path = Vec::new();
    let mut rest = code;
    while let Some((0, name)) = identifiers(rest).next() {
        path.push(name);
        let Some(next) = rest[name.len()..].strip_prefix("::") else { break };
        rest = next;
    }
    path
}

/// Calls `push` with each path of the tree behind `use` and the name it gets.
fn use_tree<'c>(tree: &'c str, prefix: &mut Vec<&'c str>, push: &mut dyn FnMut(&[&str], &str)) {
    let tree = tree.trim().trim_start_matches("::");
    let depth = prefix.len();
    if let Some(list) = tree.strip_prefix('{') {
        let list = list.trim_end().strip_suffix('}').expect("a list of imports is closed");
        split_list(list).for_each(|part| use_tree(part, prefix, push));
    } else if tree == "*" {
        push(prefix, "*");
    } else if let Some((first, rest)) = tree.split_once("::") {
        prefix.push(first.trim());
        use_tree(rest, prefix, push);
    } else if !tree.is_empty() {
        let (item, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        if item.trim() != "self" || prefix.is_empty() {
            prefix.push(item.trim());
        }
        let last = prefix.last().copied().unwrap_or_default();
        push(prefix, if name.trim() == "self" { last } else { name.trim() });
    }
    prefix.truncate(depth);
}

/// The parts of `list` between its outer commas.
fn split_list(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    list.split(move |letter| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    })
}

/// `path`, used in the module `scope`, from the root of the crate.
fn absolute(path: &[&str], scope: &[String]) -> Option<Vec<String>> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (first, rest) = path.split_first()?;
    match *first {
        "crate" => Some(owned(rest)),
        "self" | "super" => {
            let ups = path.iter().filter(|name| **name == "super").count();
            let kept = scope.len().checked_sub(ups)?;
            let names = path.iter().copied().filter(|name| !["self", "super"].contains(name));
            Some([&scope[..kept], &owned(&names.collect::<Vec<_>>())].concat())
        }
        _ => Some([&owned(&["?"]), owned(path).as_slice()].concat()),
    }
}
