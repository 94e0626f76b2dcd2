//! Rules that hold for the whole repository and that no compiler checks.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use palisade_tests::tools::repository;

/// Lines of code per file and per function; blank lines, comments and tests do not count in a file.
const FILE_LIMIT: usize = 600;
const FUNCTION_LIMIT: usize = 70;

/// Files and functions that may be longer, each with the reason.
const LONGER_FILES: [(&str, usize, &str); 0] = [];
const LONGER_FUNCTIONS: [(&str, &str, &str); 1] =
    [("core/zab/src/peer/mod.rs", "handle", "one flat match over all inputs")];

const TOP_LEVEL: [&str; 15] = [
    ".ci",
    ".config",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "config",
    "core",
    "gateway",
    "loadtest",
    "rustfmt.toml",
    "tests",
    // Ignored by git; found only where somebody has built or tested.
    "target",
];

/// What each package of the workspace may depend on within it.
const DEPENDENCIES: [(&str, &[&str]); 14] = [
    ("palisade-admin", &["palisade-wire", "palisade-store"]),
    ("palisade-wire", &[]),
    ("palisade-fair", &[]),
    ("palisade-store", &["palisade-wire"]),
    ("palisade-disk", &["palisade-wire", "palisade-store"]),
    ("palisade-zab", &["palisade-wire", "palisade-store"]),
    (
        "palisade-server",
        &[
            "palisade-admin",
            "palisade-fair",
            "palisade-wire",
            "palisade-store",
            "palisade-disk",
            "palisade-zab",
        ],
    ),
    ("palisade-watch", &["palisade-wire"]),
    (
        "palisade-gateway",
        &[
            "palisade-admin",
            "palisade-fair",
            "palisade-wire",
            "palisade-watch",
            "palisade-store",
            "palisade-disk",
            "palisade-zab",
        ],
    ),
    ("palisade-config", &["palisade-wire", "palisade-zab", "palisade-server", "palisade-gateway"]),
    (
        "palisade",
        &["palisade-config", "palisade-gateway", "palisade-server", "palisade-zab", "palisade-wire"],
    ),
    ("palisade-loadtest", &["palisade-wire"]),
    (
        "palisade-sim",
        &["palisade-gateway", "palisade-store", "palisade-watch", "palisade-wire", "palisade-zab"],
    ),
    (
        "palisade-tests",
        &["palisade-watch", "palisade-wire", "palisade-store", "palisade-disk", "palisade-zab"],
    ),
];

/// Words that may not be in Rust code, tests included. Split so that this file does not contain them.
const FORBIDDEN: [(&str, &str, &str); 6] = [
    ("todo", "!(", "unfinished code"),
    ("unimplemented", "!(", "unfinished code"),
    ("#[ig", "nore", "a test that does not run proves nothing"),
    ("unbounded", "_channel", "every queue has a limit"),
    ("mpsc::", "channel()", "every queue has a limit; the standard library's bounded one is `sync_channel`"),
    ("thread_", "rng", "randomness is seeded and passed in"),
];

/// Packages that are state machines or data structures only, and what they therefore do not touch.
const PURE: [&str; 3] = ["core/wire/src", "core/store/src", "core/zab/src"];
const IMPURE: [&str; 11] = [
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
    "std::env",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "RandomState",
];

#[test]
fn files_are_one_idea() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files().into_iter().filter(|(path, _)| !is_test_file(path)) {
        let name = relative(&path);
        let longer = LONGER_FILES.iter().find(|(file, ..)| *file == name);
        let limit = longer.map_or(FILE_LIMIT, |(_, limit, _)| *limit);
        let lines = without_tests(&text).iter().filter(|line| is_code(line)).count();
        if lines > limit {
            wrong.push(format!("{name}: {lines} lines of code, at most {limit}"));
        }
    }
    report(&wrong);
}

#[test]
fn functions_fit_a_screen() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let name = relative(&path);
        for (function, length) in functions(&text) {
            let longer = LONGER_FUNCTIONS.iter().any(|(file, long, _)| *file == name && *long == function);
            if length > FUNCTION_LIMIT && !longer {
                wrong.push(format!("{name}: fn {function} has {length} lines, at most {FUNCTION_LIMIT}"));
            }
        }
    }
    report(&wrong);
}

#[test]
fn no_forbidden_words() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        for (one, two, reason) in FORBIDDEN {
            let word = format!("{one}{two}");
            for number in lines_with(&text, &word) {
                wrong.push(format!("{}:{number}: `{word}`: {reason}", relative(&path)));
            }
        }
    }
    report(&wrong);
}

#[test]
fn no_path_of_a_developers_machine() {
    let mut wrong = Vec::new();
    for path in files(repository()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for folder in ["work", "root", "home"] {
            let prefix = format!("/{folder}/");
            for number in lines_with(&text, &prefix) {
                wrong.push(format!("{}:{number}: an absolute path below {prefix}", relative(&path)));
            }
        }
    }
    report(&wrong);
}

#[test]
fn pure_packages_touch_no_world() {
    let mut wrong = Vec::new();
    let pure =
        |path: &Path| PURE.iter().any(|folder| relative(path).starts_with(folder)) && !is_test_file(path);
    for (path, text) in rust_files().into_iter().filter(|(path, _)| pure(path)) {
        for line in without_tests(&text).iter().filter(|line| is_code(line)) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!(
                    "{}: `{word}` in a package without I/O, clock and chance",
                    relative(&path)
                ));
            }
        }
    }
    report(&wrong);
}

#[test]
fn the_top_level_is_known() {
    let known = BTreeSet::from(TOP_LEVEL);
    let hidden_tools = [".git", ".cache"];
    let unknown =
        fs::read_dir(repository()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let wrong: Vec<String> = unknown
        .filter(|name| !known.contains(name.as_str()) && !hidden_tools.contains(&name.as_str()))
        .map(|name| format!("{name}: not a known part of the layout"))
        .collect();
    report(&wrong);
}

#[test]
fn every_package_is_listed_and_has_the_workspace_lints() {
    let mut wrong = Vec::new();
    let listed: BTreeSet<&str> = DEPENDENCIES.iter().map(|(name, _)| *name).collect();
    let manifests = manifests();
    for manifest in &manifests {
        let name = package_name(manifest);
        if !listed.contains(name) {
            wrong.push(format!("{name}: say in tidy.rs what it may depend on"));
        }
        let workspace = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if workspace.and_then(toml::Value::as_bool) != Some(true) {
            wrong.push(format!("{name}: `[lints] workspace = true` is missing"));
        }
    }
    report(&wrong);
    assert_eq!(manifests.len(), listed.len(), "tidy.rs lists a package that is not there");
}

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for manifest in manifests() {
        let name = package_name(&manifest);
        let allowed = DEPENDENCIES
            .iter()
            .find(|(package, _)| *package == name)
            .map_or(&[][..], |(_, allowed)| *allowed);
        // Tests of one package may start another: dev-dependencies only must not form a cycle, which cargo checks.
        for table in ["dependencies", "build-dependencies"] {
            let dependencies = manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten();
            for (dependency, _) in dependencies.filter(|(dependency, _)| dependency.starts_with("palisade")) {
                if !allowed.contains(&dependency.as_str()) {
                    wrong.push(format!("{name} may not depend on {dependency}"));
                }
            }
        }
    }
    report(&wrong);
}

#[track_caller]
fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned()
}

/// All files below `folder` that are part of the repository, in a fixed order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let skipped = [".git", ".cache", "target", "corpus", "artifacts", "__pycache__"];
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let kept = entries.into_iter().filter(|entry| !skipped.contains(&entry.file_name().to_str().unwrap()));
    kept.flat_map(
        |entry| if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { vec![entry.path()] },
    )
    .collect()
}

fn rust_files() -> Vec<(PathBuf, String)> {
    let rust = files(repository()).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn manifests() -> Vec<toml::Value> {
    let workspace = read_toml(&repository().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| read_toml(&repository().join(member.as_str().unwrap()).join("Cargo.toml")))
        .collect()
}

fn read_toml(path: &Path) -> toml::Value {
    toml::Value::Table(toml::from_str(&fs::read_to_string(path).unwrap()).unwrap())
}

fn package_name(manifest: &toml::Value) -> &str {
    manifest["package"]["name"].as_str().unwrap()
}

/// Whether the file holds nothing but tests: a `tests` folder of a package, or a module kept beside the code.
fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let in_tests_folder = path.parent().into_iter().flat_map(Path::iter).skip(1).any(|part| part == "tests");
    let in_harness = relative(path).starts_with("tests/src");
    name == "tests" || name.ends_with("_tests") || (in_tests_folder && !in_harness)
}

fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}

/// The lines of a file without its modules of unit tests. Relies on rustfmt: a block ends at its own indentation.
fn without_tests(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_module = lines.peek().is_some_and(|next| next.contains("mod ") && next.ends_with('{'));
        if line.trim() == "#[cfg(test)]" && opens_module {
            let end = format!("{}}}", indentation(line));
            lines.by_ref().find(|line| *line == end);
        } else {
            kept.push(line);
        }
    }
    kept
}

/// The name and the number of lines of every function with a body.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = lines.iter().enumerate().filter_map(|(start, line)| Some((start, function_name(line)?)));
    let measured = starts.filter(|(start, _)| !lines[*start].ends_with("{}")).filter_map(|(start, name)| {
        let end = format!("{}}}", indentation(lines[start]));
        let length = lines[start..].iter().position(|line| *line == end)?;
        let has_body = !lines[start..start + length]
            .iter()
            .any(|line| line.ends_with(';') && is_head(line, lines[start]));
        has_body.then_some((name, length + 1))
    });
    measured.collect()
}

/// Whether `line` still belongs to the head of the function that starts at `first`.
fn is_head(line: &str, first: &str) -> bool {
    line == first || (line.starts_with(&format!("{})", indentation(first))) && !line.ends_with('{'))
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let qualifiers = ["pub", "async", "const", "pub(crate)", "pub(super)"];
    let keyword = words.find(|word| !qualifiers.contains(word))?;
    (keyword == "fn").then(|| words.next()?.split(['(', '<']).next()).flatten()
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

fn lines_with(text: &str, word: &str) -> Vec<usize> {
    (1..).zip(text.lines()).filter(|(_, line)| line.contains(word)).map(|(number, _)| number).collect()
}

#[test]
fn the_rules_find_what_they_look_for() {
    let text = "fn e() {}\n\nfn a() {\n    x();\n}\n\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c(\n    d: u8,\n);\n";
    assert_eq!(functions(text), [("a", 3), ("b", 2)]);
    assert_eq!(without_tests(text).len(), 9);
    assert_eq!(lines_with(text, "mod"), [8]);
    assert!(is_code("let x = 1; // one") && !is_code("   // one") && !is_code(""));
    assert!(is_test_file(&repository().join("core/wire/src/request_tests.rs")));
    assert!(!is_test_file(&repository().join("tests/src/wait.rs")));
}
