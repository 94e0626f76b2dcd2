use palisade_wire::Zxid;
use palisade_wire::txn::{Txn, TxnRecord};
use proptest::prelude::*;

use super::file::{FileReader, Step};
use super::format::{HEADER, put_record};
use crate::testing::{Files, OPTIONS, Scratch, open_log, payload, read_all, record, sample};
use crate::{DiskError, LogOptions};

const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

/// A log file as a server leaves it, and where each record begins.
fn log_file(payloads: &[impl AsRef<[u8]>]) -> (Vec<u8>, Vec<usize>) {
    let mut file = HEADER.to_vec();
    let mut starts = Vec::new();
    for payload in payloads {
        starts.push(file.len());
        put_record(&mut file, payload.as_ref());
    }
    (file, starts)
}

fn one_file(name: &str, content: Vec<u8>) -> Files {
    Files::from([(name.to_owned(), content)])
}

/// Reads after `after`, and sees that reading changed nothing.
fn read(files: &Files, after: Zxid) -> crate::Result<Vec<Zxid>> {
    let scratch = Scratch::with(files);
    let result = read_all(&scratch.open(), after).map(|(zxids, _)| zxids);
    assert_eq!(&scratch.files(), files, "reading modified a file");
    result
}

/// Restarts on damaged files, appends one more transaction, and reads all of them twice.
fn recovers_to(files: &Files, expected: &[Zxid]) {
    let scratch = Scratch::with(files);
    let dir = scratch.open();
    let (found, tail) = read_all(&dir, z(1, 0)).unwrap();
    assert_eq!(found, expected);
    let next = Zxid(tail.last_zxid().0 + 1);
    let mut log = dir.open_log(&tail, OPTIONS).unwrap();
    log.append(next, &payload(next)).unwrap();
    assert_eq!(log.sync().unwrap(), next);
    let all = [expected, &[next]].concat();
    assert_eq!(read_all(&dir, z(1, 0)).unwrap().0, all);
    drop(log);
    let log = open_log(&dir, z(1, 0));
    assert_eq!(log.last_zxid(), next);
}

fn corrupt_at(result: crate::Result<Vec<Zxid>>) -> u64 {
    match result {
        Err(DiskError::Corrupt { offset, .. }) => offset,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_of_apache_is_read_and_written_again_alike() {
    let golden = sample("txnlog-3.8.0-head.bin");
    let scratch = Scratch::with(&one_file("log.100000001", golden.clone()));
    let reader = super::LogReader::new(&scratch.open(), z(1, 0), OPTIONS.max_record).unwrap();
    let records: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(records.len(), 11);
    assert_eq!(records[10].zxid, z(1, 11));
    assert_eq!(TxnRecord::decode(&records[0].payload).unwrap().txn, Txn::CreateSession(10_000));

    let copy = Scratch::new();
    let mut log = open_log(&copy.open(), Zxid::ZERO);
    for record in &records {
        log.append(record.zxid, &record.payload).unwrap();
    }
    log.sync().unwrap();
    let written = copy.files().remove("log.100000001").unwrap();
    assert_eq!(written.len() as u64, 16 + OPTIONS.preallocate);
    assert!(written.starts_with(&golden));
    assert!(written[golden.len()..].iter().all(|b| *b == 0));
    log.roll().unwrap();
    assert_eq!(copy.files()["log.100000001"], golden[..golden.len() - 64]);
}

#[test]
fn only_the_following_transaction_is_appended() {
    let scratch = Scratch::new();
    let mut log = open_log(&scratch.open(), Zxid::ZERO);
    log.append(z(1, 1), &payload(z(1, 1))).unwrap();
    for wrong in [z(1, 1), z(1, 3), z(0, 9), z(2, 2), z(2, 0)] {
        let result = log.append(wrong, &payload(wrong));
        assert!(matches!(result, Err(DiskError::NotContiguous { .. })), "{wrong}: {result:?}");
    }
    let result = log.append(z(1, 2), &payload(z(1, 3)));
    assert!(matches!(result, Err(DiskError::Unloggable { .. })), "{result:?}");
    let large = record(z(1, 2), Txn::Delete("x".repeat(OPTIONS.max_record)));
    let result = log.append(z(1, 2), &large);
    assert!(matches!(result, Err(DiskError::Unloggable { .. })), "{result:?}");
    log.append(z(2, 1), &payload(z(2, 1))).unwrap();
    log.sync().unwrap();
    let all: Vec<_> = log.read_after(Zxid::ZERO).unwrap().map(|r| r.unwrap().zxid).collect();
    assert_eq!(all, [z(1, 1), z(2, 1)]);
}

#[test]
fn what_is_not_synced_is_not_read_and_what_is_can_be_while_appending() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let mut log = open_log(&dir, Zxid::ZERO);
    for i in 1..=40 {
        log.append(z(1, i), &payload(z(1, i))).unwrap();
        if i % 10 == 0 {
            assert_eq!(log.sync().unwrap(), z(1, i));
        }
        if i % 20 == 0 {
            log.roll().unwrap();
        }
        let synced = log.read_after(Zxid::ZERO).unwrap().map(|r| r.unwrap().zxid.counter()).last();
        assert_eq!(synced, (i >= 10).then_some(i / 10 * 10));
    }
    assert_eq!(scratch.files().keys().collect::<Vec<_>>(), ["log.100000001", "log.100000015"]);
    let some: Vec<_> = log.read_after(z(1, 17)).unwrap().map(|r| r.unwrap().zxid.counter()).collect();
    assert_eq!(some, (18..=40).collect::<Vec<_>>());
    let one: Vec<_> = log.read_after(z(1, 39)).unwrap().map(|r| r.unwrap().zxid.counter()).collect();
    assert_eq!(one, [40]);
}

#[test]
fn files_grow_ahead_of_their_content() {
    for preallocate in [0, 1, 1000, 65536] {
        let scratch = Scratch::new();
        let dir = scratch.open();
        let tail = read_all(&dir, Zxid::ZERO).unwrap().1;
        let mut log = dir.open_log(&tail, LogOptions { preallocate, ..OPTIONS }).unwrap();
        for i in 1..=200 {
            log.append(z(1, i), &payload(z(1, i))).unwrap();
            log.sync().unwrap();
            let size = scratch.files()["log.100000001"].len() as u64;
            if preallocate == 0 {
                assert_eq!(size, log.file_bytes());
            } else {
                assert!(size > log.file_bytes() + 4096);
                assert_eq!((size - 16) % preallocate, 0);
            }
        }
        assert_eq!(read_all(&dir, Zxid::ZERO).unwrap().0.len(), 200);
    }
}

#[test]
fn a_crash_at_any_byte_of_an_append_leaves_what_was_synced() {
    let all: Vec<_> = (1..=4).map(|i| z(1, i)).collect();
    let (file, starts) = log_file(&all.iter().map(|zxid| payload(*zxid)).collect::<Vec<_>>());
    for cut in 0..=file.len() {
        let whole = starts.iter().skip(1).chain([&file.len()]).filter(|end| **end <= cut).count();
        let short = one_file("log.100000001", file[..cut].to_vec());
        recovers_to(&short, &all[..whole]);
        let mut padded = file[..cut].to_vec();
        padded.resize(file.len() + 600, 0);
        recovers_to(&one_file("log.100000001", padded), &all[..whole]);
    }
}

#[test]
fn missing_sectors_of_an_unsynced_batch_are_explained_by_a_crash() {
    let large = record(z(1, 2), Txn::Delete(format!("/{}", "x".repeat(2000))));
    let (file, starts) = log_file(&[payload(z(1, 1)), large]);
    for sector in starts[1] / 512..file.len().div_ceil(512) {
        let mut torn = file.clone();
        let from = (sector * 512).max(starts[1]);
        let to = ((sector + 1) * 512).min(file.len());
        torn[from..to].fill(0);
        torn.resize(8192, 0);
        recovers_to(&one_file("log.100000001", torn), &[z(1, 1)]);
    }
}

#[test]
fn no_flipped_byte_goes_unnoticed() {
    let all: Vec<_> = (1..=3).map(|i| z(1, i)).collect();
    let (mut file, starts) = log_file(&all.iter().map(|zxid| payload(*zxid)).collect::<Vec<_>>());
    let end = file.len();
    file.resize(end + 100, 0);
    // Version and dbid do not matter.
    for at in (0..4).chain(16..end) {
        let mut damaged = file.clone();
        damaged[at] ^= 0xff;
        let result = read(&one_file("log.100000001", damaged), z(1, 0));
        let inside = starts.iter().rposition(|start| *start <= at);
        match inside {
            // A length that points beyond the file looks like a write that was cut short.
            Some(2) if result.is_ok() => {
                assert!((starts[2] + 8..starts[2] + 12).contains(&at), "byte {at}");
                assert_eq!(result.unwrap(), all[..2]);
            }
            Some(i) => assert_eq!(corrupt_at(result), starts[i] as u64, "byte {at}"),
            None => assert_eq!(corrupt_at(result), 0, "byte {at}"),
        }
    }
}

#[test]
fn an_older_file_must_be_whole() {
    let (first, starts) = log_file(&[payload(z(1, 1)), payload(z(1, 2))]);
    let (second, _) = log_file(&[payload(z(1, 3))]);
    let files = |first: &[u8]| {
        Files::from([
            ("log.100000001".to_owned(), first.to_vec()),
            ("log.100000003".to_owned(), second.clone()),
        ])
    };
    assert_eq!(read(&files(&first), z(1, 0)).unwrap().len(), 3);
    assert_eq!(corrupt_at(read(&files(&first[..first.len() - 1]), z(1, 0))), starts[1] as u64);
    // Whole, but the transaction before the next file's is missing.
    assert!(corrupt_at(read(&files(&first[..starts[1]]), z(1, 0))) > 0);
    assert_eq!(corrupt_at(read(&files(b""), z(1, 0))), 0);
    // A snapshot that makes the file unnecessary makes its damage irrelevant.
    assert_eq!(read(&files(b""), z(1, 3)).unwrap(), []);
}

#[test]
fn gaps_are_never_skipped() {
    let cases: [&[Zxid]; 3] = [&[z(1, 1), z(1, 3)], &[z(1, 1), z(2, 2)], &[z(1, 2)]];
    for zxids in cases {
        let (file, _) = log_file(&zxids.iter().map(|zxid| payload(*zxid)).collect::<Vec<_>>());
        let name = format!("log.{:x}", zxids[0].0);
        corrupt_at(read(&one_file(&name, file), z(1, 0)));
    }
    let (file, _) = log_file(&[payload(z(1, 1)), payload(z(3, 1))]);
    assert_eq!(read(&one_file("log.100000001", file), z(1, 0)).unwrap(), [z(1, 1), z(3, 1)]);
}

#[test]
fn transactions_that_come_twice_are_read_once() {
    let (file, _) = log_file(&[payload(z(1, 1)), payload(z(1, 2)), payload(z(1, 1)), payload(z(1, 3))]);
    assert_eq!(read(&one_file("log.100000001", file), z(1, 0)).unwrap(), [z(1, 1), z(1, 2), z(1, 3)]);
}

#[test]
fn the_name_must_be_that_of_the_first_transaction() {
    let (file, _) = log_file(&[payload(z(1, 1)), payload(z(1, 2))]);
    assert_eq!(corrupt_at(read(&one_file("log.100000002", file), z(1, 0))), 16);
}

#[test]
fn a_transaction_above_the_limit_is_named_and_not_taken_for_the_end() {
    let large = record(z(1, 2), Txn::Delete("x".repeat(OPTIONS.max_record)));
    let (file, starts) = log_file(&[payload(z(1, 1)), large]);
    assert_eq!(corrupt_at(read(&one_file("log.100000001", file), z(1, 0))), starts[1] as u64);
}

#[test]
fn a_failed_write_is_never_followed_by_another() {
    let scratch = Scratch::new();
    let mut log = open_log(&scratch.open(), Zxid::ZERO);
    std::fs::write(scratch.path().join("log.100000001"), b"in the way").unwrap();
    assert!(matches!(log.append(z(1, 1), &payload(z(1, 1))), Err(DiskError::Io { .. })));
    std::fs::remove_file(scratch.path().join("log.100000001")).unwrap();
    assert!(matches!(log.append(z(1, 1), &payload(z(1, 1))), Err(DiskError::Poisoned { .. })));
    assert!(matches!(log.sync(), Err(DiskError::Poisoned { .. })));
    assert!(matches!(log.roll(), Err(DiskError::Poisoned { .. })));
    assert!(scratch.files().is_empty());
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), with_header: bool) {
        if with_header {
            bytes.splice(0..0, HEADER);
        }
        let scratch = Scratch::with(&one_file("log.1", bytes));
        let mut file = FileReader::open(&scratch.path().join("log.1"), 100).unwrap();
        while let Ok(Step::Record { .. }) = file.next() {}
    }
}

#[test]
fn a_format_of_another_version_is_refused() {
    let (mut content, _) = log_file(&[payload(z(1, 1)), payload(z(1, 2))]);
    content[7] = 3;
    assert_eq!(corrupt_at(read(&one_file("log.100000001", content), z(1, 0))), 4);
}
