//! Four-letter words.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the server at `127.0.0.1:port`, and returns all that it answers.
pub fn ask(port: u16, word: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The value of `srvr`'s line `Mode:`, such as `leader`; none while the server does not serve.
pub fn mode(port: u16) -> Option<String> {
    ask(port, "srvr").ok()?.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

/// The value of a line of `mntr`; none while the server does not tell.
pub fn metric(port: u16, name: &str) -> Option<String> {
    let answer = ask(port, "mntr").ok()?;
    answer
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}
