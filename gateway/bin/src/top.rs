//! `palisade top`: who asks a gateway for most, again and again.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cli::TopArgs;
use crate::failure::Failure;

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer, at most.
const MAX_ANSWER: u64 = 4 << 20;
/// Moves the cursor home and erases what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Titles of columns, and their keys in the answer.
type Columns = &'static [(&'static str, &'static str)];

/// The tables: where each stands in the answer, its title, and its columns.
const TABLES: [(&str, &str, Columns); 6] = [
    ("/load/addresses", "ADDRESS", LOAD),
    ("/load/sessions", "SESSION", LOAD),
    ("/load/prefixes", "PATH", LOAD),
    ("/load/lock_parents", "LOCK", LOAD),
    (
        "/locks",
        "LOCKS BELOW",
        &[
            ("ACQ/S", "acquired_per_s"),
            ("NEW/S", "new_parents_per_s"),
            ("SHORT/S", "short_holds_per_s"),
            ("REFUSED/S", "refusals_per_s"),
        ],
    ),
    ("/lock_queues", "QUEUE AT", &[("WAITING", "queue")]),
];
const LOAD: Columns = &[
    ("OPS/S", "ops_per_s"),
    ("BYTES/S", "bytes_per_s"),
    ("WATCHES", "watches"),
    ("REFUSED/S", "refusals_per_s"),
];

/// Draws until interrupted, or once if the output is no terminal or the operator wants it so.
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    let once = args.once || !io::stdout().is_terminal();
    loop {
        let page = fetch(args)
            .map_err(|error| Failure::runtime(format!("cannot read http://{}/top", args.admin), &error))?;
        let text = draw(&page);
        let clear = if once { "" } else { CLEAR };
        let written = write!(io::stdout(), "{clear}{text}").and_then(|()| io::stdout().flush());
        // Whoever reads this has gone: there is nothing left to do.
        if once || written.is_err() {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(args.interval.into()));
    }
}

fn fetch(args: &TopArgs) -> io::Result<Value> {
    let TopArgs { admin, lines, by, .. } = args;
    let address = admin.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP 1.0: the answer is not cut into chunks, and ends with the connection.
    write!(stream, "GET /top?n={lines}&by={by} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no HTTP answer"))?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(io::Error::other(format!("{status}; is this the admin port of a gateway?")));
    }
    serde_json::from_str(body).map_err(io::Error::other)
}

/// The whole picture.
fn draw(page: &Value) -> String {
    let number = |key: &str| page[key].as_u64().unwrap_or(0);
    let tenant = page["tenant"].as_str().unwrap_or_default();
    let mut text = format!(
        "{}: gateway {}, {} connections, {} watches, {} unanswered by the core\n",
        printable(tenant),
        number("gateway"),
        number("connections"),
        number("watches"),
        number("outstanding_requests")
    );
    let seconds = page["load"]["seconds"].as_f64().unwrap_or(0.0);
    put(&mut text, format_args!("rates are means over {seconds:.0} s\n"));
    for (place, title, columns) in TABLES {
        table(page.pointer(place).and_then(Value::as_array), title, columns, &mut text);
    }
    text
}

fn table(rows: Option<&Vec<Value>>, title: &str, columns: Columns, text: &mut String) {
    let Some(rows) = rows.filter(|rows| !rows.is_empty()) else { return };
    put(text, format_args!("\n{title:<44}"));
    for (name, _) in columns {
        put(text, format_args!("{name:>12}"));
    }
    text.push('\n');
    for row in rows {
        let name = printable(row["name"].as_str().unwrap_or_default());
        put(text, format_args!("{name:<44}"));
        for (_, key) in columns {
            put(text, format_args!("{:>12.0}", row[key].as_f64().unwrap_or(0.0)));
        }
        text.push('\n');
    }
}

/// Names come from clients: nothing of them may command the terminal.
fn printable(name: &str) -> String {
    const WIDTH: usize = 43;
    let plain = name.chars().map(|c| if c.is_control() { '?' } else { c });
    if name.chars().count() <= WIDTH {
        plain.collect()
    } else {
        plain.take(WIDTH - 1).chain(['…']).collect()
    }
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_ones_are_drawn_and_empty_tables_are_not() {
        let page = serde_json::json!({
            "tenant": "discovery", "gateway": 101, "connections": 3, "watches": 7, "outstanding_requests": 0,
            "load": {
                "seconds": 10.02,
                "addresses": [{"name": "10.0.0.7", "ops_per_s": 1234.5, "bytes_per_s": 5.0, "watches": 7, "refusals_per_s": 2.0}],
                "prefixes": [{"name": "/a\u{1b}[31m", "ops_per_s": 1.0}],
            },
            "lock_queues": [{"name": "/leader", "queue": 3}],
        });
        let text = draw(&page);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "discovery: gateway 101, 3 connections, 7 watches, 0 unanswered by the core");
        assert!(
            lines[3].starts_with("ADDRESS ")
                && lines[3].ends_with("       OPS/S     BYTES/S     WATCHES   REFUSED/S")
        );
        assert!(
            lines[4].starts_with("10.0.0.7 ")
                && lines[4].ends_with("        1234           5           7           2")
        );
        assert!(text.contains("/a?[31m ") && !text.contains('\u{1b}') && !text.contains("LOCKS"));
        assert!(text.contains("QUEUE AT"));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(printable(&"x".repeat(100)).chars().count(), 43);
    }
}
