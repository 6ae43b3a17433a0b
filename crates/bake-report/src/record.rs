//! What is written down of a build.
//!
//! The form is JSON, and part of the interface (`bake history export`): fields are added, and neither removed nor given
//! another meaning. Times within a build are microseconds since it began.

use bake_oci::CacheKey;
use bake_solver::{Explanation, MemoryOf, SlotNote, TraceNote, Untraced};
use serde::{Deserialize, Serialize};

/// A build that is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildRecord {
    /// What was built: its tags, or its context.
    pub name: String,
    /// How it ended.
    pub result: BuildResult,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// When it began, in milliseconds since 1970; 0 where that was not written down.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub started_unix_ms: i64,
    /// Why it failed, on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked for.
    #[serde(default)]
    pub request: RequestRecord,
    /// Where it ran.
    #[serde(default)]
    pub machine: MachineRecord,
    /// The images that were made or measured, one for each target at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageRecord>,
    /// What else was done with the result, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<String>,
    /// Its steps, in the order of the graph; after them what else it did.
    pub steps: Vec<StepRecord>,
    /// What build checks and rules about sizes found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingRecord>,
}

impl BuildRecord {
    /// The steps of the Dockerfile, without sources and what else a build does.
    pub fn instructions(&self) -> impl Iterator<Item = &StepRecord> + Clone {
        self.steps.iter().filter(|step| step.kind == StepKind::Instruction)
    }

    /// How many steps of the Dockerfile came to this.
    pub fn count(&self, outcome: StepOutcome) -> usize {
        self.instructions().filter(|step| step.outcome == outcome).count()
    }
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildResult {
    /// Everything that was asked for is done.
    #[default]
    Succeeded,
    /// A step, or something before or after the steps, failed.
    Failed,
    /// The user ended it.
    Interrupted,
}

impl BuildResult {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The build context, without credentials.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// The Dockerfile.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dockerfile: String,
    /// The stage, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The platforms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
}

/// Where a build ran.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MachineRecord {
    /// How many processors there were for it.
    #[serde(default)]
    pub processors: u32,
    /// System and architecture, such as `linux/amd64`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// The version of the program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The target that it is of, where several were built together.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The digest of its manifest or index; empty where only its layers were measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The names that it was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The size of its blobs, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// The bytes of its files by instruction, those of the base image first. Empty where they were not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerRecord>,
    /// Whether those of the base image are among them.
    #[serde(default)]
    pub base_measured: bool,
}

impl ImageRecord {
    /// Target, names and digest on one line, as far as they are known.
    pub fn line(&self) -> String {
        let of = if self.target.is_empty() { String::new() } else { format!("{}:", self.target) };
        [of, self.names.join(", "), self.digest.clone()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What an instruction adds to an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The line of the instruction in the Dockerfile, from 1; `None` for the base image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The instruction, or `base image`.
    pub instruction: String,
    /// The bytes of files that it adds.
    pub added_bytes: u64,
    /// Those of them that later instructions remove or replace.
    pub hidden_bytes: u64,
}

/// Something that was found in the Dockerfile or the image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FindingRecord {
    /// The name of the check or rule.
    pub rule: String,
    /// How serious it is: `error`, `warning`, `info`.
    pub severity: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A step of a build that is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepRecord {
    /// The number under which it was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// How it was called.
    pub name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "StepKind::is_instruction")]
    pub kind: StepKind,
    /// The stage it belongs to; empty where there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// Its line in the Dockerfile, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The identity of its definition; empty where nothing has to be looked up by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
    /// The steps that it needed the results of, by their place in the list of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<usize>,
    /// What became of it.
    pub outcome: StepOutcome,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elapsed_ms: u64,
    /// When work on it began, in microseconds since the build did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub began_us: u64,
    /// When it was done or broken off, in the same way; 0 where it was not, or is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ended_us: u64,
    /// When its result was made, in seconds since 1970, where that was in an earlier build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_unix_s: Option<i64>,
    /// Why it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// What it read of the files that were copied for it, where that was recorded or is why its result was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceRecord>,
    /// Why that was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untraced: Option<Untraced>,
    /// What its processes used; `None` where it has none, or they could not be watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageRecord>,
    /// What was fetched or sent for it, in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub transferred_bytes: u64,
    /// What is worth knowing about it, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where its output is kept, if it wrote anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogRecord>,
}

impl StepRecord {
    /// Whether work was done for it in this build.
    pub fn has_run(&self) -> bool {
        matches!(self.outcome, StepOutcome::Ran | StepOutcome::Failed)
    }

    /// From its beginning to its end, in microseconds.
    pub fn duration_us(&self) -> u64 {
        match self.ended_us.saturating_sub(self.began_us) {
            0 => self.elapsed_ms.saturating_mul(1000),
            time => time,
        }
    }
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// An instruction of the Dockerfile.
    #[default]
    Instruction,
    /// What a build starts from: an image, a repository, a file from a server.
    Source,
    /// What else a build does: reading, exporting.
    Activity,
}

impl StepKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_instruction(&self) -> bool {
        *self == Self::Instruction
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// It was carried out.
    Ran,
    /// A result from before was used.
    Cached,
    /// It was carried out, in vain.
    Failed,
    /// The build ended before it, or while it was carried out.
    #[default]
    NotReached,
}

/// Where it is kept what a step read, and what is known of that without looking there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// The key that it is kept under, in hexadecimal digits.
    pub outer: String,
    /// The digest of the list of what was asked, in hexadecimal digits.
    pub questions: String,
    /// The number of paths that something was asked of.
    pub paths: usize,
    /// Whether the result of a past run was used because of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// The working directory of the step.
    pub cwd: String,
    /// The copied layers and mounts that were asked.
    pub slots: Vec<SlotNote>,
}

impl From<&TraceNote> for TraceRecord {
    fn from(note: &TraceNote) -> Self {
        Self {
            outer: note.outer.hex(),
            questions: CacheKey(note.questions).hex(),
            paths: note.paths,
            reused: note.reused,
            cwd: note.cwd.clone(),
            slots: note.slots.clone(),
        }
    }
}

/// What the processes of a step used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Processor time, in microseconds.
    pub processor_us: u64,
    /// The largest amount of memory at one time, in bytes.
    pub memory_peak_bytes: u64,
    /// What that was counted of.
    pub memory_of: MemoryOf,
    /// What had to be read from disks, in bytes.
    pub disk_read_bytes: u64,
    /// What was written for disks to take, in bytes.
    pub disk_written_bytes: u64,
    /// Bytes of file content in the layer that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_bytes: Option<u64>,
}

/// Where the output of a step is in the logs of its build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Where its part begins, in bytes.
    pub offset: u64,
    /// How long that is, in bytes.
    pub packed_bytes: u64,
    /// What the step wrote, in bytes.
    pub written_bytes: u64,
    /// How much of it was left out in the middle, in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_bytes: u64,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn records_of_the_version_before_are_read() {
        let old = r#"{"name":"app","result":"failed","elapsed_ms":120,"steps":[
            {"number":2,"name":"[1/2] RUN a","definition":"ab","outcome":"not-reached"},
            {"name":"[2/2] RUN b","outcome":"ran","elapsed_ms":7,"made_unix_s":null,"explanation":null}]}"#;
        let record: BuildRecord = serde_json::from_str(old).unwrap();
        assert_eq!((record.result, record.steps.len()), (BuildResult::Failed, 2));
        assert_eq!(record.count(StepOutcome::Ran), 1);
        assert_eq!(record.steps[1].duration_us(), 7000);
    }

    #[test]
    fn a_cached_step_is_short() {
        let step = StepRecord {
            number: Some(3),
            name: "[1/2] RUN a".into(),
            outcome: StepOutcome::Cached,
            began_us: 10,
            ended_us: 12,
            ..StepRecord::default()
        };
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(text, r#"{"number":3,"name":"[1/2] RUN a","outcome":"cached","began_us":10,"ended_us":12}"#);
        assert_eq!(serde_json::from_str::<StepRecord>(&text).unwrap(), step);
    }
}
