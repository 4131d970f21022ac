//! `healthcheck`, with the probes of ours beside Compose's `test`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::duration;

/// When and how health is probed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`; empty when another probe is given.
    pub test: Vec<String>,
    /// A URL that must answer.
    pub http: Option<HttpProbe>,
    /// `host:port` that must accept.
    pub tcp: Option<String>,
    /// A regular expression that a log line must match since this start.
    pub log: Option<String>,
    /// A path that must exist.
    pub file: Option<String>,
    /// A gRPC server that must be serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcProbe>,
    /// Between the end of a probe and the next; 30 s when absent.
    #[serde(with = "duration::optional")]
    pub interval: Option<Duration>,
    /// How long one probe may take; 30 s when absent.
    #[serde(with = "duration::optional")]
    pub timeout: Option<Duration>,
    /// Failures in a row that make unhealthy; 3 when absent.
    pub retries: Option<u32>,
    /// Failures do not count for so long after the start; none when absent.
    #[serde(with = "duration::optional")]
    pub start_period: Option<Duration>,
    /// Between probes during the start period.
    #[serde(with = "duration::optional")]
    pub start_interval: Option<Duration>,
    /// No probing, whatever the image says.
    pub disable: bool,
}

/// `healthcheck.http` in its long form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// `http://host:port/path`.
    pub url: String,
    /// `GET` when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Sent along.
    #[serde(default)]
    pub headers: indexmap::IndexMap<String, String>,
    /// The statuses that mean healthy; 200–399 when empty.
    #[serde(default)]
    pub status: Vec<u16>,
    /// A regular expression that its body must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// `healthcheck.grpc` in its long form: the gRPC Health Checking Protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcProbe {
    /// `host:port`.
    pub address: String,
    /// Which service is asked about; the server as a whole when empty.
    #[serde(default)]
    pub service: String,
    /// Over TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
}

impl HealthCheck {
    /// Whether Compose's `test` is to be run.
    pub fn has_test(&self) -> bool {
        !self.test.is_empty() && self.test[0] != "NONE"
    }

    /// Whether one of our own probes (`http`, `tcp`, `log`, `file`, `grpc`) is given.
    pub fn has_own_probe(&self) -> bool {
        self.log.is_some() || self.connects() || self.file.is_some()
    }

    /// Whether a line of the log is all that is waited for.
    pub fn is_log_alone(&self) -> bool {
        self.log.is_some() && !self.has_test() && !self.connects() && self.file.is_none()
    }

    fn connects(&self) -> bool {
        self.http.is_some() || self.tcp.is_some() || self.grpc.is_some()
    }

    /// Whether health is probed at all.
    pub fn is_on(&self) -> bool {
        !self.disable && (self.has_test() || self.has_own_probe())
    }

    /// Between probes.
    pub fn interval(&self) -> Duration {
        self.interval.filter(|d| !d.is_zero()).unwrap_or(Duration::from_secs(30))
    }

    /// For one probe.
    pub fn timeout(&self) -> Duration {
        self.timeout.filter(|d| !d.is_zero()).unwrap_or(Duration::from_secs(30))
    }

    /// Failures in a row.
    pub fn retries(&self) -> u32 {
        self.retries.filter(|&n| n > 0).unwrap_or(3)
    }

    /// Failures do not count for so long.
    pub fn start_period(&self) -> Duration {
        self.start_period.unwrap_or_default()
    }
}
