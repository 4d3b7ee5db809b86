//! `GET /health`, `/ready`, `/info` and `/metrics`, and the repeated check of the network behind `/ready`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use backbone::{golden, relative_l2};
use head::prediction::Prediction;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use super::metrics;
use super::state::ServerState;
use crate::model::Model;

/// Time between two checks of the network.
const CHECK_EVERY: Duration = Duration::from_secs(20);

/// `/ready` is 503 if the last right answer is older than this.
const VALID_FOR: Duration = Duration::from_secs(60);

/// The repeated check that a built-in picture gets the answer that it got at the start. Like a client's picture it goes
/// through the queue and a worker.
#[derive(Debug)]
pub struct GoldenCheck {
    expected: Prediction,
    /// The largest allowed relative distance of the logits. On the CPU they are always equal.
    tolerance: f64,
    last_right: Mutex<Instant>,
}

/// What the server runs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Info {
    /// The classes, in alphabetical order.
    pub classes: Vec<String>,
    /// Width and height in pixels of the network's input.
    pub side: u32,
    /// The number format that the network computes in.
    pub precision: &'static str,
    /// blake3 of the network's weights.
    pub weights: String,
    /// Whose kernels run the network.
    pub kernels: String,
    /// Whether it is said of a picture that it is unlike all training photos.
    pub tells_unfamiliar: bool,
    /// The largest picture that is taken, in pixels.
    pub max_pixels: u64,
    /// The program's version.
    pub version: &'static str,
}

/// What the server says of its state.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    status: &'static str,
}

impl Info {
    /// The model's description.
    pub fn new(model: &Model) -> Self {
        let fingerprint = model.fingerprint();
        Self {
            classes: model.classes().iter().map(str::to_owned).collect(),
            side: fingerprint.size,
            precision: model.precision().name(),
            weights: fingerprint.weights.clone(),
            kernels: model.kernels(),
            tells_unfamiliar: model.predictor().calibration().is_some(),
            max_pixels: model.limits().max_pixels,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl GoldenCheck {
    /// `expected` is the answer that the model has just given, `tolerance` the largest allowed relative distance of
    /// later logits to its own.
    pub fn new(expected: Prediction, tolerance: f64) -> Self {
        Self { expected, tolerance, last_right: Mutex::new(Instant::now()) }
    }

    /// Checks the network every 20 seconds, forever.
    pub async fn repeat(&self, server: &ServerState) -> ! {
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.is_right(server).await {
                *self.last_right.lock().expect(NO_PANIC) = Instant::now();
            }
        }
    }

    /// Whether the picture's answer is right now; false if the queue or the budget has no room for it.
    async fn is_right(&self, server: &ServerState) -> bool {
        let mut picture = server.budget.upload();
        if picture.push(&golden::picture_file()).is_err() {
            return false;
        }
        let Ok(mut answers) = server.submit(vec![picture]) else { return false };
        match answers.pop().expect("one for each picture").await {
            Ok(Ok(found)) => self.agrees(&found),
            _ => false,
        }
    }

    /// Whether the answer is the expected one, up to the tolerance.
    fn agrees(&self, found: &Prediction) -> bool {
        // Zeros have no relative distance.
        found.logits == self.expected.logits || relative_l2(&found.logits, &self.expected.logits) <= self.tolerance
    }

    /// Whether the last right answer is recent.
    fn is_recent(&self) -> bool {
        self.last_right.lock().expect(NO_PANIC).elapsed() <= VALID_FOR
    }
}

const NO_PANIC: &str = "nothing panics while it holds the lock";

/// Whether the process answers at all.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "It is alive", body = Status)))]
pub async fn health() -> Json<Status> {
    Json(Status { status: "alive" })
}

/// Whether the network has computed a known picture right within the last minute.
#[utoipa::path(get, path = "/ready", responses(
    (status = 200, description = "It has", body = Status),
    (status = 503, description = "It has not", body = Status),
))]
pub async fn ready(State(golden): State<Arc<GoldenCheck>>) -> (StatusCode, Json<Status>) {
    if golden.is_recent() {
        (StatusCode::OK, Json(Status { status: "ready" }))
    } else {
        let status = "a known picture was not answered right within the last minute";
        (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status }))
    }
}

/// What the server runs.
#[utoipa::path(get, path = "/info", responses((status = 200, description = "The model and its limits", body = Info)))]
pub async fn info(State(info): State<Arc<Info>>) -> Json<Info> {
    Json(Info::clone(&info))
}

/// What the server has counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "Requests by path and status, their latency, how many are in flight; pictures in the \
     queue and in a batch", body = String, content_type = "application/openmetrics-text"),
))]
pub async fn metrics(State(server): State<Arc<ServerState>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], server.metrics.text(server.queue.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(logits: [f32; 2]) -> Prediction {
        Prediction {
            logits: logits.to_vec(),
            probabilities: vec![0.5; 2],
            class: 0,
            unfamiliarity: None,
            unfamiliar: None,
        }
    }

    #[test]
    fn another_answer_than_at_the_start_is_wrong() {
        let check = GoldenCheck::new(prediction([1.0, 0.0]), 1e-5);
        assert!(check.agrees(&prediction([1.0, 0.0])) && check.agrees(&prediction([1.000_001, 0.0])));
        for wrong in [[1.001, 0.0], [0.0, 1.0], [f32::NAN, 0.0]] {
            assert!(!check.agrees(&prediction(wrong)), "{wrong:?}");
        }
        assert!(GoldenCheck::new(prediction([0.0; 2]), 0.0).agrees(&prediction([0.0; 2])));
    }

    #[test]
    fn an_old_check_says_nothing() {
        let check = GoldenCheck::new(prediction([1.0, 0.0]), 1e-5);
        assert!(check.is_recent());
        let Some(before) = Instant::now().checked_sub(VALID_FOR + CHECK_EVERY) else { return };
        *check.last_right.lock().unwrap() = before;
        assert!(!check.is_recent());
    }
}
