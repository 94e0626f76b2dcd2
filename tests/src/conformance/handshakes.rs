//! First frames of all sorts.

use super::chance::Chance;
use super::malformed::frame;
use super::step::Bytes;

/// A connect request, perhaps an odd one.
pub(super) fn any(chance: &mut Chance) -> Bytes {
    if chance.percent(10) {
        let beginnings: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        ];
        return Bytes(chance.pick(&beginnings).to_vec());
    }
    let mut body = Vec::new();
    body.extend_from_slice(&chance.pick(&[0_i32, 0, 1, -1]).to_be_bytes());
    body.extend_from_slice(&chance.pick(&[0_i64, 0, 0, -1, i64::MAX]).to_be_bytes());
    body.extend_from_slice(&chance.pick(&[30_000_i32, 30_000, 0, -1]).to_be_bytes());
    body.extend_from_slice(&chance.pick(&[0_i64, 0, 0, 0x77]).to_be_bytes());
    let password = chance.pick(&[16_usize, 16, 16, 0, 1, 100]);
    let len = chance.weighted(&[(10, password as i32), (1, -1), (1, -2), (1, i32::MAX)]);
    body.extend_from_slice(&len.to_be_bytes());
    body.extend(std::iter::repeat_n(7, if len == password as i32 { password } else { 0 }));
    let ends: [&[u8]; 6] = [b"", b"\0", b"\0", b"\x01", b"\x02", b"\0more"];
    body.extend_from_slice(chance.pick(&ends));
    if chance.percent(15) {
        body.truncate(chance.index(body.len()));
    }
    Bytes(frame(&body))
}
