//! Bodies of requests: read with limits on their size and time, and held within a budget of memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The longest body of a request, and the largest file that is fetched.
pub const MAX_BODY: usize = 20_000_000;

/// The bytes of all bodies together, from their first byte until their pictures are decoded. While a JSON body is
/// parsed and its base64 decoded, it takes up to three times what is counted.
const MAX_HELD: usize = 32_000_000;

/// At most this many bytes of a refused body are read, so that the client finishes sending and reads the answer.
const MAX_DISCARDED: usize = 100_000_000;

/// The most bytes of a form that may arrive before a part or a piece of one is complete: multer keeps them all, and
/// searches them again whenever more arrive.
pub const MAX_BEFORE_PART: usize = 1_000_000;

/// A client may pause for this long.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A body must be complete within this time of its headers. A server that is being stopped waits this long for a body.
const MAX_TIME: Duration = Duration::from_secs(20);

/// Why a body is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Over [`MAX_BODY`].
    #[error("the body is over {MAX_BODY} bytes")]
    TooLarge,
    /// The bodies that the server holds have reached its limit.
    #[error("the server is busy; try again")]
    Busy,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    Slow,
    /// The client ended before the body did.
    #[error("the body ended early")]
    Incomplete,
    /// Over [`MAX_BEFORE_PART`].
    #[error("not a form: no part begins within {MAX_BEFORE_PART} bytes")]
    NoPart,
}

/// The memory that bodies may take, shared by all requests.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

/// The bytes of a body or a part of one, which count in the budget until they are dropped.
#[derive(Debug)]
pub struct Upload {
    bytes: Vec<u8>,
    held: OwnedSemaphorePermit,
}

impl Budget {
    /// The full budget of a server.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_HELD)))
    }

    /// An upload without bytes yet.
    pub fn upload(&self) -> Upload {
        let held = Arc::clone(&self.0).try_acquire_many_owned(0);
        let held = held.expect("zero permits are always available, and the semaphore is never closed");
        Upload { bytes: Vec::new(), held }
    }
}

impl Upload {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// [`UploadError::Busy`] if the budget is used up, [`UploadError::TooLarge`] over the limit of a body.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), UploadError> {
        if self.bytes.len() + chunk.len() > MAX_BODY {
            return Err(UploadError::TooLarge);
        }
        self.hold(chunk.len())?;
        let length = self.bytes.len() + chunk.len();
        if length > self.bytes.capacity() {
            // On its own, the vector would reserve twice what it has.
            self.bytes.reserve_exact(chunk.len() + length / 8);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Counts so many bytes more, which are kept elsewhere.
    ///
    /// # Errors
    /// [`UploadError::Busy`] if the budget is used up.
    pub fn hold(&mut self, count: usize) -> Result<(), UploadError> {
        let count = u32::try_from(count).map_err(|_| UploadError::Busy)?;
        let held = Arc::clone(self.held.semaphore()).try_acquire_many_owned(count).map_err(|_| UploadError::Busy)?;
        self.held.merge(held);
        Ok(())
    }

    /// How many bytes it counts in the budget.
    pub fn held(&self) -> usize {
        self.held.num_permits()
    }

    /// Replaces the bytes by others, at most as many; the memory that is no longer needed returns to the budget.
    pub fn replace(mut self, bytes: Vec<u8>) -> Self {
        let fewer = self.bytes.len().checked_sub(bytes.len()).expect("no more bytes than before");
        self.bytes = bytes;
        drop(self.held.split(fewer));
        self
    }
}

impl AsRef<[u8]> for Upload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that is being read.
#[derive(Debug)]
pub struct Incoming {
    body: Body,
    /// Whether the client sends the body only when it is asked for it (`Expect: 100-continue`).
    waits: bool,
    received: usize,
    deadline: Instant,
    /// No more bytes will be received: the body is complete, or has failed.
    ended: bool,
}

impl Incoming {
    /// The body of a request whose headers have just arrived.
    pub fn new(headers: &HeaderMap, body: Body) -> Self {
        let waits = headers.contains_key(EXPECT);
        Self { body, waits, received: 0, deadline: Instant::now() + MAX_TIME, ended: false }
    }

    /// The whole body.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub async fn read(&mut self, budget: &Budget) -> Result<Upload, UploadError> {
        let mut upload = budget.upload();
        while let Some(chunk) = self.chunk().await {
            upload.push(&chunk?)?;
        }
        Ok(upload)
    }

    /// The body piece by piece.
    pub fn stream(&mut self) -> impl Stream<Item = Result<Bytes, UploadError>> + Send {
        stream::unfold(self, |incoming| async move { incoming.chunk().await.map(|chunk| (chunk, incoming)) })
    }

    /// Reads the rest and drops it: a client that is still sending would not see the answer.
    pub async fn discard(&mut self) {
        if self.waits && self.received == 0 {
            return;
        }
        while !self.ended && self.received < MAX_DISCARDED {
            // A failure ends it.
            let _ = self.next().await;
        }
    }

    /// The next piece; `None` at the end. Fails as soon as the body is known to be over the limit.
    async fn chunk(&mut self) -> Option<Result<Bytes, UploadError>> {
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if self.received.saturating_add(announced) > MAX_BODY {
            return Some(Err(UploadError::TooLarge));
        }
        let chunk = self.next().await?;
        Some(if self.received > MAX_BODY { Err(UploadError::TooLarge) } else { chunk })
    }

    /// The next piece, without the limit on the body's size; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, UploadError>> {
        while !self.ended {
            let until = self.deadline.min(Instant::now() + MAX_PAUSE);
            let failure = match timeout_at(until, self.body.frame()).await {
                Ok(None) => {
                    self.ended = true;
                    return None;
                }
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => {
                        self.received += chunk.len();
                        return Some(Ok(chunk));
                    }
                    // Trailers say nothing of a picture.
                    Err(_) => continue,
                },
                Ok(Some(Err(_))) => UploadError::Incomplete,
                Err(_) => UploadError::Slow,
            };
            self.ended = true;
            return Some(Err(failure));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_count_until_they_are_dropped() {
        let budget = Budget::new();
        let (mut first, mut second) = (budget.upload(), budget.upload());
        first.push(&vec![0; MAX_BODY]).unwrap();
        assert!(matches!(first.push(&[0]), Err(UploadError::TooLarge)));
        second.push(&vec![0; MAX_HELD - MAX_BODY]).unwrap();
        assert!(matches!(second.push(&[0]), Err(UploadError::Busy)));
        let first = first.replace(vec![0; MAX_BODY - 1]);
        second.push(&[0]).unwrap();
        assert!(matches!(second.push(&[0]), Err(UploadError::Busy)));
        drop(first);
        second.push(&[0]).unwrap();
        assert_eq!(second.as_ref().len(), MAX_HELD - MAX_BODY + 2);
        drop(second);
        assert_eq!(budget.0.available_permits(), MAX_HELD);
    }

    #[test]
    fn an_upload_reserves_little_more_than_it_counts() {
        let mut upload = Budget::new().upload();
        for _ in 0..2000 {
            upload.push(&[0; 1000]).unwrap();
            let (length, capacity) = (upload.bytes.len(), upload.bytes.capacity());
            assert!(capacity <= length + length / 8, "{capacity} for {length}");
        }
    }
}
