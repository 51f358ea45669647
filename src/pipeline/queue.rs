//! A queue bounded in bytes: what waits between two tasks is what the memory limit says, however
//! large one element is.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Elements that may wait whatever their size: bounds what the bookkeeping itself takes.
const ELEMENTS: usize = 8192;

/// Permits are counted in blocks, so that a limit of gigabytes fits the semaphore's 32-bit requests.
const BLOCK: usize = 1024;

/// The putting side.
#[derive(Debug)]
pub struct Sender<T> {
    channel: mpsc::Sender<(T, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    blocks: u32,
}

/// The taking side.
#[derive(Debug)]
pub struct Receiver<T>(mpsc::Receiver<(T, OwnedSemaphorePermit)>);

/// A queue that holds at most `bytes`, or one element that is larger.
pub fn bounded<T>(bytes: usize) -> (Sender<T>, Receiver<T>) {
    let blocks = u32::try_from(bytes / BLOCK).unwrap_or(u32::MAX).max(1);
    let (sender, receiver) = mpsc::channel(ELEMENTS);
    let room = Arc::new(Semaphore::new(usize::try_from(blocks).unwrap_or(usize::MAX)));
    (
        Sender {
            channel: sender,
            room,
            blocks,
        },
        Receiver(receiver),
    )
}

impl<T> Sender<T> {
    /// Puts an element of a size in; waits for room. Returns whether somebody is still there to take it.
    pub async fn send(&self, element: T, bytes: usize) -> bool {
        let wanted = u32::try_from(bytes / BLOCK + 1)
            .unwrap_or(u32::MAX)
            .min(self.blocks);
        let Ok(permit) = Arc::clone(&self.room).acquire_many_owned(wanted).await else {
            return false;
        };
        self.channel.send((element, permit)).await.is_ok()
    }
}

impl<T> Receiver<T> {
    /// Takes the next element; `None` when no sender is left.
    pub async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.map(|(element, _room)| element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_waits_and_an_oversized_element_passes_alone() {
        let (sender, mut receiver) = bounded::<u8>(10 * BLOCK);
        assert!(sender.send(1, 100 * BLOCK).await);
        let mut second = Box::pin(sender.send(2, 1));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(receiver.recv().await, Some(1));
        assert!(second.await);
        assert_eq!(receiver.recv().await, Some(2));
    }

    #[tokio::test]
    async fn sending_to_nobody_is_told() {
        let (sender, receiver) = bounded::<u8>(BLOCK);
        drop(receiver);
        assert!(!sender.send(1, 1).await);
    }
}
