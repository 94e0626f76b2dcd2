//! An Apache ensemble becomes Palisade's voter by voter, and Apache's again, under a steady stream of writes.

use palisade_tests::apache::ApacheServer;
use palisade_tests::folder::Folder;
use palisade_tests::four_letter;
use palisade_tests::palisade::{Gateway, Voter};
use palisade_tests::ports::Ports;
use palisade_tests::recorder::Recorder;
use palisade_tests::wait::wait_for;
use palisade_tests::zoo_cfg::{Member, SNAPSHOT_OFTEN};

/// Acknowledged writes between two replacements.
const STREAM: usize = 200;

/// One place in the ensemble, and who holds it.
struct Place {
    member: Member,
    admin_port: u16,
    apache: Option<ApacheServer>,
    voter: Option<Voter>,
}

impl Place {
    fn run_apache(&mut self, folder: &Folder, members: &[Member]) {
        self.voter = None;
        self.apache = Some(ApacheServer::start(&self.folder(folder), members, self.member.id));
    }

    fn run_voter(&mut self, folder: &Folder, members: &[Member]) {
        self.apache = None;
        let folder = self.folder(folder);
        self.voter = Some(Voter::start(&folder, members, self.member.id, self.admin_port, SNAPSHOT_OFTEN));
    }

    fn folder(&self, folder: &Folder) -> std::path::PathBuf {
        folder.path().join(format!("voter-{}", self.member.id))
    }

    fn mode(&self) -> Option<String> {
        four_letter::mode(if self.voter.is_some() { self.admin_port } else { self.member.client_port })
    }
}

#[track_caller]
fn wait_until_complete(places: &[Place]) {
    wait_for("a leader and its followers", || {
        let modes: Vec<String> = places.iter().filter_map(Place::mode).collect();
        let count = |wanted| modes.iter().filter(|mode| *mode == wanted).count();
        (count("leader") == 1 && count("follower") == places.len() - 1).then_some(())
    });
}

#[test]
fn voter_by_voter_and_back() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let members = Member::several(3, &mut ports);
    let place = |member: &Member| Place {
        member: member.clone(),
        admin_port: ports.take(),
        apache: None,
        voter: None,
    };
    let mut places: Vec<Place> = members.iter().map(place).collect();
    places.iter_mut().for_each(|place| place.run_apache(&folder, &members));
    wait_until_complete(&places);
    let gateway = Gateway::start(&folder.subfolder("gateway"), 101, &members, &mut ports);
    let mut recorder = Recorder::start(&gateway.address());
    for index in 0..places.len() {
        recorder.wait_for_writes(STREAM);
        places[index].run_voter(&folder, &members);
        wait_until_complete(&places);
    }
    for index in 0..places.len() {
        recorder.wait_for_writes(STREAM);
        places[index].run_apache(&folder, &members);
        wait_until_complete(&places);
        let servers = places.iter().filter_map(|place| place.apache.as_ref());
        assert!(servers.map(ApacheServer::digest_mismatches).all(|count| count == 0));
    }
    recorder.wait_for_writes(STREAM);
    if let Err(wrong) = recorder.finish().check() {
        panic!("{wrong}");
    }
}
