//! How long a connection has been in the middle of a request's headers. hyper's own limit counts from the previous
//! response on, so that it would close connections which proxies keep for later.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::sleep;

/// Time between two looks at a connection.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a connection is doing, shared by those who see it.
#[derive(Debug, Clone)]
pub struct HeadTimer(Arc<Mutex<Phase>>);

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// Headers began to come then.
    Head(Instant),
    /// A request is being answered.
    Busy,
}

impl HeadTimer {
    /// For a new connection.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Phase::Idle)))
    }

    /// The headers are there.
    pub fn start_request(&self) {
        self.set(Phase::Busy);
    }

    /// The request is answered.
    pub fn end_request(&self) {
        self.set(Phase::Idle);
    }

    /// Is done when headers have been coming for longer than `max`.
    pub async fn exceeds(&self, max: Duration) {
        loop {
            sleep(LOOK_EVERY).await;
            if let Phase::Head(start) = self.phase()
                && start.elapsed() > max
            {
                return;
            }
        }
    }

    /// The same bytes as from `inner`, which this timer sees coming.
    pub fn watch<R>(&self, inner: R) -> Watched<R> {
        Watched { inner, timer: self.clone() }
    }

    fn received(&self) {
        if let Phase::Idle = self.phase() {
            self.set(Phase::Head(Instant::now()));
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

/// Bytes that a [`HeadTimer`] sees coming.
#[derive(Debug)]
pub struct Watched<R> {
    inner: R,
    timer: HeadTimer,
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
