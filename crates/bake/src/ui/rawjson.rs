//! Progress for programs: BuildKit's `SolveStatus` (moby/buildkit `client/graph.go`), one JSON object per line, as
//! `docker buildx build --progress rawjson` writes it.
//!
//! A vertex is identified by the digest of its definition, which bake computes with BLAKE3 and writes as `blake3:HEX`.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use bake_dockerfile::{Diagnostic, SourceText};
use bake_graph::VertexId;
use bake_oci::Timestamp;
use bake_solver::{BuildEvent, Explanation, Outcome, StepInfo, Stream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::checks::{Source, description};
use super::location::{LineRange, lines, location};
use super::progress::Findings;

/// Writes progress as JSON lines.
pub(super) struct RawJson {
    writer: Box<dyn Write + Send>,
    /// The time of the clock's zero.
    began: SystemTime,
    vertexes: HashMap<VertexId, Vertex>,
    /// When each transfer began.
    transfers: BTreeMap<(VertexId, String), Timestamp>,
}

#[derive(Debug, Default, Serialize)]
struct SolveStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<VertexStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<VertexLog>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<VertexWarning>,
}

#[derive(Debug, Clone, Serialize)]
struct Vertex {
    digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    /// Why it was not cached. BuildKit has no such field, and its readers pass over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Explanation>,
}

#[derive(Debug, Serialize)]
struct VertexStatus {
    id: String,
    vertex: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    current: u64,
    timestamp: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Debug, Serialize)]
struct VertexLog {
    vertex: String,
    /// 1 for standard output, 2 for standard error.
    stream: u8,
    /// Base64, as Go writes byte slices.
    data: String,
    timestamp: String,
}

#[derive(Debug, Serialize)]
struct VertexWarning {
    vertex: String,
    level: u8,
    /// Base64, as Go writes byte slices.
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(rename = "sourceInfo", skip_serializing_if = "Option::is_none")]
    source_info: Option<Source>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    range: Vec<LineRange>,
}

/// What the build checks found, as a list of warnings.
pub(super) fn warnings(vertex: &str, source: &SourceText, findings: &[Diagnostic]) -> serde_json::Value {
    serde_json::json!(vertex_warnings(vertex, source, findings))
}

fn vertex_warnings(vertex: &str, source: &SourceText, findings: &[Diagnostic]) -> Vec<VertexWarning> {
    let warning = |finding: &Diagnostic| VertexWarning {
        vertex: vertex.to_owned(),
        level: 1,
        short: STANDARD.encode(format!(
            "{}: {} (line {})",
            finding.code,
            finding.message,
            lines(source, finding.span).0
        )),
        detail: vec![STANDARD.encode(description(finding))],
        url: finding.url.clone(),
        source_info: Some(Source::new(source)),
        range: location(source, finding.span).ranges,
    };
    findings.iter().map(warning).collect()
}

impl RawJson {
    pub(super) fn new(writer: Box<dyn Write + Send>, began: SystemTime) -> Self {
        Self { writer, began, vertexes: HashMap::new(), transfers: BTreeMap::new() }
    }

    pub(super) fn event(&mut self, at: Duration, event: &BuildEvent) -> io::Result<()> {
        match self.status(at, event) {
            Some(status) => self.write(&status),
            None => Ok(()),
        }
    }

    /// Writes what the build checks found as warnings of a step.
    pub(super) fn findings(&mut self, found: &Findings) -> io::Result<()> {
        let Some(vertex) = self.vertexes.get(&found.step).map(|vertex| vertex.digest.clone()) else { return Ok(()) };
        let warnings = vertex_warnings(&vertex, &found.source, &found.list);
        self.write(&SolveStatus { warnings, ..SolveStatus::default() })
    }

    fn write(&mut self, status: &SolveStatus) -> io::Result<()> {
        let mut line = serde_json::to_vec(status).map_err(io::Error::other)?;
        line.push(b'\n');
        self.writer.write_all(&line)
    }

    fn status(&mut self, at: Duration, event: &BuildEvent) -> Option<SolveStatus> {
        let now = self.time(at);
        let mut status = SolveStatus::default();
        match event {
            BuildEvent::Planned { steps } => {
                for step in steps {
                    let vertex = vertex(step);
                    self.vertexes.insert(step.id, vertex.clone());
                    status.vertexes.push(vertex);
                }
            }
            BuildEvent::Started { step } => {
                let vertex = self.vertexes.get_mut(step)?;
                vertex.started = Some(now.to_rfc3339());
                status.vertexes.push(vertex.clone());
            }
            BuildEvent::Explained { step, explanation } => {
                let vertex = self.vertexes.get_mut(step)?;
                vertex.why = Some(explanation.clone());
                status.vertexes.push(vertex.clone());
            }
            BuildEvent::Finished { step, outcome, .. } => {
                let vertex = self.vertexes.get_mut(step)?;
                vertex.completed = Some(now.to_rfc3339());
                vertex.cached = *outcome == Outcome::Cached;
                status.vertexes.push(vertex.clone());
            }
            BuildEvent::Failed { step, message, .. } => {
                let vertex = self.vertexes.get_mut(step)?;
                vertex.completed = Some(now.to_rfc3339());
                vertex.error.clone_from(message);
                status.vertexes.push(vertex.clone());
            }
            BuildEvent::Log { step, stream, bytes } => status.logs.push(VertexLog {
                vertex: self.vertexes.get(step)?.digest.clone(),
                stream: match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                },
                data: STANDARD.encode(bytes),
                timestamp: now.to_rfc3339(),
            }),
            BuildEvent::Transfer { step, id, current, total } => {
                let vertex = self.vertexes.get(step)?.digest.clone();
                let key = (*step, id.clone());
                let started = *self.transfers.entry(key.clone()).or_insert(now);
                let complete = total.is_some_and(|total| *current >= total);
                if complete {
                    self.transfers.remove(&key);
                }
                status.statuses.push(VertexStatus {
                    id: id.clone(),
                    vertex,
                    total: *total,
                    current: *current,
                    timestamp: now.to_rfc3339(),
                    started: started.to_rfc3339(),
                    completed: complete.then(|| now.to_rfc3339()),
                });
            }
            BuildEvent::Waiting { step } => {
                status.statuses.push(VertexStatus {
                    id: "waiting for another build that makes the same".into(),
                    vertex: self.vertexes.get(step)?.digest.clone(),
                    total: None,
                    current: 0,
                    timestamp: now.to_rfc3339(),
                    started: now.to_rfc3339(),
                    completed: None,
                });
            }
            // BuildKit's status messages have no place for it.
            BuildEvent::Used { .. } => {}
            BuildEvent::Notice { step, message } => status.warnings.push(VertexWarning {
                vertex: self.vertexes.get(step)?.digest.clone(),
                level: 1,
                short: STANDARD.encode(message),
                detail: Vec::new(),
                url: None,
                source_info: None,
                range: Vec::new(),
            }),
        }
        Some(status)
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn time(&self, at: Duration) -> Timestamp {
        self.began.checked_add(at).unwrap_or(self.began).into()
    }
}

fn vertex(step: &StepInfo) -> Vertex {
    Vertex {
        digest: format!("blake3:{}", step.definition),
        inputs: step.inputs.iter().map(|input| format!("blake3:{input}")).collect(),
        name: step.label.to_string(),
        started: None,
        completed: None,
        cached: false,
        error: String::new(),
        why: None,
    }
}
