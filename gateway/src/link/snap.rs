//! The tree stream behind a SNAP packet.

use bytes::{Buf, BytesMut};
use palisade_store::{DataTree, SnapshotError, SnapshotReader};
use palisade_wire::Zxid;
use palisade_wire::quorum::SNAP_SIGNATURE;

/// Reads one as its bytes arrive.
#[derive(Debug)]
pub(crate) struct SnapStream {
    reader: SnapshotReader,
    tree: Option<Box<DataTree>>,
    max_field: usize,
}

/// What stands behind SNAP is not a tree with its signature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapError {
    #[error(transparent)]
    Tree(#[from] SnapshotError),
    #[error("the snapshot does not end with its signature")]
    Signature,
}

impl SnapStream {
    /// The stream behind a SNAP packet of this zxid. No field of it may exceed `max_field` bytes.
    pub(crate) fn new(zxid: Zxid, max_field: usize) -> Self {
        Self { reader: SnapshotReader::new(zxid), tree: None, max_field }
    }

    /// Consumes what has arrived; the tree, at the packet's zxid, once all of it has.
    pub(crate) fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Box<DataTree>>, SnapError> {
        if self.tree.is_none() {
            let Some(tree) = self.reader.feed(input, self.max_field)? else { return Ok(None) };
            self.tree = Some(Box::new(tree));
        }
        let signature = SNAP_SIGNATURE.as_bytes();
        let Some(found) = input.get(..4 + signature.len()) else { return Ok(None) };
        let (len, text) = found.split_at(4);
        if len != (signature.len() as u32).to_be_bytes() || text != signature {
            return Err(SnapError::Signature);
        }
        input.advance(4 + signature.len());
        Ok(self.tree.take())
    }
}
