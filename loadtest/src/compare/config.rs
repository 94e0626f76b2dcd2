//! Configuration files of both sides. Apache's servers and Palisade's voters read the same `zoo.cfg`.

use std::fmt::Write as _;
use std::path::Path;

use crate::compare::launch::{Limits, VOTERS};

/// Ports of one server on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Where the leader listens for learners.
    pub(super) quorum: u16,
    /// Where votes are exchanged.
    pub(super) election: u16,
    /// Where `srvr` is answered: the client port, or the admin port of a Palisade voter.
    pub(super) status: u16,
}

/// Whose server for clients it is, if it is Palisade's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    tenant: &'static str,
    root: &'static str,
    limits: Limits,
}

/// The one of all comparisons: everybody's.
pub(super) const COMPARED: Front = Front { tenant: "compare", root: "/", limits: Limits::WithoutLocks };

/// Those of two tenants.
pub(super) fn tenants(limits: Limits) -> [Front; 2] {
    [("discovery", "/tenants/discovery"), ("scheduling", "/tenants/scheduling")].map(|(tenant, root)| Front {
        tenant,
        root,
        limits,
    })
}

/// What both sides have in common, and so what makes them comparable: both flush each write before it counts.
const COMMON: &str = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nsnapCount=100000\nforceSync=yes\n";

/// The `zoo.cfg` of a Palisade voter.
pub(super) fn voter(data: &Path, voters: &[Ports]) -> String {
    let mut text = format!("{COMMON}dataDir={}\n", data.display());
    for (id, ports) in (1..).zip(voters) {
        member(&mut text, id, *ports, "participant");
    }
    text
}

/// The `zoo.cfg` of an Apache server: `own` is its ports, those of `servers` behind the voters are observers.
pub(super) fn apache(data: &Path, servers: &[Ports], own: Ports, observes: bool) -> String {
    let mut text = format!("{COMMON}dataDir={}\n", data.display());
    for (id, ports) in (1..).zip(servers) {
        member(&mut text, id, *ports, if id > VOTERS { "observer" } else { "participant" });
    }
    if observes {
        text.push_str("peerType=observer\n");
    }
    let port = own.status;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "clientPort={port}\nclientPortAddress=127.0.0.1");
    text.push_str("admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=srvr\n");
    text
}

/// The TOML file of a gateway. It tells all watchers at once, as Apache does, not in waves.
pub(super) fn gateway(data: &Path, voters: &[Ports], own: Ports, (id, front): (usize, &Front)) -> String {
    let Front { tenant, root, limits } = front;
    let Ports { status: client, quorum: admin, .. } = own;
    let off = |limit| format!("[throttle.{limit}]\nmode = \"off\"\n");
    let throttle: String = match limits {
        Limits::Default => String::new(),
        Limits::WithoutLocks => ["short_locks", "lock_parents"].map(off).concat(),
        Limits::Off => {
            ["writes", "write_bytes", "locks", "short_locks", "lock_parents", "in_flight"].map(off).concat()
        }
    };
    let voters: Vec<String> = voters.iter().map(|ports| format!("\"127.0.0.1:{}\"", ports.quorum)).collect();
    format!(
        "id = {id}\n\
         [tenant]\nname = \"{tenant}\"\nroot = \"{root}\"\n\
         [client]\naddress = \"127.0.0.1:{client}\"\n\
         [core]\nvoters = [{}]\n\
         [storage]\ndata_dir = \"{}\"\nsnap_count = 100000\n\
         [notifications]\nrate = 0\n\
         [throttle.connections]\nmode = \"off\"\n\
         [admin]\naddress = \"127.0.0.1:{admin}\"\n{throttle}",
        voters.join(", "),
        data.display()
    )
}

/// The same for a gateway that tells them in waves, at most so many a second, and lets them read as often.
pub(super) fn paced(gateway: &str, rate: u32) -> String {
    gateway.replace("\nrate = 0\n", &format!("\nrate = {rate}\nreread_rate = {rate}\n"))
}

fn member(text: &mut String, id: usize, ports: Ports, role: &str) {
    let Ports { quorum, election, .. } = ports;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "server.{id}=127.0.0.1:{quorum}:{election}:{role}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(count: u16) -> Vec<Ports> {
        (0..count).map(|n| Ports { quorum: 100 + n, election: 200 + n, status: 300 + n }).collect()
    }

    #[test]
    fn both_sides_have_the_same_durability_and_timing() {
        let servers = ports(4);
        let apache = apache(Path::new("/a"), &servers, servers[0], false);
        let voter = voter(Path::new("/a"), &servers[..3]);
        let common = |text: &str| text.lines().take(5).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(common(&apache), common(&voter));
        assert!(voter.contains("forceSync=yes\n") && voter.contains("snapCount=100000\n"));
    }

    #[test]
    fn apache_servers_behind_the_voters_observe() {
        let servers = ports(4);
        let voter = apache(Path::new("/a"), &servers, servers[1], false);
        assert!(
            voter.contains("server.3=127.0.0.1:102:202:participant\nserver.4=127.0.0.1:103:203:observer\n")
        );
        assert!(voter.contains("clientPort=301\n") && !voter.contains("peerType"));
        let observer = apache(Path::new("/a"), &servers, servers[3], true);
        assert!(observer.contains("peerType=observer\n") && observer.contains("clientPort=303\n"));
    }

    #[test]
    fn a_gateway_follows_all_voters() {
        let text = gateway(
            Path::new("/g"),
            &ports(3),
            Ports { quorum: 8, election: 9, status: 7 },
            (101, &COMPARED),
        );
        assert!(text.contains("voters = [\"127.0.0.1:100\", \"127.0.0.1:101\", \"127.0.0.1:102\"]\n"));
        assert!(paced(&text, 7).contains("[notifications]\nrate = 7\nreread_rate = 7\n"));
        assert!(text.contains("address = \"127.0.0.1:7\"\n") && text.contains("data_dir = \"/g\"\n"));
    }
}
