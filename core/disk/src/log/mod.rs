mod cut;
#[cfg(test)]
mod cut_tests;
mod file;
mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{LogReader, LogRecord, LogTail};
pub use writer::{LogOptions, TxnLog};
