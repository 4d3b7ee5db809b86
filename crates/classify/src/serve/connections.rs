//! Connections: taken until the server is told to stop, then ended when their requests are answered.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::log::LoggedRequest;
use super::state::ServerState;

/// Connections at a time; more wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 1024;

/// A request's headers must arrive within this time; a connection without requests is closed after it.
const MAX_HEADER_TIME: Duration = Duration::from_secs(5);

/// Once the server is told to stop, connections without requests stay open for this long: their clients may just be
/// sending one.
const GRACE: Duration = Duration::from_secs(1);

/// Then what was accepted must be answered within this time.
const MAX_STOP_TIME: Duration = Duration::from_secs(23);

/// Time until connections are accepted again, if the operating system has no more for the process.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop` is done, and then what was accepted.
///
/// # Errors
/// How many connections had to be broken off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    server: Arc<ServerState>,
    stop: impl Future<Output = ()>,
) -> Result<(), usize> {
    let (close_sender, close) = watch::channel(false);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut start = |stream: TcpStream, place| {
        let (router, server, close) = (router.clone(), Arc::clone(&server), close.clone());
        connections.spawn(async move {
            let _place = place;
            serve_connection(stream, router, &server, close).await;
        });
        // Those that have ended are forgotten.
        while connections.try_join_next().is_some() {}
    };

    let mut stop = pin!(stop);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => start(stream, place),
                // A connection that has broken already, or no files are left for a moment.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            () = &mut stop => break,
        }
    }
    server.stopping.store(true, Ordering::Relaxed);
    // The operating system has accepted these already.
    while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await {
        start(stream, Arc::clone(&places).acquire_owned().await.expect("it is never closed"));
    }
    drop(listener);

    let ended = timeout(GRACE, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        let _ = close_sender.send(true);
        let ended = timeout(MAX_STOP_TIME, async { while connections.join_next().await.is_some() {} });
        if ended.await.is_err() {
            return Err(connections.len());
        }
    }
    Ok(())
}

/// Serves the requests of a connection, one after the other. A client that begins a request and does not finish its
/// headers is told so.
async fn serve_connection(stream: TcpStream, router: Router, server: &ServerState, mut close: watch::Receiver<bool>) {
    // Responses are small: they are sent at once.
    let _ = stream.set_nodelay(true);
    let start = Instant::now();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(MAX_HEADER_TIME).half_close(true);
    let mut connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = async { drop(close.wait_for(|&close| close).await) } => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    // Other errors are those of clients that have gone, or were answered.
    if ended.is_err_and(|error| error.is_timeout()) {
        let parts = connection.into_parts();
        // Without a byte of a request it was only idle.
        if !parts.read_buf.is_empty() {
            let status = StatusCode::REQUEST_TIMEOUT.as_u16();
            server.metrics.count_response("other", status, start.elapsed());
            server.log.write(&LoggedRequest::new("-", "-", status, start.elapsed()));
            let mut stream = parts.io.into_inner();
            let _ = stream.write_all(HEADERS_TOO_SLOW).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// The response to headers that do not end.
const HEADERS_TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n\
content-length: 47\r\n\r\n{\"error\":\"the headers did not arrive in time\"}\n";
