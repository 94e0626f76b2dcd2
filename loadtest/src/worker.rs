//! One connection under load.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep_until};

use crate::client::{Client, ClientError};
use crate::scenario::Requests;

/// Longest latency that is told apart, in microseconds.
const MAX_LATENCY_US: u64 = 600_000_000;

/// When a run warms up, measures and ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// The first request is due.
    pub(crate) start: Instant,
    /// Measuring starts.
    pub(crate) measure: Instant,
    /// Nothing is sent any more.
    pub(crate) end: Instant,
}

/// How one connection sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Most unanswered requests.
    pub(crate) pipeline: usize,
    /// Open loop: when the first request is due after the start, and how far apart the others are.
    pub(crate) open: Option<(Duration, Duration)>,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Latencies of the operations that were due while measuring, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Operations that were answered while measuring.
    pub(crate) completed: u64,
    /// Answers other than OK, by code.
    pub(crate) errors: BTreeMap<i32, u64>,
}

impl Measured {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3)
            .expect("the bounds and the precision are constants that the histogram allows");
        Self { latency, completed: 0, errors: BTreeMap::new() }
    }

    /// Adds what another connection measured.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
        self.completed += other.completed;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
    }

    fn record(&mut self, due: Instant, answered: Instant, code: i32, schedule: &Schedule) {
        if answered >= schedule.measure && answered < schedule.end {
            self.completed += 1;
        }
        if due >= schedule.measure && due < schedule.end {
            let micros = answered.saturating_duration_since(due).as_micros() as u64;
            self.latency.saturating_record(micros.max(1));
            if code != 0 {
                *self.errors.entry(code).or_default() += 1;
            }
        }
    }
}

/// Sends on one connection until the schedule ends and everything is answered.
pub(crate) async fn run(
    mut client: Client,
    mut requests: Requests,
    pace: Pace,
    schedule: Schedule,
) -> Result<Measured, ClientError> {
    let mut measured = Measured::new();
    let mut waiting: VecDeque<(i32, Instant)> = VecDeque::with_capacity(pace.pipeline);
    let mut due = schedule.start + pace.open.map_or(Duration::ZERO, |(first, _)| first);
    let mut last_sent = Instant::now();
    loop {
        let now = Instant::now();
        while waiting.len() < pace.pipeline && due <= now && (now < schedule.end || !requests.is_balanced()) {
            let intended = if pace.open.is_some() { due } else { now };
            let xid = requests.next(|op, request| client.push(op, request));
            waiting.push_back((xid, intended));
            due += pace.open.map_or(Duration::ZERO, |(_, apart)| apart);
            last_sent = now;
        }
        if waiting.is_empty() && now >= schedule.end {
            client.close().await?;
            return Ok(measured);
        }
        if now.duration_since(last_sent) >= client.ping_interval() {
            client.push_ping();
            last_sent = now;
        }
        client.flush().await?;
        let ping = last_sent + client.ping_interval();
        let wake = if waiting.len() < pace.pipeline && now < schedule.end {
            due.max(now).min(schedule.end).min(ping)
        } else {
            ping
        };
        tokio::select! {
            filled = client.fill() => filled?,
            () = sleep_until(wake) => continue,
        }
        let answered = Instant::now();
        while let Some(header) = client.next_reply()? {
            // No watches are set, so whatever is not an answer is out of order.
            let (xid, intended) = waiting.pop_front().unwrap_or((0, answered));
            client.check_order(xid, header.xid)?;
            measured.record(intended, answered, header.err.0, &schedule);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;
    use palisade_wire::connect::{ConnectResponse, session_password};
    use palisade_wire::reply::ReplyHeader;
    use palisade_wire::request::RequestHeader;
    use palisade_wire::{ErrorCode, OpCode, Reader, Zxid, frame};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::args::Scenario;
    use crate::scenario::Plan;

    /// Serves one connection until its session is closed: deletes fail, the rest succeeds. Returns the operations.
    async fn server(listener: TcpListener) -> Vec<i32> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut input, mut ops) = (BytesMut::new(), Vec::new());
        let mut greeted = false;
        while ops.last() != Some(&OpCode::CloseSession.as_i32()) {
            let mut output = BytesMut::new();
            while let Some(request) = frame::split(&mut input, 1 << 20).unwrap() {
                if !std::mem::replace(&mut greeted, true) {
                    let answer = ConnectResponse {
                        protocol_version: 0,
                        timeout_ms: 10_000,
                        session: 5,
                        password: session_password(5),
                        read_only: Some(false),
                    };
                    frame::write(&mut output, |b| answer.encode(b));
                    continue;
                }
                let header = RequestHeader::decode(&mut Reader::new(&request)).unwrap();
                let fails = header.op == OpCode::Delete.as_i32();
                let err = if fails { ErrorCode::NO_NODE } else { ErrorCode::OK };
                frame::write(&mut output, |b| ReplyHeader { xid: header.xid, zxid: Zxid(1), err }.encode(b));
                ops.push(header.op);
            }
            stream.write_all(&output).await.unwrap();
            stream.read_buf(&mut input).await.unwrap();
        }
        ops
    }

    async fn measure(pace: Pace) -> (Measured, Vec<i32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let plan = Arc::new(Plan {
            scenario: Scenario::CreateDelete,
            reads: 0,
            root: "/r".into(),
            znodes: vec!["/r/0".into()],
            data: vec![1],
        });
        let client = async {
            let client = Client::connect(&target).await.unwrap();
            let start = Instant::now();
            let schedule = Schedule { start, measure: start, end: start + Duration::from_millis(50) };
            run(client, Requests::new(plan, 0), pace, schedule).await.unwrap()
        };
        tokio::join!(client, server(listener))
    }

    #[tokio::test]
    async fn a_closed_loop_counts_what_was_answered_and_leaves_nothing_behind() {
        let (measured, ops) = measure(Pace { pipeline: 3, open: None }).await;
        let count = |wanted: OpCode| ops.iter().filter(|op| **op == wanted.as_i32()).count();
        let (creates, deletes) = (count(OpCode::Create), count(OpCode::Delete));
        assert!(creates > 0);
        assert_eq!(creates, deletes);
        assert!(measured.latency.len() <= (ops.len() - 1) as u64);
        assert!(measured.errors[&ErrorCode::NO_NODE.0] <= deletes as u64);
    }

    #[tokio::test]
    async fn an_open_loop_sends_what_is_due_and_no_more() {
        let apart = Duration::from_millis(5);
        let (measured, ops) = measure(Pace { pipeline: 100, open: Some((Duration::ZERO, apart)) }).await;
        // Due at 0, 5, … 45 ms; a request that waited for the end is not sent at all.
        assert!((2..=11).contains(&ops.len()), "{ops:?}");
        assert!(measured.latency.len() <= 10);
        assert!(measured.latency.max() >= 1);
    }
}
