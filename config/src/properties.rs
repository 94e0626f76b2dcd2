//! Java's `.properties` syntax, which Apache's `zoo.cfg` is written in (`java.util.Properties.load`).
//!
//! `key=value`, `key:value` or `key value`; `#` and `!` start comments; a backslash escapes a character or, at
//! the end of a line, continues it; `\uXXXX` is a UTF-16 unit. The bytes are ISO-8859-1.

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) key: String,
    pub(crate) value: String,
    /// The line that it starts on, counted from 1.
    pub(crate) line: usize,
}

/// A `\u` without four hexadecimal digits, or half of a surrogate pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadEscape {
    pub(crate) line: usize,
}

/// All settings in the order of the file, duplicates included.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Property>, BadEscape> {
    let text: String = bytes.iter().map(|b| char::from(*b)).collect();
    logical_lines(&text)
        .into_iter()
        .map(|(line, text)| {
            let (key, value) = split(&text);
            match (unescape(key), unescape(value)) {
                (Some(key), Some(value)) => {
                    Ok(Property { key: key.trim().into(), value: value.trim().into(), line })
                }
                _ => Err(BadEscape { line }),
            }
        })
        .collect()
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Lines without comments and empty ones, joined where one ends with an odd number of backslashes.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, natural) in natural_lines(text).enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if open.is_none() && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let (start, mut joined) = open.take().unwrap_or((number + 1, String::new()));
        joined.push_str(content);
        let backslashes = content.len() - content.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            joined.pop();
            open = Some((start, joined));
        } else {
            lines.push((start, joined));
        }
    }
    lines.extend(open);
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

/// Lines that end with LF, CR or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').flat_map(|line| {
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line).split('\r')
    })
}

/// Cuts a logical line into a key and a value, both still escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let found = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = !escaped && c == '\\';
        found
    });
    let Some(end) = end else { return (line, "") };
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('f')) => '\x0c',
            ('\\', Some('u')) => {
                let digits: String = chars.by_ref().take(4).collect();
                let hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                units.push(hex.then(|| u16::from_str_radix(&digits, 16).ok())??);
                continue;
            }
            ('\\', Some(other)) => other,
            ('\\', None) => continue,
            (other, _) => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, String, usize)> {
        parse(text).unwrap().into_iter().map(|p| (p.key, p.value, p.line)).collect()
    }

    fn one(text: &[u8]) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{all:?}");
        let (key, value, _) = all.remove(0);
        (key, value)
    }

    #[test]
    fn keys_end_at_the_first_separator() {
        for text in ["a=b", "a:b", "a b", "  a = b  ", "a\t:\tb", "a  b"] {
            assert_eq!(one(text.as_bytes()), ("a".into(), "b".into()), "{text:?}");
        }
        assert_eq!(one(b"server.1=h:1:2"), ("server.1".into(), "h:1:2".into()));
        assert_eq!(one(b"a==b"), ("a".into(), "=b".into()));
        assert_eq!(one(b"a\\ b\\=c=d"), ("a b=c".into(), "d".into()));
        assert_eq!(one(b"alone"), ("alone".into(), String::new()));
    }

    #[test]
    fn comments_and_blank_lines_are_no_settings() {
        assert_eq!(pairs(b"# a=1\n! b=2\n\n   \t\n  # c=3\nd=4\n"), [("d".into(), "4".into(), 6)]);
        assert_eq!(
            pairs(b"a=# no comment\r\nb=2\rc=3"),
            [
                ("a".into(), "# no comment".into(), 1),
                ("b".into(), "2".into(), 2),
                ("c".into(), "3".into(), 3),
            ]
        );
    }

    #[test]
    fn an_odd_number_of_backslashes_continues_the_line() {
        assert_eq!(
            pairs(b"a=1,\\\n   2,\\\n#3\nb=x\\\\\nc=y"),
            [("a".into(), "1,2,#3".into(), 1), ("b".into(), "x\\".into(), 4), ("c".into(), "y".into(), 5),]
        );
        assert_eq!(pairs(b"a=1\\"), [("a".into(), "1".into(), 1)]);
        assert_eq!(pairs(b"a=1\\\n\nb=2"), [("a".into(), "1".into(), 1), ("b".into(), "2".into(), 3)]);
    }

    #[test]
    fn escapes_stand_for_characters() {
        assert_eq!(one(b"a=x\\ty\\:z").1, "x\ty:z");
        assert_eq!(one(b"a=\\u00e9\\uD83D\\uDE00").1, "\u{e9}\u{1f600}");
        assert_eq!(one(b"dir=C\\:\\\\zk").1, "C:\\zk");
        assert_eq!(one(b"a=\xe9").1, "\u{e9}");
        for bad in [&b"x=1\na=\\u12"[..], b"x=1\na=\\u+123", b"x=1\na=\\uD83D"] {
            assert_eq!(parse(bad), Err(BadEscape { line: 2 }), "{bad:?}");
        }
    }
}
