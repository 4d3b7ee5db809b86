//! What the server counts, in the OpenMetrics text format, which Prometheus reads.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latency histogram's buckets, in seconds.
const LATENCIES: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0];

/// Upper bounds of the batch size histogram's buckets, in pictures.
const BATCH_SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// The server's counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    latency: Family<PathLabels, Histogram, fn() -> Histogram>,
    batch_size: Histogram,
    in_flight: Gauge,
    queue_length: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    path: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: &'static str,
}

/// A request that is counted as in flight until this is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Metrics {
    /// Metrics of a server without requests yet.
    pub fn new() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCIES);
        let mut metrics = Self {
            registry: Registry::with_prefix("classify"),
            requests: Family::default(),
            latency: Family::new_with_constructor(latency),
            batch_size: Histogram::new(BATCH_SIZES),
            in_flight: Gauge::default(),
            queue_length: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Responses by path and status", metrics.requests.clone());
        registry.register("request_seconds", "From a request's headers to its response", metrics.latency.clone());
        registry.register("batch_pictures", "Pictures in a batch of the network", metrics.batch_size.clone());
        registry.register("requests_in_flight", "Requests without a response yet", metrics.in_flight.clone());
        registry.register("queue_pictures", "Pictures that wait for a worker", metrics.queue_length.clone());
        metrics
    }

    /// Counts a request as in flight.
    pub fn start_request(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a response; `path` is one of the server's, or `other`.
    pub fn count_response(&self, path: &'static str, status: u16, latency: Duration) {
        self.requests.get_or_create(&RequestLabels { path, status }).inc();
        self.latency.get_or_create(&PathLabels { path }).observe(latency.as_secs_f64());
    }

    /// Counts a batch of this many pictures.
    pub fn count_batch(&self, pictures: usize) {
        self.batch_size.observe(pictures as f64);
    }

    /// All metrics in OpenMetrics text format. `queue_length` is the number of pictures that wait now.
    pub fn text(&self, queue_length: usize) -> String {
        self.queue_length.set(i64::try_from(queue_length).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes any text");
        text
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
