//! `host:port`, IPv6 addresses in brackets. Names are not resolved here: that happens at each use.

/// What [`is_host_port`] accepts, for messages.
pub(crate) const FORM: &str = "host:port, such as \"127.0.0.1:2181\" or \"[::1]:2181\"";

/// Whether `text` is a host and a port. Port 0 asks for a free one, which only a listener can.
pub(crate) fn is_host_port(text: &str, allow_port_zero: bool) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_ok = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    let port_ok = port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0 || allow_port_zero);
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_and_ports_fit() {
        for good in ["a:1", "zk-1.example.org:2181", "10.0.0.1:65535", "[::1]:2181"] {
            assert!(is_host_port(good, false), "{good}");
        }
        for bad in
            ["", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "::1:2181", "[::1]", "[x]:1", "a b:1", "a:1:2"]
        {
            assert!(!is_host_port(bad, false), "{bad}");
        }
        assert!(is_host_port("127.0.0.1:0", true));
    }
}
