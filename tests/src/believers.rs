//! Owners of ephemerals who are told much and say little, and until when each believed in its session, by one clock.
//!
//! They ping as rarely as clients do, and hear events all the time; so what they hear says nothing of what the core has
//! heard of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::herd::{Client, Trouble};
use crate::wait::wait_for;

/// Of the sessions.
const TIMEOUT: Duration = Duration::from_secs(3);
const PARENT: &str = "/believers";
const NEWS: &str = "/news-of-believers";
const EPHEMERAL: i32 = 1;
/// Between two events, and between two looks at who is gone.
const PAUSE: Duration = Duration::from_millis(10);
/// Longer than anybody else lives.
const LONG_MS: i32 = 30_000;

/// The owners, and somebody who makes the events.
#[derive(Debug)]
pub struct Believers {
    owners: Vec<JoinHandle<(String, Instant)>>,
    stop: Arc<AtomicBool>,
    news: JoinHandle<()>,
    observer: Client,
}

impl Believers {
    /// So many at `address`. Events are made, and their ends seen, at `elsewhere`, which is never out of reach.
    #[track_caller]
    pub fn start(address: &str, elsewhere: &str, count: u32) -> Self {
        let [mut writer, observer] =
            [(); 2].map(|()| Client::connect(elsewhere, LONG_MS).expect("a session"));
        writer.create(PARENT, 0).expect("a parent");
        writer.create(NEWS, 0).expect("something to watch");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let news = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                // One that fails is no news.
                let _ = writer.set(NEWS, b"1", -1);
                thread::sleep(PAUSE);
            }
        });
        let owner = |number: u32| {
            let address = address.to_owned();
            let begun = thread::spawn(move || wait_for("an owner", || begin(&address, number).ok()));
            // Their pings come at all times.
            thread::sleep(TIMEOUT / 3 / count);
            begun
        };
        let begun: Vec<_> = (0..count).map(owner).collect();
        let begun: Vec<_> = begun.into_iter().map(|begun| begun.join().expect("no panic")).collect();
        let owners = begun.into_iter().map(|(path, client)| thread::spawn(move || believe(path, client)));
        Self { owners: owners.collect(), stop, news, observer }
    }

    /// Waits until nobody believes and nothing is owned any more, after `cut` has put all owners out of reach. Says how
    /// that went. Panics if anything was gone before its owner knew.
    #[track_caller]
    pub fn lose(mut self, cut: impl FnOnce()) -> String {
        // They live by their pings, and are told of all that happens.
        thread::sleep(TIMEOUT * 3 / 2);
        // A machine under load may have been late for some, who know by now.
        let believing = self.owners.iter().filter(|owner| !owner.is_finished()).count();
        cut();
        let count = self.owners.len();
        let mut gone = BTreeMap::new();
        wait_for("the end of all that is owned", || {
            // Asked before: what is not there now was gone at some time before.
            let asked = Instant::now();
            let left: Vec<String> = self.observer.children(PARENT).ok()?;
            for number in 0..count {
                let path = name(u32::try_from(number).expect("few"));
                if !left.iter().any(|child| path.ends_with(child)) {
                    gone.entry(path).or_insert(asked);
                }
            }
            thread::sleep(PAUSE);
            (gone.len() == count).then_some(())
        });
        self.stop.store(true, Ordering::SeqCst);
        self.news.join().expect("no panic");
        let believed = self.owners.into_iter().map(|owner| owner.join().expect("no panic"));
        let margin = |(path, until): (String, Instant)| {
            let gone = gone[&path];
            gone.checked_duration_since(until)
                .unwrap_or_else(|| panic!("{path}: believed in for {:?} after its end", until - gone))
        };
        let shortest = believed.map(margin).min().unwrap_or_default();
        format!(
            "{believing} of {count} believed at the cut; the first ended {shortest:?} after its owner knew"
        )
    }
}

fn name(number: u32) -> String {
    format!("{PARENT}/owner-{number:04}")
}

fn begin(address: &str, number: u32) -> Result<(String, Client), Trouble> {
    let timeout_ms = i32::try_from(TIMEOUT.as_millis()).expect("seconds");
    let mut client = Client::connect_with(address, timeout_ms, TIMEOUT * 2 / 3)?;
    let path = client.create(&name(number), EPHEMERAL)?;
    client.watch_for_good(NEWS, false)?;
    Ok((path, client))
}

/// Until it has heard nothing for two thirds of its timeout, or its connection ended.
fn believe(path: String, mut client: Client) -> (String, Instant) {
    let mut heard = Instant::now();
    let mut nodded = None;
    while heard.elapsed() < TIMEOUT * 2 / 3 {
        if nodded.is_none_or(|nodded: Instant| nodded.elapsed() >= TIMEOUT / 3) {
            nodded = Some(Instant::now());
            if client.nod().is_err() {
                break;
            }
        }
        match client.listen(PAUSE) {
            Ok(true) => heard = Instant::now(),
            Ok(false) => {}
            Err(_) => break,
        }
    }
    (path, Instant::now())
}
