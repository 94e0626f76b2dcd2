mod cut;
mod file;
mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{LogReader, LogRecord, LogTail};
pub use writer::{LogOptions, TxnLog};
