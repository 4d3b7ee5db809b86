//! The server's state, which all requests share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use feature_cache::ClassNames;
use tokio::sync::oneshot;

use super::fetch::Fetcher;
use super::log::LoggedRequest;
use super::metrics::Metrics;
use super::queue::{Full, Job, JobResult, Queue};
use super::upload::{Budget, Upload};

/// The server's state, which all requests share.
#[derive(Debug)]
pub struct ServerState {
    /// Pictures that wait for a worker.
    pub queue: Queue,
    /// The memory for bodies.
    pub budget: Budget,
    /// Fetches the pictures of `{"url": …}`.
    pub fetcher: Fetcher,
    /// The head's classes, in the order of the probabilities.
    pub classes: ClassNames,
    /// Counters and histograms, for `GET /metrics`.
    pub metrics: Metrics,
    /// Where requests are logged.
    pub log: Log,
    /// Whether the server has been told to stop.
    pub stopping: AtomicBool,
}

/// Where requests are logged.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&LoggedRequest) + Send + Sync>);

impl Log {
    /// Calls `write` with every request.
    pub fn new(write: impl Fn(&LoggedRequest) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Logs a request.
    pub fn write(&self, request: &LoggedRequest) {
        (self.0)(request);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl ServerState {
    /// Puts the pictures of a request into the queue: all or none. Returns a receiver of the answer for each, in the
    /// order of the pictures.
    ///
    /// # Errors
    /// If the queue has no room for them.
    pub fn submit(&self, pictures: Vec<Upload>) -> Result<Vec<oneshot::Receiver<JobResult>>, Full> {
        let (jobs, answers) = pictures.into_iter().map(Job::new).unzip();
        self.queue.add(jobs)?;
        Ok(answers)
    }
}
