//! Which znode paths are well formed (Apache `PathUtils.validatePath`).

/// Whether `path` is absolute, has no empty, `.` or `..` component, no trailing slash, and none of the
/// characters that ZooKeeper forbids: controls, surrogates and private use up to U+F8FF, U+FFF0 and above.
pub fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    if rest.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return rest.split('/').all(is_name);
    }
    rest.split('/').all(is_name) && rest.chars().all(is_allowed)
}

fn is_name(component: &str) -> bool {
    !matches!(component, "" | "." | "..")
}

/// Supplementary characters are two surrogates in Java's UTF-16 and so forbidden.
fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// The parent of `path`: "/" for a top-level znode, `None` where there is no '/' or for "/" itself.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        i => Some(&path[..i]),
    }
}

/// What follows the last '/' of `path`.
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed() {
        for path in ["/", "/a", "/a/b", "/...", "/.a", "/a b", "/ä/日本", "/a/.0000000005"] {
            assert!(is_valid(path), "{path}");
        }
    }

    #[test]
    fn malformed() {
        let bad = [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a\0",
            "/a\u{1}",
            "/\u{7f}",
            "/\u{85}",
            "/\u{e000}",
            "/\u{fffd}",
            "/\u{1f600}",
        ];
        for path in bad {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/"), None);
        assert_eq!(parent("a"), None);
        assert_eq!(name("/a/b"), "b");
        assert_eq!(name("/"), "");
    }
}
