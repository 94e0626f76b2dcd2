//! `POST /reload`: whoever started this gateway reads its settings again, and tells what came of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

/// How long reading them may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it, for people: what is in force now, or what is wrong with the new settings, all at once.
pub type Outcome = Result<String, String>;

/// Wishes of the admin port that the settings be read again. Whoever has the settings takes them, one after the other.
#[derive(Clone, Debug)]
pub struct Reloads(Arc<Wishes>);

#[derive(Debug)]
struct Wishes {
    sender: mpsc::Sender<Wish>,
    receiver: Mutex<mpsc::Receiver<Wish>>,
}

/// Somebody wants the settings to be read again, and waits for what comes of it.
#[derive(Debug)]
pub struct Wish(oneshot::Sender<Outcome>);

impl Wish {
    /// Tells what came of it.
    pub fn answer(self, outcome: Outcome) {
        // Nobody waits any more.
        let _ = self.0.send(outcome);
    }
}

impl Default for Reloads {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self(Arc::new(Wishes { sender, receiver: Mutex::new(receiver) }))
    }
}

impl Reloads {
    /// Waits for the next wish. Cancel-safe.
    pub async fn next(&self) -> Wish {
        match self.0.receiver.lock().await.recv().await {
            Some(wish) => wish,
            // Never: the sender lives as long.
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn ask(&self) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.sender.send(Wish(answer)).await.ok()?;
            answered.await.ok()
        };
        let silence = || Err("nobody reads this gateway's settings: they stay as they are".to_owned());
        timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_else(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_of_it_is_told_to_who_asked() {
        let reloads = Reloads::default();
        let taker = reloads.clone();
        let (told, ()) = tokio::join!(reloads.ask(), async {
            taker.next().await.answer(Err("wrong".into()));
        });
        assert_eq!(told, Err("wrong".to_owned()));
        let (told, ()) = tokio::join!(reloads.ask(), async { drop(taker.next().await) });
        assert!(told.unwrap_err().contains("stay as they are"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        assert!(Reloads::default().ask().await.is_err());
    }
}
