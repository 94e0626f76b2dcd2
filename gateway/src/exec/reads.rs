//! Reads of the tree: existence, then permission, then the watch.

use bytes::{BufMut, BytesMut};
use palisade_store::{NodeRef, acl};
use palisade_wire::multi::{MultiHeader, MultiResult};
use palisade_wire::request::Request;
use palisade_wire::{Acl, ErrorCode, Id, OpCode, Perms, Writer};

use super::large::{Inset, LARGE};
use super::{Local, status};

/// Bytes after which a multiRead is refused; Java takes 1 MiB, and 4 MiB before 3.6.
const MAX_MULTI_REPLY: usize = 8 << 20;

/// Bytes of names that are gathered before they are copied to an answer.
const PIECE: usize = 512;

type Done = Result<(), ErrorCode>;

fn readable<'a>(local: &Local<'a>, path: &str, wanted: Perms) -> Result<NodeRef<'a>, ErrorCode> {
    let node = local.tree.node(&local.root.enter(path)).ok_or(ErrorCode::NO_NODE)?;
    if acl::check(node.acl(), wanted, local.ids) { Ok(node) } else { Err(ErrorCode::NO_AUTH) }
}

/// A missing znode leaves a watch too: for its creation.
pub(super) fn exists(local: &Local<'_>, path: &str, watch: bool, out: &mut BytesMut) -> Done {
    if path.contains('\0') {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    let found = readable(local, path, Perms::READ);
    if watch && !matches!(found, Err(ErrorCode::NO_AUTH)) {
        local.watches.lock().add_data(local.slot, path);
    }
    found?.stat().encode(out);
    Ok(())
}

pub(super) fn get_data(local: &Local<'_>, path: &str, watch: bool, out: &mut BytesMut) -> Done {
    let node = readable(local, path, Perms::READ)?;
    if watch {
        local.watches.lock().add_data(local.slot, path);
    }
    match node.data() {
        Some(data) if data.len() >= LARGE => {
            out.put_i32(i32::try_from(data.len()).unwrap_or(i32::MAX));
            let (data, share) = local.large.copy(path, &node.stat(), data);
            local.inset.set(Some(Inset { at: out.len(), data, share }));
        }
        data => out.write_opt_buffer(data),
    }
    node.stat().encode(out);
    Ok(())
}

pub(super) fn get_children(
    local: &Local<'_>,
    path: &str,
    watch: bool,
    with_stat: bool,
    out: &mut BytesMut,
) -> Done {
    let node = readable(local, path, Perms::READ)?;
    if watch {
        local.watches.lock().add_child(local.slot, path);
    }
    write_names(node.child_names(), out);
    if with_stat {
        node.stat().encode(out);
    }
    Ok(())
}

/// A vector of strings, gathered in larger pieces: a buffer looks for room at every call.
fn write_names<'a>(names: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut BytesMut) {
    let (mut piece, mut filled) = ([0; PIECE], 0);
    out.put_i32(i32::try_from(names.len()).unwrap_or(i32::MAX));
    for name in names {
        let needed = 4 + name.len();
        if needed > PIECE - filled {
            out.put_slice(&piece[..filled]);
            filled = 0;
        }
        match piece[filled..].split_at_mut_checked(needed) {
            Some((room, _)) => {
                let (length, bytes) = room.split_at_mut(4);
                length.copy_from_slice(&(name.len() as u32).to_be_bytes());
                bytes.copy_from_slice(name);
                filled += needed;
            }
            None => out.write_buffer(name),
        }
    }
    out.put_slice(&piece[..filled]);
}

pub(super) fn get_acl(local: &Local<'_>, path: &str, out: &mut BytesMut) -> Done {
    let node = readable(local, path, Perms(Perms::READ.0 | Perms::ADMIN.0))?;
    Acl::encode_list(&acl::mask(node.acl(), local.ids), out);
    node.stat().encode(out);
    Ok(())
}

pub(super) fn get_all_children_number(local: &Local<'_>, path: &str, out: &mut BytesMut) -> Done {
    readable(local, path, Perms::READ)?;
    let count = local.root.descendants(local.tree, path).ok_or(ErrorCode::NO_NODE)?;
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
    Ok(())
}

/// The session's own ephemerals; the prefix is compared as a plain string.
pub(super) fn get_ephemerals(local: &Local<'_>, prefix: Option<&str>, out: &mut BytesMut) {
    let prefix = prefix.filter(|p| !matches!(p.trim(), "" | "/")).unwrap_or_default();
    let count_at = out.len();
    out.put_i32(0);
    let mut count: i32 = 0;
    let own = local.tree.ephemerals(local.session).filter_map(|path| local.root.leave(path));
    for path in own.filter(|path| path.starts_with(prefix)) {
        out.write_string(&path);
        count += 1;
    }
    out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
}

/// Each operation by itself; watch flags are ignored.
///
/// # Errors
/// The reply would be larger than any client takes: one small request can ask for the same large znode many times.
pub(super) fn multi_read(local: &Local<'_>, ops: &[(OpCode, Request<'_>)], out: &mut BytesMut) -> Done {
    let limit = out.len() + MAX_MULTI_REPLY;
    for (_, op) in ops {
        if out.len() > limit {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
        let result = match op {
            Request::GetData(p) if p.path == status::PATH => {
                let (data, stat) = local.status.read(local.tree);
                MultiResult::GetData(Some(&data), stat).encode(out);
                continue;
            }
            Request::GetChildren(p) if p.path == status::PATH => Ok(MultiResult::GetChildren(Vec::new())),
            Request::GetData(p) => readable(local, &p.path, Perms::READ)
                .map(|node| MultiResult::GetData(node.data(), node.stat())),
            Request::GetChildren(p) => readable(local, &p.path, Perms::READ)
                .map(|node| MultiResult::GetChildren(node.children().collect())),
            _ => Err(ErrorCode::MARSHALLING_ERROR),
        };
        result.unwrap_or_else(MultiResult::Error).encode(out);
    }
    MultiHeader::END.encode(out);
    Ok(())
}

/// Scheme and user of every identity; of a digest only the user is told.
pub(super) fn who_am_i(ids: &[Id], out: &mut BytesMut) {
    out.write_vec(ids.iter(), |b, id| {
        let user = if id.scheme == "digest" { id.id.split(':').next().unwrap_or_default() } else { &id.id };
        b.write_string(&id.scheme);
        b.write_string(user);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gathered_whatever_their_lengths() {
        for lengths in [&[][..], &[0, 1], &[PIECE - 4], &[PIECE - 3, 3], &[8; 200], &[500, 5, 2 * PIECE, 7]] {
            let names: Vec<Vec<u8>> = lengths.iter().map(|len| vec![b'a'; *len]).collect();
            let (mut gathered, mut plain) = (BytesMut::new(), BytesMut::new());
            write_names(names.iter().map(Vec::as_slice), &mut gathered);
            plain.write_vec(names.iter(), |b, name| b.write_buffer(name));
            assert_eq!(gathered, plain, "{lengths:?}");
        }
    }
}
