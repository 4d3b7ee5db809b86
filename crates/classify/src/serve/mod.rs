//! `classify serve`: a run's head behind HTTP, for programs and, with a page, for people.
//!
//! ```text
//! connections ─ routes ─┬─ predict (upload, fetch) ─ queue ─▶ workers (a core each) ─▶ answers
//!                       └─ page, health, metrics, openapi
//! ```
//!
//! A request's pictures wait in the queue with those of other requests; a worker takes a batch, decodes it and runs the
//! network. What would take too much memory is refused before: bodies have a budget, the queue has a length, and a
//! picture's header says how many pixels it has.

mod upload;
mod queue;
mod worker;
mod fetch;
mod refusal;
mod metrics;
mod log;
mod state;
mod predict;
mod health;
mod page;
mod openapi;
mod routes;
mod header_timer;
mod connections;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use backbone::memory::return_large_blocks;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use self::fetch::Fetcher;
use self::health::{GoldenCheck, Info};
pub use self::log::{LogFormat, LoggedRequest};
use self::metrics::Metrics;
use self::queue::Queue;
use self::routes::{HandlerState, router};
pub use self::state::Log;
use self::state::ServerState;
use self::upload::Budget;
use crate::model::{GoldenError, Model};

/// Threads for connections and requests, which mostly wait; the answers are computed on the workers' threads.
const IO_THREADS: usize = 2;

/// The maximum number of threads that fetch pictures or parse large JSON bodies.
const BLOCKING_THREADS: usize = 16;

/// A server that listens on an address, and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why a server cannot run, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program has the port, or the address is not this machine's.
    #[error("{address}: cannot be listened on: {error}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The network is wrong.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// The operating system gives no threads or signals.
    #[error("cannot be started: {0}")]
    Start(io::Error),
    /// Requests were still not answered when the time for stopping was over.
    #[error("{0} requests took too long and were broken off")]
    BrokenOff(usize),
}

impl Server {
    /// Takes the address; with port 0 the operating system chooses a free port.
    ///
    /// # Errors
    /// If another program has the port, or the address is not this machine's.
    pub fn bind(host: IpAddr, port: u16) -> Result<Self, ServerError> {
        let address = SocketAddr::new(host, port);
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        });
        bound.map_err(|error| ServerError::Address { address, error })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until the process gets SIGTERM or SIGINT, and then those that it has accepted. Pictures are
    /// fetched only from `allowed_hosts` (`host` or `host:port`). `on_start` is called when the server is ready.
    ///
    /// # Errors
    /// If the network is wrong, the operating system gives no threads, or requests were broken off at the end.
    pub fn run(
        self,
        model: &Model,
        allowed_hosts: &[String],
        log: Log,
        on_start: impl FnOnce(),
    ) -> Result<(), ServerError> {
        let golden = Arc::new(GoldenCheck::new(model.golden()?, model.precision().tolerance()));
        let server = Arc::new(ServerState {
            queue: Queue::default(),
            budget: Budget::new(),
            fetcher: Fetcher::new(allowed_hosts),
            classes: model.classes().clone(),
            metrics: Metrics::new(),
            log,
            stopping: AtomicBool::new(false),
        });
        let state =
            HandlerState { server: Arc::clone(&server), golden: Arc::clone(&golden), info: Arc::new(Info::new(model)) };
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(IO_THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()
            .map_err(ServerError::Start)?;
        return_large_blocks();
        let served = thread::scope(|scope| {
            for _ in 0..model.threads() {
                let (model, server) = (model.for_thread(), &server);
                scope.spawn(move || {
                    worker::answer_all(&model, &server.queue, |pictures| server.metrics.count_batch(pictures));
                });
            }
            let served = runtime.block_on(async {
                let stop = stop_signal().map_err(ServerError::Start)?;
                let listener = tokio::net::TcpListener::from_std(self.listener).map_err(ServerError::Start)?;
                on_start();
                tokio::select! {
                    served = connections::serve(listener, router(state), Arc::clone(&server), stop) => {
                        served.map_err(ServerError::BrokenOff)
                    }
                    never = golden.repeat(&server) => never,
                }
            });
            server.queue.close();
            served
        });
        // A picture that is still being fetched does not delay the end.
        runtime.shutdown_background();
        served
    }
}

/// A future that is ready when the process gets SIGTERM or SIGINT.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
