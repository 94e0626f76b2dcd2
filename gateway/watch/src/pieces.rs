//! What waits for one socket, piece by piece.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::event::Event;

/// Places that are kept when nothing waits.
const KEEP: usize = 16;

/// Bytes that leave one after the other.
#[derive(Debug)]
pub(crate) enum Piece {
    Event(Arc<Event>),
    /// So many bytes of the outbox's replies.
    Replies(usize),
    /// Part of a reply that others are sent as well.
    Shared(Box<Bytes>),
}

/// Pieces in their order. Mostly there is one at a time, which is kept in place: of very many clients that are told the
/// same, each would otherwise need memory of its own for a moment.
#[derive(Debug, Default)]
pub(crate) enum Pieces {
    #[default]
    Nothing,
    One(Piece),
    Many(VecDeque<Piece>),
}

impl Pieces {
    pub(crate) fn push(&mut self, piece: Piece) {
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(piece),
            Self::One(first) => Self::Many(VecDeque::from([first, piece])),
            Self::Many(mut many) => {
                many.push_back(piece);
                Self::Many(many)
            }
        };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(crate) fn first(&mut self) -> Option<&mut Piece> {
        match self {
            Self::Nothing => None,
            Self::One(piece) => Some(piece),
            Self::Many(many) => many.front_mut(),
        }
    }

    pub(crate) fn last(&mut self) -> Option<&mut Piece> {
        match self {
            Self::Nothing => None,
            Self::One(piece) => Some(piece),
            Self::Many(many) => many.back_mut(),
        }
    }

    pub(crate) fn drop_first(&mut self) {
        match self {
            Self::Nothing | Self::One(_) => *self = Self::Nothing,
            Self::Many(many) => drop(many.pop_front()),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Piece> {
        let (one, many) = match self {
            Self::Nothing => (None, None),
            Self::One(piece) => (Some(piece), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Gives memory back that was needed for many, if nothing waits.
    pub(crate) fn give_back(&mut self) {
        if let Self::Many(many) = self
            && many.is_empty()
            && many.capacity() > KEEP
        {
            *self = Self::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(pieces: &Pieces) -> Vec<usize> {
        let length = |piece: &Piece| match piece {
            Piece::Replies(length) => *length,
            Piece::Event(_) | Piece::Shared(_) => 0,
        };
        pieces.iter().map(length).collect()
    }

    #[test]
    fn any_number_stays_in_order() {
        let mut pieces = Pieces::default();
        for round in 0..3 {
            for count in 0..2 * KEEP {
                assert_eq!(lengths(&pieces), (0..count).collect::<Vec<_>>(), "{round}");
                assert_eq!(pieces.is_empty(), count == 0);
                pieces.push(Piece::Replies(count));
                assert!(matches!(pieces.last(), Some(Piece::Replies(last)) if *last == count));
            }
            for count in 0..2 * KEEP {
                assert!(matches!(pieces.first(), Some(Piece::Replies(first)) if *first == count));
                pieces.drop_first();
            }
            assert!(pieces.is_empty() && pieces.first().is_none() && pieces.last().is_none());
        }
        pieces.give_back();
        assert!(matches!(pieces, Pieces::Nothing));
    }

    #[test]
    fn one_takes_no_memory_of_its_own() {
        let mut pieces = Pieces::default();
        for _ in 0..3 {
            pieces.push(Piece::Replies(1));
            assert!(matches!(pieces, Pieces::One(_)));
            pieces.drop_first();
        }
        assert_eq!(size_of::<Pieces>(), size_of::<VecDeque<Piece>>());
    }
}
