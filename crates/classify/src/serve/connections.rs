//! Connections: taken until the server is told to stop, then ended when their requests are answered.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncWriteExt, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::header_timer::HeaderTimer;
use super::log::LoggedRequest;
use super::state::ServerState;

/// The maximum number of open connections; more wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 1024;

/// A request's headers must arrive within this time of their first byte.
const MAX_HEADER_TIME: Duration = Duration::from_secs(5);

/// A connection without a request is closed after this time: proxies keep theirs for a minute at most, as a rule.
const MAX_IDLE: Duration = Duration::from_secs(75);

/// Once the server is told to stop, it still takes connections for this long.
const LAST_ACCEPTS: Duration = Duration::from_millis(50);

/// Once the server is told to stop, connections without requests stay open for this long: their clients may just be
/// sending one.
const GRACE: Duration = Duration::from_secs(1);

/// After [`GRACE`], what was accepted must be answered within this time.
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
        // Tasks of connections that have ended are removed.
        while connections.try_join_next().is_some() {}
    };

    let accept = async || {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                // The connection has broken already, or the process may open no more files for a moment.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            (stream, place) = accept() => start(stream, place),
            () = &mut stop => break,
        }
    }
    server.stopping.store(true, Ordering::Relaxed);
    // The operating system may have accepted more already.
    let late = async {
        loop {
            let (stream, place) = accept().await;
            start(stream, place);
        }
    };
    let _: Result<(), _> = timeout(LAST_ACCEPTS, late).await;
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
    let timer = HeaderTimer::new();
    let (reader, writer) = stream.into_split();
    let stream = TokioIo::new(join(timer.watch(reader), writer));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        timer.start_request();
        let response = router.call(request);
        let timer = &timer;
        async move {
            let response = response.await;
            timer.end_request();
            response
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(MAX_IDLE).half_close(true);
    let mut connection = http.serve_connection(stream, service);
    let end = tokio::select! {
        // In this order, so that a request that has arrived is not lost when the server stops.
        biased;
        // An error means that the client has gone, or that hyper has answered it.
        _ = &mut connection => End::Done,
        elapsed = timer.until_too_slow(MAX_HEADER_TIME) => End::HeadersTooSlow(elapsed),
        () = async {
            drop(close.wait_for(|&close| close).await);
            // hyper would close a connection with incomplete headers, unless they are of its first request.
            timer.until_complete().await;
        } => End::Close,
    };
    match end {
        End::Done => {}
        End::Close => {
            Pin::new(&mut connection).graceful_shutdown();
            let _ = connection.await;
        }
        End::HeadersTooSlow(elapsed) => {
            let status = StatusCode::REQUEST_TIMEOUT.as_u16();
            server.metrics.count_response("other", status, elapsed);
            server.log.write(&LoggedRequest::new("-", "-", status, elapsed));
            let mut stream = connection.into_parts().io.into_inner();
            let _ = stream.write_all(HEADERS_TOO_SLOW).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// How a connection ends.
enum End {
    /// The client or hyper has closed it.
    Done,
    /// A request's headers have been incomplete for this long.
    HeadersTooSlow(Duration),
    /// The server stops.
    Close,
}

/// The response to headers that do not end.
const HEADERS_TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n\
content-length: 47\r\n\r\n{\"error\":\"the headers did not arrive in time\"}\n";

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use axum::routing::get;
    use feature_cache::ClassNames;
    use tokio::io::AsyncReadExt;
    use tokio::runtime;

    use super::*;
    use crate::serve::fetch::Fetcher;
    use crate::serve::metrics::Metrics;
    use crate::serve::queue::Queue;
    use crate::serve::state::Log;
    use crate::serve::upload::Budget;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    fn server() -> ServerState {
        ServerState {
            queue: Queue::default(),
            budget: Budget::new(),
            fetcher: Fetcher::new(&[]),
            classes: ClassNames::new(vec!["hat".to_owned()]).unwrap(),
            metrics: Metrics::new(),
            log: Log::new(|_| {}),
            stopping: AtomicBool::new(true),
        }
    }

    fn router() -> Router {
        Router::new().route("/", get(|| async { "here" }))
    }

    /// Runs the test with a connection to itself: the client's end, and the server's.
    fn with_connection(test: impl AsyncFnOnce(TcpStream, TcpStream)) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            test(client, stream).await;
        });
    }

    #[test]
    fn a_request_that_has_arrived_is_answered_when_the_server_stops() {
        // In any other order, the request would be lost in some of these.
        for _ in 0..20 {
            with_connection(async |mut client, stream| {
                client.write_all(REQUEST).await.unwrap();
                stream.readable().await.unwrap();
                let (_sender, close) = watch::channel(true);
                serve_connection(stream, router(), &server(), close).await;
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here"), "{answer:?}");
            });
        }
    }

    #[test]
    fn headers_that_have_begun_are_waited_for_when_the_server_stops() {
        with_connection(async |mut client, stream| {
            let (sender, close) = watch::channel(false);
            let server = server();
            let requests = async {
                client.write_all(REQUEST).await.unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"here") {
                    assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
                }
                let (begin, rest) = REQUEST.split_at(20);
                client.write_all(begin).await.unwrap();
                sleep(Duration::from_millis(100)).await;
                sender.send(true).unwrap();
                sleep(Duration::from_millis(100)).await;
                client.write_all(rest).await.unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here"), "{answer:?}");
            };
            tokio::join!(serve_connection(stream, router(), &server, close), requests);
        });
    }
}
