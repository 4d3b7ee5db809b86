//! A line for each request: what was asked, the status and how long it took; nothing of the picture.

use std::fmt;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_millis;
use serde::Serialize;

/// How a request is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Words, for people.
    Text,
    /// A JSON object.
    Json,
    /// Not at all.
    Off,
}

impl LogFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Json, Self::Text, Self::Off];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Off => "off",
        }
    }

    /// The line for a request; `None` if requests are not logged.
    pub fn line(self, request: &LoggedRequest) -> Option<String> {
        match self {
            Self::Text => Some(request.to_string()),
            Self::Json => Some(serde_json::to_string(request).expect("strings and numbers are JSON")),
            Self::Off => None,
        }
    }
}

/// What is logged of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoggedRequest {
    /// When its response was ready, in UTC.
    time: String,
    /// Its method; `-` if its headers did not arrive.
    method: String,
    /// Its path without the query; `-` if its headers did not arrive.
    path: String,
    /// The response's status.
    status: u16,
    /// From its headers to the response.
    milliseconds: f64,
}

impl LoggedRequest {
    /// A request whose response is ready now.
    pub fn new(method: &str, path: &str, status: u16, latency: Duration) -> Self {
        let microseconds = latency.as_micros() as f64;
        Self {
            time: format_rfc3339_millis(SystemTime::now()).to_string(),
            method: method.to_owned(),
            // Control characters could change the terminal that the log is read on.
            path: path.replace(char::is_control, "\u{fffd}"),
            status,
            milliseconds: microseconds / 1000.0,
        }
    }
}

impl fmt::Display for LoggedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, method, path, status, milliseconds } = self;
        write!(f, "{time} {method} {path} {status} {milliseconds:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_in_each_format() {
        let request = LoggedRequest {
            time: "2026-11-25T09:30:00.000Z".to_owned(),
            ..LoggedRequest::new("POST", "/predict\n\u{1b}[31m", 200, Duration::from_micros(34_160))
        };
        let line = |format: LogFormat| format.line(&request);
        let text = "2026-11-25T09:30:00.000Z POST /predict\u{fffd}\u{fffd}[31m 200 34.2 ms";
        assert_eq!(line(LogFormat::Text).unwrap(), text);
        let json = "{\"time\":\"2026-11-25T09:30:00.000Z\",\"method\":\"POST\",\"path\":\"/predict\u{fffd}\u{fffd}[31m\",\
                    \"status\":200,\"milliseconds\":34.16}";
        assert_eq!(line(LogFormat::Json).unwrap(), json);
        assert_eq!(line(LogFormat::Off), None);
    }
}
