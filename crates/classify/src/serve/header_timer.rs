//! How long a connection has been sending a request's headers. hyper's own limit counts from the previous response on,
//! so it would also close connections that proxies keep open for later requests.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::sleep;

/// Time between two checks of a connection.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// The phase that a connection is in, shared by the reader of its bytes, the handler of its requests and the limit.
#[derive(Debug, Clone)]
pub struct HeaderTimer(Arc<Mutex<Phase>>);

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No byte of the next request has been received.
    Idle,
    /// Headers are being received, since this instant.
    Headers(Instant),
    /// A request is being answered.
    Busy,
}

impl HeaderTimer {
    /// For a new connection.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Phase::Idle)))
    }

    /// To call when a request's headers have been received.
    pub fn start_request(&self) {
        self.set(Phase::Busy);
    }

    /// To call when the request is answered.
    pub fn end_request(&self) {
        self.set(Phase::Idle);
    }

    /// Waits until headers have been incomplete for longer than `max`. Returns how long they have been incomplete.
    pub async fn until_too_slow(&self, max: Duration) -> Duration {
        loop {
            sleep(CHECK_EVERY).await;
            if let Phase::Headers(start) = self.phase() {
                let elapsed = start.elapsed();
                if elapsed > max {
                    return elapsed;
                }
            }
        }
    }

    /// Waits for the rest of the headers that are being received, if any.
    pub async fn until_complete(&self) {
        while let Phase::Headers(_) = self.phase() {
            sleep(CHECK_EVERY).await;
        }
    }

    /// A reader of the bytes of `inner`, which tells this timer when bytes are received.
    pub fn watch<R>(&self, inner: R) -> Watched<R> {
        Watched { inner, timer: self.clone() }
    }

    fn received(&self) {
        if let Phase::Idle = self.phase() {
            self.set(Phase::Headers(Instant::now()));
        }
    }

    fn phase(&self) -> Phase {
        *self.0.lock().expect(NO_PANIC)
    }

    fn set(&self, phase: Phase) {
        *self.0.lock().expect(NO_PANIC) = phase;
    }
}

const NO_PANIC: &str = "nothing panics while it holds the lock";

/// A reader that tells a [`HeaderTimer`] when bytes are received.
#[derive(Debug)]
pub struct Watched<R> {
    inner: R,
    timer: HeaderTimer,
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.timer.received();
        }
        polled
    }
}
