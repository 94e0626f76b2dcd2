//! Data directories move between Palisade and Apache ZooKeeper, both ways, with equal trees.

use palisade_tests::apache::ApacheServer;
use palisade_tests::clients;
use palisade_tests::folder::Folder;
use palisade_tests::palisade::Core;
use palisade_tests::ports::Ports;
use palisade_tests::zoo_cfg::{Member, SNAPSHOT_OFTEN};

#[test]
fn palisade_to_apache_and_back() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "first-gateway");
    clients::populate(&gateway.address(), "palisade");
    let written = clients::dump(&gateway.address());
    drop(gateway);
    core.voters.iter_mut().for_each(|voter| voter.stop());
    let Core { folder, ports, .. } = core;
    let members = core.members;

    let servers = start_apache(&folder, &members);
    let hosts = format!("127.0.0.1:{}", servers[0].client_port());
    clients::assert_same_tree(&written, &clients::dump(&hosts));
    clients::populate(&hosts, "apache");
    let written = clients::dump(&hosts);
    assert!(servers.iter().all(|server| server.digest_mismatches() == 0));
    drop(servers);

    let mut core = Core::start_in(folder, ports, members, SNAPSHOT_OFTEN);
    let gateway = core.gateway(102, "second-gateway");
    clients::assert_same_tree(&written, &clients::dump(&gateway.address()));
}

#[test]
fn apache_to_palisade() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let members = Member::several(3, &mut ports);
    let servers = start_apache(&folder, &members);
    let hosts = format!("127.0.0.1:{}", servers[1].client_port());
    clients::populate(&hosts, "apache");
    let written = clients::dump(&hosts);
    drop(servers);
    let mut core = Core::start_in(folder, ports, members, SNAPSHOT_OFTEN);
    let gateway = core.gateway(101, "gateway");
    clients::assert_same_tree(&written, &clients::dump(&gateway.address()));
    clients::populate(&gateway.address(), "palisade");
}

/// Apache servers in the folders of the voters.
fn start_apache(folder: &Folder, members: &[Member]) -> Vec<ApacheServer> {
    let start = |member: &Member| {
        ApacheServer::start(&folder.path().join(format!("voter-{}", member.id)), members, member.id)
    };
    let servers: Vec<ApacheServer> = members.iter().map(start).collect();
    servers.iter().for_each(ApacheServer::wait_until_serving);
    servers
}
