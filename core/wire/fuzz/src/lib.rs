//! What every decoder must do with arbitrary bytes: not panic, and agree with its encoder about whatever it accepts.
//!
//! One function per decoder. They are the bodies of the fuzz targets beside this file, and the tests in
//! `core/wire/tests/arbitrary_bytes.rs` run the same functions on a stable compiler.

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::election::{InitialMessage, Notification};
use palisade_wire::multi::MultiHeader;
use palisade_wire::quorum::{self, ForwardedRequest, LearnerInfo, QuorumPacket};
use palisade_wire::reply::{ReplyHeader, WatchEvent};
use palisade_wire::request::{Request, RequestHeader};
use palisade_wire::txn::TxnRecord;
use palisade_wire::{Acl, DecodeError, OpCode, Reader, Stat, frame};

/// What a fuzz target does with its input.
pub type Body = fn(&[u8]);

/// All of them, by the name of their fuzz target.
pub const TARGETS: [(&str, Body); 8] = [
    ("connect", connect),
    ("election_initial", election_initial),
    ("election_notification", election_notification),
    ("frame", frames),
    ("quorum_packet", quorum_packet),
    ("reply", reply),
    ("request", request),
    ("txn", txn),
];

/// Limit of what is split off a stream, in bytes: far more than what is allowed to be allocated for a short input.
const MAX: usize = 16 << 20;

/// Both messages of the handshake.
pub fn connect(data: &[u8]) {
    if let Ok(request) = ConnectRequest::decode(data) {
        let mut buf = Vec::new();
        request.encode(&mut buf);
        assert_eq!(ConnectRequest::decode(&buf), Ok(request));
    }
    if let Ok(response) = ConnectResponse::decode(data) {
        let mut buf = Vec::new();
        response.encode(&mut buf);
        assert!(data.starts_with(&buf[..buf.len() - 1]));
        assert_eq!(ConnectResponse::decode(&buf), Ok(response));
    }
}

/// A request's header, and its body as that of every operation.
pub fn request(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(header) = RequestHeader::decode(&mut r) else { return };
    let Some(op) = OpCode::from_i32(header.op) else { return };
    let Ok(request) = Request::decode(op, r.rest()) else { return };
    let mut buf = Vec::new();
    request.encode(&mut buf);
    assert_eq!(Request::decode(op, &buf), Ok(request));
}

/// What a client receives.
pub fn reply(data: &[u8]) {
    let mut r = Reader::new(data);
    if let Ok(header) = ReplyHeader::decode(&mut r)
        && let Ok(event) = WatchEvent::decode(&header, r.rest())
    {
        let mut buf = Vec::new();
        event.encode(&mut buf);
        assert_eq!(WatchEvent::decode(&header, &buf[ReplyHeader::LEN..]), Ok(event));
    }
    let _ = MultiHeader::decode(&mut Reader::new(data));
    let mut r = Reader::new(data);
    if let Ok(stat) = Stat::decode(&mut r) {
        let mut buf = Vec::new();
        stat.encode(&mut buf);
        assert_eq!(buf, data[..Stat::LEN]);
    }
    let mut r = Reader::new(data);
    if let Ok(Some(acl)) = r.opt_vec("acl", Acl::decode) {
        let mut buf = Vec::new();
        Acl::encode_list(&acl, &mut buf);
        assert_eq!(Reader::new(&buf).vec("acl", Acl::decode), Ok(acl));
    }
}

/// A stream of frames.
pub fn frames(data: &[u8]) {
    let all = split_all(data, |buf| frame::split(buf, MAX));
    let mut buf = BytesMut::new();
    for body in &all {
        frame::write(&mut buf, |b| b.extend_from_slice(body));
    }
    assert!(data.starts_with(&buf));
}

/// A stream of packets between a leader and a learner, and what is in their data.
pub fn quorum_packet(data: &[u8]) {
    for packet in split_all(data, |buf| QuorumPacket::split(buf, MAX)) {
        let mut buf = BytesMut::new();
        packet.encode(&mut buf);
        assert_eq!(QuorumPacket::split(&mut buf, MAX), Ok(Some(packet.clone())));
        assert!(buf.is_empty());
        packet_data(packet.data.unwrap_or_default());
    }
    packet_data(Bytes::copy_from_slice(data));
}

fn packet_data(data: Bytes) {
    if let Ok(info) = LearnerInfo::decode(&data) {
        assert_eq!(LearnerInfo::decode(&info.encode()), Ok(info));
    }
    if let Ok(request) = ForwardedRequest::decode(&data) {
        assert_eq!(request.encode(), data);
    }
    if let Ok(touched) = quorum::decode_touched(&data) {
        assert_eq!(quorum::encode_touched(touched.into_iter()), data);
    }
    if let Ok((session, timeout_ms)) = quorum::decode_revalidate(&data) {
        assert!(data.starts_with(&quorum::encode_revalidate(session, timeout_ms)));
    }
    if let Ok((session, valid)) = quorum::decode_revalidated(&data) {
        assert_eq!(
            quorum::decode_revalidated(&quorum::encode_revalidated(session, valid)),
            Ok((session, valid))
        );
    }
}

/// The first message on the election port.
pub fn election_initial(data: &[u8]) {
    for message in split_all(data, InitialMessage::split).into_iter().take(1) {
        let mut buf = BytesMut::new();
        message.encode(&mut buf);
        let again = InitialMessage::split(&mut buf).expect("it was just written").expect("and is whole");
        assert_eq!((again.sid, again.addresses.first()), (message.sid, message.addresses.first()));
    }
}

/// The body of a notification.
pub fn election_notification(data: &[u8]) {
    let Ok(notification) = Notification::decode(&Bytes::copy_from_slice(data)) else { return };
    let mut buf = BytesMut::new();
    notification.encode(&mut buf);
    let body = frame::split(&mut buf, usize::MAX).expect("it was just written").expect("and is whole");
    let again = Notification::decode(&body).expect("it was just written");
    assert_eq!(
        (again.leader, again.zxid, again.peer_epoch),
        (notification.leader, notification.zxid, notification.peer_epoch)
    );
    assert_eq!(
        (again.state, again.round, again.config),
        (notification.state, notification.round, notification.config)
    );
}

/// A transaction in a proposal or a log.
pub fn txn(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    let Ok(record) = TxnRecord::decode(&payload) else { return };
    assert_eq!(TxnRecord::peek_zxid(data), Ok(record.header.zxid));
    let again = TxnRecord::decode(&record.encode()).expect("it was just written");
    assert_eq!((again.header, &again.txn), (record.header, &record.txn));
}

/// Splits everything off a stream, once in one piece and once as it might arrive, and sees that both agree.
fn split_all<T: PartialEq + std::fmt::Debug>(
    data: &[u8],
    mut split: impl FnMut(&mut BytesMut) -> Result<Option<T>, DecodeError>,
) -> Vec<T> {
    let mut all = Vec::new();
    let mut buf = BytesMut::from(data);
    let end = drain(&mut buf, &mut split, &mut all);
    let piece = usize::from(data.first().copied().unwrap_or(0) % 61) + 1;
    let mut in_pieces = Vec::new();
    let mut buf = BytesMut::new();
    let mut end_in_pieces = Ok(());
    for chunk in data.chunks(piece) {
        buf.extend_from_slice(chunk);
        end_in_pieces = drain(&mut buf, &mut split, &mut in_pieces);
        if end_in_pieces.is_err() {
            break;
        }
    }
    assert_eq!(all, in_pieces);
    assert_eq!(end.is_err(), end_in_pieces.is_err());
    all
}

fn drain<T>(
    buf: &mut BytesMut,
    split: &mut impl FnMut(&mut BytesMut) -> Result<Option<T>, DecodeError>,
    into: &mut Vec<T>,
) -> Result<(), DecodeError> {
    while let Some(item) = split(buf)? {
        into.push(item);
    }
    Ok(())
}
