//! The source tree as text: files, their modules, and their code without comments and tests.
//!
//! It relies on rustfmt's layout (an item ends with a brace in the column where it began) and is no
//! parser of Rust.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Its path from the root of the repository.
    pub(crate) path: String,
    /// Its module below the crate, for example `["proxy", "exchange"]`; empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    /// Its text.
    pub(crate) text: String,
    /// Whether it belongs to a `#[cfg(test)]` module.
    pub(crate) test: bool,
}

/// One line of code, comments taken off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) code: &'a str,
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of the library and the program.
pub(crate) fn sources() -> Vec<File> {
    let mut files: Vec<File> = rust_files("src").into_iter().map(File::read).collect();
    let tests: BTreeSet<Vec<String>> = files.iter().flat_map(File::test_modules).collect();
    for file in &mut files {
        file.test = (1..=file.module.len()).any(|length| tests.contains(&file.module[..length]));
    }
    assert!(files.len() > 50 && files.iter().any(|file| file.test), "the sources were not found");
    files
}

/// Every Rust file below a folder of the repository, sorted.
pub(crate) fn rust_files(folder: &str) -> Vec<String> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

impl File {
    fn read(path: String) -> Self {
        let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        module.pop_if(|last| *last == "mod");
        if module == ["lib"] || module == ["main"] {
            module.clear();
        }
        Self { text: read(&path), path, module, test: false }
    }

    /// The first part of the module; empty for the crate's root.
    pub(crate) fn top(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    /// The modules that this file declares in files of their own for tests only.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let lines: Vec<&str> = self.text.lines().collect();
        let declared = lines.array_windows().filter(|[attribute, _]| attribute.trim() == "#[cfg(test)]");
        declared
            .filter_map(|[_, item]| item.trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';'))
            .map(|name| self.module.iter().cloned().chain([name.to_owned()]).collect())
            .collect()
    }

    /// The code that is no test.
    pub(crate) fn code(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        if self.test {
            return lines;
        }
        let mut rest = (1..).zip(self.text.lines()).peekable();
        while let Some((number, line)) = rest.next() {
            if line == "#[cfg(test)]" {
                let one_line = rest.next().is_none_or(|(_, item)| item.ends_with([';', '}']));
                if !one_line {
                    let _module: Vec<_> = rest.by_ref().take_while(|(_, line)| *line != "}").collect();
                }
                continue;
            }
            let code = line.split(" // ").next().unwrap_or_default();
            if !code.trim_start().starts_with("//") {
                lines.push(Line { number, code });
            }
        }
        lines
    }

    /// The functions outside of tests: where each begins, and its number of lines.
    pub(crate) fn functions(&self) -> Vec<(usize, usize)> {
        let mut open: Vec<(&str, usize)> = Vec::new();
        let mut found = Vec::new();
        for Line { number, code } in self.code() {
            let indent = &code[..code.len() - code.trim_start().len()];
            if begins_function(code.trim_start()) && !code.ends_with([';', '}']) {
                open.push((indent, number));
            } else if code.trim_start() == "}" && open.last().is_some_and(|(begun, _)| *begun == indent) {
                found.extend(open.pop().map(|(_, begin)| (begin, number - begin + 1)));
            } else if code.trim_start().starts_with(") -> ") && code.ends_with(';') {
                // The end of a declaration in a trait, over several lines.
                open.pop_if(|(begun, _)| *begun == indent);
            }
        }
        found
    }
}

fn begins_function(code: &str) -> bool {
    let words = code.split("fn ").next().unwrap_or_default();
    code.contains("fn ")
        && words.split_whitespace().all(|word| word.starts_with("pub") || ["const", "async", "unsafe"].contains(&word))
}
