//! Which path is answered by what; every response is counted and logged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRef, MatchedPath, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::health::{self, GoldenCheck, Info};
use super::log::LoggedRequest;
use super::openapi::openapi;
use super::page;
use super::predict::predict;
use super::refusal::ErrorBody;
use super::state::ServerState;
use super::upload::Incoming;

/// The paths that are counted separately; all others are counted as `other`.
const PATHS: [&str; 9] =
    ["/", "/page.css", "/page.js", "/predict", "/health", "/ready", "/metrics", "/info", "/openapi.json"];

/// What handlers take as axum's `State`: one of the fields.
#[derive(Debug, Clone, FromRef)]
pub struct HandlerState {
    /// Queue, budget, metrics and log.
    pub server: Arc<ServerState>,
    /// The repeated check of the network.
    pub golden: Arc<GoldenCheck>,
    /// The answer of `GET /info`.
    pub info: Arc<Info>,
}

/// Every path of the server, with its handler.
pub fn router(state: HandlerState) -> Router {
    Router::<HandlerState>::new()
        .route("/", get(page::page))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/predict", post(predict))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/info", get(health::info))
        .route("/openapi.json", get(openapi))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&state.server), observe))
        .with_state(state)
}

async fn not_found(request: Request) -> Response {
    refuse(request, StatusCode::NOT_FOUND, "no such path").await
}

async fn wrong_method(request: Request) -> Response {
    refuse(request, StatusCode::METHOD_NOT_ALLOWED, "no such method here").await
}

/// Refuses a request after its body, whose bytes would otherwise be read as the next request's headers.
async fn refuse(request: Request, status: StatusCode, error: &str) -> Response {
    let (parts, body) = request.into_parts();
    Incoming::new(&parts.headers, body).discard().await;
    (status, axum::Json(ErrorBody { error: error.to_owned() })).into_response()
}

/// Counts and logs a request. Once the server stops, the response is the last one of its connection.
async fn observe(
    State(server): State<Arc<ServerState>>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let in_flight = server.metrics.start_request();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    drop(in_flight);
    if server.stopping.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let (status, latency) = (response.status().as_u16(), start.elapsed());
    let matched = matched.as_ref().map_or("", MatchedPath::as_str);
    let counted = PATHS.into_iter().find(|&path| path == matched).unwrap_or("other");
    server.metrics.count_response(counted, status, latency);
    server.log.write(&LoggedRequest::new(method.as_str(), &path, status, latency));
    response
}
