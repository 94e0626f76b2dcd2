//! Four-letter words: monitoring in plain text, on the client port and on the admin port
//! (Apache `FourLetterCommands`, `server.command`).
//!
//! Fixed parts are Apache's byte for byte, as scrapers match on them.

mod connections;
mod server;

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::edge::{Client, Edge};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A word that is known here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Word {
            $($(#[$doc])* $name,)*
        }

        impl Word {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word itself.
            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

words! {
    /// Settings.
    Conf = "conf";
    /// Connections in full.
    Cons = "cons";
    /// Resets the counters of connections.
    Crst = "crst";
    /// Size of the data directory.
    Dirs = "dirs";
    /// Sessions, ephemerals and connections.
    Dump = "dump";
    /// The process's environment.
    Envi = "envi";
    /// The trace mask.
    Gtmk = "gtmk";
    /// The tree's digests.
    Hash = "hash";
    /// Whether writes are served.
    Isro = "isro";
    /// All metrics.
    Mntr = "mntr";
    /// Whether anybody is there.
    Ruok = "ruok";
    /// Resets the counters of the server.
    Srst = "srst";
    /// The server in brief.
    Srvr = "srvr";
    /// The server and its connections.
    Stat = "stat";
    /// Sets the trace mask.
    Stmk = "stmk";
    /// Watches by connection.
    Wchc = "wchc";
    /// Watches by path.
    Wchp = "wchp";
    /// Watches, counted.
    Wchs = "wchs";
}

impl Word {
    /// The word that these bytes are, if any. Upper case is none.
    pub(crate) fn parse(bytes: [u8; 4]) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.text().as_bytes() == bytes)
    }

    /// Whether it answers before the replica has anything to say.
    const fn needs_no_replica(self) -> bool {
        matches!(self, Self::Ruok | Self::Envi | Self::Gtmk | Self::Stmk)
    }
}

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The trace mask, which nothing reads: some tools set it.
static TRACE_MASK: AtomicI64 = AtomicI64::new(306);

/// The answer to a word. `asking` is the client port's connection that asks; without one, the admin port asks, where
/// every word is allowed. `argument` is the mask of [`Word::Stmk`].
pub(crate) fn answer(word: Word, argument: Option<i64>, edge: &Edge, asking: Option<&Client>) -> String {
    if asking.is_some() && !edge.allows(word) {
        return format!("{} is not executed because it is not in the whitelist.\n", word.text());
    }
    if !word.needs_no_replica() && !edge.is_serving() {
        return match word {
            Word::Isro => "null".to_owned(),
            Word::Hash => NOT_SERVING.trim_end().to_owned(),
            _ => NOT_SERVING.to_owned(),
        };
    }
    match word {
        Word::Ruok => "imok".to_owned(),
        Word::Isro => "rw".to_owned(),
        Word::Gtmk => TRACE_MASK.load(Ordering::Relaxed).to_string(),
        Word::Stmk => {
            let mask = argument.unwrap_or(0);
            TRACE_MASK.store(mask, Ordering::Relaxed);
            mask.to_string()
        }
        Word::Srst => {
            edge.hub.stats().reset();
            "Server stats reset.\n".to_owned()
        }
        Word::Crst => {
            edge.hub.clients().iter().for_each(|client| client.stats.reset());
            "Connection stats reset.\n".to_owned()
        }
        // Apache lists digests of every 128th transaction; none are kept here.
        Word::Hash => String::new(),
        Word::Conf => server::conf(edge),
        Word::Dirs => server::dirs(edge),
        Word::Envi => server::envi(),
        Word::Mntr => server::mntr(edge),
        Word::Srvr => server::srvr(edge),
        Word::Stat => connections::stat(edge, asking),
        Word::Cons => connections::cons(edge, asking),
        Word::Dump => connections::dump(edge),
        Word::Wchs => connections::wchs(edge),
        Word::Wchc => connections::wchc(edge),
        Word::Wchp => connections::wchp(edge),
    }
}

/// Appends formatted text; writing to a string cannot fail.
fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_ascii() {
        for word in Word::ALL {
            let bytes: [u8; 4] = word.text().as_bytes().try_into().unwrap();
            assert_eq!(Word::parse(bytes), Some(*word));
        }
        for other in [*b"RUOK", *b"abcd", [0, 0, 0, 45]] {
            assert_eq!(Word::parse(other), None);
        }
    }
}
