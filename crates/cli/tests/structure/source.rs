//! A scanner of Rust source code, precise enough to find paths, re-exports and test code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Name(String),
    /// `::`
    PathSeparator,
    Symbol(char),
}

/// The line number of a token, counted from 1, and the token.
pub type Located = (usize, Token);

/// The source files of one crate.
pub struct CrateSource {
    pub name: String,
    pub files: Vec<SourceFile>,
    /// CUDA source files.
    pub kernels: Vec<SourceFile>,
    modules: BTreeSet<String>,
    /// Names in the crate's root that are re-exported, each with the module that it comes from.
    reexports: BTreeMap<String, String>,
}

pub struct SourceFile {
    /// Path relative to the workspace.
    pub path: String,
    /// Components of the path below `src`.
    below_src: Vec<String>,
    pub text: String,
}

impl SourceFile {
    /// The top-level module that contains the file; `None` for the crate's root.
    pub fn module(&self) -> Option<&str> {
        let first = self.below_src.first()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(name, "lib" | "main")).then_some(name)
    }

    pub fn is_test(&self) -> bool {
        let is_test = |part: &String| matches!(part.as_str(), "tests" | "tests.rs" | "proofs.rs");
        self.below_src.iter().any(is_test)
    }

    /// The number of modules from the crate's root down to this file's code.
    fn depth(&self) -> usize {
        let last = self.below_src.last().map_or("", String::as_str);
        self.below_src.len() - usize::from(matches!(last, "mod.rs" | "lib.rs" | "main.rs"))
    }
}

/// Reads the source files of all crates in `crates/`.
pub fn crates(workspace: &Path) -> Vec<CrateSource> {
    let mut names: Vec<String> = std::fs::read_dir(workspace.join("crates"))
        .expect("list the crates")
        .map(|entry| entry.expect("a crate").file_name().to_string_lossy().into_owned())
        .filter(|name| workspace.join("crates").join(name).join("src").is_dir())
        .collect();
    names.sort();
    names.iter().map(|name| CrateSource::read(workspace, name)).collect()
}

impl CrateSource {
    fn read(workspace: &Path, name: &str) -> Self {
        let src = format!("crates/{name}/src");
        let (mut files, mut kernels) = (Vec::new(), Vec::new());
        let mut folders = vec![Vec::new()];
        while let Some(folder) = folders.pop() {
            let path = workspace.join(&src).join(folder.join("/"));
            let mut entries: Vec<_> =
                std::fs::read_dir(path).expect("list a folder").flatten().collect();
            entries.sort_by_key(|entry| entry.file_name());
            for entry in entries {
                let part = entry.file_name().to_string_lossy().into_owned();
                let below_src = [folder.clone(), vec![part.clone()]].concat();
                if entry.path().is_dir() {
                    folders.push(below_src);
                    continue;
                }
                let extension = part.rsplit('.').next().unwrap_or_default();
                let is_kernel = matches!(extension, "cu" | "cuh");
                if is_kernel || extension == "rs" {
                    let text = std::fs::read_to_string(entry.path()).expect("read a source file");
                    let path = format!("{src}/{}", below_src.join("/"));
                    let file = SourceFile { path, below_src, text };
                    if is_kernel { kernels.push(file) } else { files.push(file) }
                }
            }
        }
        Self::new(name, files, kernels)
    }

    /// A crate with the given paths and source texts, for tests of the scanner.
    pub fn of_texts(name: &str, texts: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| SourceFile {
            path: (*path).to_owned(),
            below_src: path.split('/').map(str::to_owned).collect(),
            text: (*text).to_owned(),
        };
        Self::new(name, texts.iter().map(file).collect(), Vec::new())
    }

    fn new(name: &str, files: Vec<SourceFile>, kernels: Vec<SourceFile>) -> Self {
        let modules: BTreeSet<String> =
            files.iter().filter_map(|file| file.module().map(str::to_owned)).collect();
        let mut source = CrateSource {
            name: name.to_owned(),
            files,
            kernels,
            modules,
            reexports: BTreeMap::new(),
        };
        source.reexports = source.root_names();
        source
    }

    /// Names that the crate's root imports from its modules, each with its module.
    fn root_names(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for root in self.files.iter().filter(|file| file.module().is_none()) {
            let tokens = without_tests(tokens(&root.text));
            for at in 0..tokens.len() {
                if tokens[at].1 != Token::Name("use".to_owned()) {
                    continue;
                }
                let (paths, _) = path_tree(&tokens, at + 1);
                for Import { path, name, .. } in paths {
                    let start = usize::from(matches!(path[0].as_str(), "crate" | "self"));
                    let Some(module) = path.get(start).filter(|m| self.modules.contains(*m)) else {
                        continue;
                    };
                    if name == "*" {
                        for item in self.public_items(module) {
                            names.entry(item).or_insert_with(|| module.clone());
                        }
                    } else if name != *module {
                        names.insert(name, module.clone());
                    }
                }
            }
        }
        names
    }

    fn public_items(&self, module: &str) -> Vec<String> {
        let mut items = Vec::new();
        for file in self.files.iter().filter(|file| file.module() == Some(module)) {
            for window in tokens(&file.text).windows(2) {
                if let [(_, Token::Name(keyword)), (_, Token::Name(name))] = window
                    && matches!(
                        keyword.as_str(),
                        "struct" | "enum" | "trait" | "union" | "fn" | "const" | "static" | "type"
                    )
                {
                    items.push(name.clone());
                }
            }
        }
        items
    }

    /// The modules of the crate that a file's code names, with line numbers. `root` stands for
    /// items that the crate's root itself defines.
    pub fn uses(&self, file: &SourceFile) -> Vec<(usize, String)> {
        let tokens = without_tests(tokens(&file.text));
        let mut uses = Vec::new();
        // Brace depths at which inline modules end: inside an inline module, `super` refers to one
        // level deeper.
        let (mut braces, mut inline_modules) = (0, Vec::new());
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at].1 {
                Token::Symbol('{') => {
                    let is_module = at > 1 && tokens[at - 2].1 == Token::Name("mod".to_owned());
                    if is_module {
                        inline_modules.push(braces);
                    }
                    braces += 1;
                }
                Token::Symbol('}') => {
                    braces -= 1;
                    if inline_modules.last() == Some(&braces) {
                        inline_modules.pop();
                    }
                }
                Token::Name(name) if matches!(name.as_str(), "crate" | "super") => {
                    let starts = tokens.get(at + 1).map(|token| &token.1)
                        == Some(&Token::PathSeparator)
                        && (at == 0 || tokens[at - 1].1 != Token::PathSeparator);
                    if starts {
                        let (paths, end) = path_tree(&tokens, at);
                        let depth = file.depth() + inline_modules.len();
                        for Import { path, line, .. } in paths {
                            if let Some(name) = below_root(&path, depth) {
                                uses.push((line, self.module_of(name)));
                            }
                        }
                        at = end;
                        continue;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        uses
    }

    fn module_of(&self, name: &str) -> String {
        if self.modules.contains(name) {
            return name.to_owned();
        }
        self.reexports.get(name).cloned().unwrap_or_else(|| "root".to_owned())
    }
}

/// The first component of a path, relative to the crate's root; `None` if the path does not lead
/// out of the file's top-level module.
fn below_root(path: &[String], depth: usize) -> Option<&str> {
    if path[0] == "crate" {
        return path.get(1).map(String::as_str);
    }
    let supers = path.iter().take_while(|part| *part == "super").count();
    if supers == depth { path.get(supers).map(String::as_str) } else { None }
}

/// One path of a `use` declaration or an expression.
struct Import {
    line: usize,
    path: Vec<String>,
    /// The imported name: the path's last component, the name after `as`, or `*`.
    name: String,
}

/// Parses the path or the tree of paths that starts at token `at`; returns its paths and the
/// position after it.
fn path_tree(tokens: &[Located], mut at: usize) -> (Vec<Import>, usize) {
    let mut path = Vec::new();
    let mut line;
    loop {
        match tokens.get(at).map(|(line, token)| (*line, token)) {
            Some((on, Token::Name(part))) => {
                line = on;
                path.push(part.clone());
                at += 1;
            }
            Some((on, Token::Symbol('*'))) if !path.is_empty() => {
                let import = Import { line: on, path, name: "*".to_owned() };
                return (vec![import], at + 1);
            }
            Some((_, Token::Symbol('{'))) => {
                at += 1;
                let mut imports = Vec::new();
                while at < tokens.len() && tokens[at].1 != Token::Symbol('}') {
                    let (inner, end) = path_tree(tokens, at);
                    for import in inner {
                        let path = [path.clone(), import.path].concat();
                        imports.push(Import { path, ..import });
                    }
                    at = end.max(at + 1);
                    if tokens.get(at).map(|token| &token.1) == Some(&Token::Symbol(',')) {
                        at += 1;
                    }
                }
                return (imports, at + 1);
            }
            _ => return (Vec::new(), at),
        }
        if tokens.get(at).map(|token| &token.1) == Some(&Token::PathSeparator) {
            let follows = tokens.get(at + 1).map(|token| &token.1);
            if matches!(follows, Some(Token::Name(_) | Token::Symbol('*' | '{'))) {
                at += 1;
                continue;
            }
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if tokens.get(at).map(|token| &token.1) == Some(&Token::Name("as".to_owned()))
            && let Some((_, Token::Name(alias))) = tokens.get(at + 1)
        {
            name = alias.clone();
            at += 2;
        }
        return (vec![Import { line, path, name }], at);
    }
}

/// Removes items that are marked with `#[cfg(test)]`.
pub fn without_tests(tokens: Vec<Located>) -> Vec<Located> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let is_marker = |at: usize| {
        marker.iter().enumerate().all(|(offset, expected)| {
            tokens.get(at + offset).is_some_and(|(_, token)| match token {
                Token::Name(name) => name == expected,
                Token::Symbol(symbol) => symbol.to_string() == *expected,
                Token::PathSeparator => false,
            })
        })
    };
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if is_marker(at) {
            at = end_of_item(&tokens, at + marker.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The position after the item's final `;` or closing brace.
fn end_of_item(tokens: &[Located], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some((_, token)) = tokens.get(at) {
        at += 1;
        match token {
            Token::Symbol('{' | '(' | '[') => depth += 1,
            Token::Symbol('}') => {
                depth -= 1;
                let list_follows = tokens.get(at).map(|token| &token.1);
                if depth == 0 && list_follows != Some(&Token::Symbol(';')) {
                    return at;
                }
            }
            Token::Symbol(')' | ']') => depth -= 1,
            Token::Symbol(';' | ',') if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

/// Splits Rust source code into names, `::` and other symbols; drops comments, literals and
/// lifetimes.
pub fn tokens(text: &str) -> Vec<Located> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let start = at;
        let rest = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
        match chars[at] {
            '/' if rest(1) == '/' => at = end_of_line(&chars, at),
            '/' if rest(1) == '*' => at = end_of_block_comment(&chars, at),
            '"' => at = end_of_string(&chars, at),
            'r' | 'b' if is_raw_string(&chars, at) => at = end_of_raw_string(&chars, at),
            '\'' => at = end_of_quote(&chars, at),
            ':' if rest(1) == ':' => {
                found.push((line, Token::PathSeparator));
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                    at += 1;
                }
                found.push((line, Token::Name(chars[start..at].iter().collect())));
            }
            c => {
                if !c.is_whitespace() {
                    found.push((line, Token::Symbol(c)));
                }
                at += 1;
            }
        }
        let end = at.min(chars.len());
        line += chars[start..end].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().take_while(|c| **c != '\n').count()
}

fn end_of_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Whether a raw string literal starts here: `r"..."`, `r#"..."#` or `br"..."`.
fn is_raw_string(chars: &[char], at: usize) -> bool {
    let after_prefix = at + if chars[at] == 'b' && chars.get(at + 1) == Some(&'r') { 2 } else { 1 };
    let raw = chars[after_prefix - 1] == 'r';
    let first_other = chars[after_prefix..].iter().find(|c| **c != '#');
    let continues_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    raw && !continues_name && first_other == Some(&'"')
}

fn end_of_raw_string(chars: &[char], mut at: usize) -> usize {
    while chars[at] != '#' && chars[at] != '"' {
        at += 1;
    }
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    at += hashes + 1;
    while at < chars.len() {
        let closes = chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

/// The position after a character literal, or after the quote that begins a lifetime.
fn end_of_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            // The character after a backslash is never the closing quote.
            at + 3
                + chars[(at + 3).min(chars.len())..].iter().take_while(|c| **c != '\'').count()
                + 1
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}
