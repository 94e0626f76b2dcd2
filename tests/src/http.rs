//! Plain HTTP requests, one per connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A server's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The media type.
    pub media_type: String,
    /// The body, unchunked.
    pub body: String,
}

/// Gets `path` from the server at `127.0.0.1:port`.
///
/// # Errors
/// The server is not there, or its answer is not HTTP.
pub fn get(port: u16, path: &str) -> std::io::Result<Answer> {
    request(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

/// Sends these bytes, and reads the answer to its end.
///
/// # Errors
/// The server is not there, or its answer is not HTTP.
pub fn request(port: u16, bytes: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(bytes.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| std::io::Error::other(format!("not HTTP: {text:?}")))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let chunked = header("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if chunked { unchunked(body)? } else { body.to_owned() };
    Some(Answer { status, media_type: header("content-type").unwrap_or_default(), body })
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, tail) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(tail.get(..size)?);
        rest = tail.get(size..)?.strip_prefix("\r\n")?;
    }
}
