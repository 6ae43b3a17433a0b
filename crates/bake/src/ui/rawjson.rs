//! Progress for programs: BuildKit's `SolveStatus` (moby/buildkit `client/graph.go`), one JSON object per line, as
//! `docker buildx build --progress rawjson` writes it.
//!
//! A vertex is identified by a digest of its definition, as in BuildKit. Ours are made with BLAKE3, which readers written in Go
//! refuse as an algorithm that they do not know, so they get the SHA-256 of that.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use bake_dockerfile::{Diagnostic, SourceText};
use bake_graph::VertexId;
use bake_oci::{DefinitionDigest, Digest, Timestamp};
use bake_report::refuted;
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
    /// The transfers that have not ended.
    transfers: BTreeMap<(VertexId, String), Open>,
}

/// A transfer that has not ended.
#[derive(Debug, Clone, Copy)]
struct Open {
    started: Timestamp,
    current: u64,
    total: Option<u64>,
    /// When it was told last.
    told: Duration,
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
    /// What it read of copied files, or had read when it ran; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<Read>,
}

/// What a step read.
#[derive(Debug, Clone, Copy, Serialize)]
struct Read {
    paths: usize,
    /// Whether the result of that run was used, since none of the paths has changed.
    reused: bool,
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
            BuildEvent::Traced { step, trace } => {
                let vertex = self.vertexes.get_mut(step)?;
                vertex.read = Some(Read { paths: trace.paths, reused: trace.reused });
                status.vertexes.push(vertex.clone());
            }
            BuildEvent::Refuted { step, path } => {
                status
                    .warnings
                    .push(vertex_warning(self.vertexes.get(step)?.digest.clone(), &refuted(path.as_deref())));
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
                status.statuses = self.end_transfers(*step, now);
            }
            BuildEvent::Failed { step, message, .. } => {
                let vertex = self.vertexes.get_mut(step)?;
                vertex.completed = Some(now.to_rfc3339());
                vertex.error.clone_from(message);
                status.vertexes.push(vertex.clone());
                status.statuses = self.end_transfers(*step, now);
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
                let first = Open { started: now, current: 0, total: None, told: at };
                let is_first = !self.transfers.contains_key(&key);
                let open = self.transfers.entry(key.clone()).or_insert(first);
                (open.current, open.total) = (*current, total.or(open.total));
                let is_complete = open.total.is_some_and(|total| *current >= total);
                if !is_first && !is_complete && at.saturating_sub(open.told) < TRANSFER_TOLD_EVERY {
                    return None;
                }
                open.told = at;
                let open = *open;
                if is_complete {
                    self.transfers.remove(&key);
                }
                status.statuses.push(vertex_status(vertex, id, &open, now, is_complete));
            }
            BuildEvent::Waiting { step, awaited: Some(awaited) } => {
                let vertex = self.vertexes.get(step)?.digest.clone();
                let id = awaited.to_string();
                let open = Open { started: now, current: 0, total: None, told: at };
                status.statuses.push(vertex_status(vertex, &id, &open, now, false));
                self.transfers.insert((*step, id), open);
            }
            BuildEvent::Waiting { step, awaited: None } => status.statuses = self.end_transfers(*step, now),
            // BuildKit's status messages have no place for it.
            BuildEvent::Used { .. } | BuildEvent::Untraced { .. } => return None,
            BuildEvent::Notice { step, message } => {
                status.warnings.push(vertex_warning(self.vertexes.get(step)?.digest.clone(), message));
            }
        }
        Some(status)
    }

    /// The end of all transfers of a step whose total nobody knew, and of its waiting.
    fn end_transfers(&mut self, step: VertexId, now: Timestamp) -> Vec<VertexStatus> {
        let Some(vertex) = self.vertexes.get(&step).map(|vertex| vertex.digest.clone()) else { return Vec::new() };
        let ids: Vec<_> = self.transfers.keys().filter(|(of, _)| *of == step).cloned().collect();
        let ended = ids.iter().filter_map(|key| {
            let open = self.transfers.remove(key)?;
            Some(vertex_status(vertex.clone(), &key.1, &open, now, true))
        });
        ended.collect()
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn time(&self, at: Duration) -> Timestamp {
        self.began.checked_add(at).unwrap_or(self.began).into()
    }
}

/// How often a transfer is told of.
const TRANSFER_TOLD_EVERY: Duration = Duration::from_millis(100);

fn vertex_status(vertex: String, id: &str, open: &Open, now: Timestamp, is_complete: bool) -> VertexStatus {
    VertexStatus {
        id: id.to_owned(),
        vertex,
        total: open.total,
        current: open.current,
        timestamp: now.to_rfc3339(),
        started: open.started.to_rfc3339(),
        completed: is_complete.then(|| now.to_rfc3339()),
    }
}

/// A warning about a step in words alone.
fn vertex_warning(vertex: String, message: &str) -> VertexWarning {
    VertexWarning {
        vertex,
        level: 1,
        short: STANDARD.encode(message),
        detail: Vec::new(),
        url: None,
        source_info: None,
        range: Vec::new(),
    }
}

/// How a vertex is called.
pub(super) fn vertex_digest(definition: &DefinitionDigest) -> String {
    Digest::of(&definition.0).to_string()
}

fn vertex(step: &StepInfo) -> Vertex {
    Vertex {
        digest: vertex_digest(&step.definition),
        inputs: step.inputs.iter().map(vertex_digest).collect(),
        name: step.label.to_string(),
        started: None,
        completed: None,
        cached: false,
        error: String::new(),
        why: None,
        read: None,
    }
}
