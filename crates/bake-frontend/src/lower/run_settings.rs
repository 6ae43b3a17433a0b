//! Settings of one RUN, written in a comment above it: `# bake: memory=2g timeout=10m cpus=1.5 pids=100 trace=off`.

use bake_dockerfile::{SourceText, Span, parse_byte_size, parse_duration_ns};
use bake_graph::RunLimits;

use super::{Lower, fail};

/// What such a comment begins with, after the `#`.
const NAME: &str = "bake:";
/// The setting that keeps what a step reads from being recorded.
const TRACE: &str = "trace";
/// The settings that are limits.
const LIMITS: [&str; 4] = ["memory", "timeout", "cpus", "pids"];
/// Words of the same kind of comment that are meant for the linter; behind the last one stands what is read by people.
const FOR_THE_LINTER: [&str; 3] = ["global", "ignore", "shell"];
const REASON: &str = "reason";

/// What the comments directly above a RUN say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RunSettings {
    /// What it may use; `None` where nothing is said of that.
    pub(super) limits: Option<Box<RunLimits>>,
    /// Whether it is not to be found by what it reads.
    pub(super) untraced: bool,
}

/// The settings in the comments directly above an instruction. Of the same one in several, the last one holds.
pub(super) fn run_settings(source: &SourceText, comments: &[Span]) -> Lower<RunSettings> {
    let mut limits = RunLimits::default();
    let mut untraced = false;
    for comment in comments {
        let text = source.slice(*comment).trim_start().trim_start_matches('#').trim_start();
        let Some(settings) = text.strip_prefix(NAME) else { continue };
        let mut for_the_linter = false;
        for setting in settings.split_ascii_whitespace() {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            if name == REASON && for_the_linter {
                break;
            }
            if FOR_THE_LINTER.contains(&name) {
                for_the_linter = true;
                continue;
            }
            let problem = match name {
                TRACE => trace(value).map(|traced| untraced = !traced),
                _ => set(&mut limits, name, value),
            };
            // A list of rules may have blanks around its commas.
            if let Err(problem) = problem
                && (!for_the_linter || is_ours(name))
            {
                return fail(*comment, format!("`{setting}` is not a setting of a RUN: {problem}"));
            }
        }
    }
    let limits = (limits != RunLimits::default()).then(|| Box::new(limits));
    Ok(RunSettings { limits, untraced })
}

fn is_ours(name: &str) -> bool {
    name == TRACE || LIMITS.contains(&name)
}

/// Whether what the step reads is recorded.
fn trace(value: &str) -> Result<bool, String> {
    match value {
        "off" => Ok(false),
        _ => {
            Err("there is only `trace=off`; without it, what the step reads is recorded where `--trace-run` allows it"
                .into())
        }
    }
}

fn set(limits: &mut RunLimits, name: &str, value: &str) -> Result<(), String> {
    let positive = |number: Option<u64>, expected: &str| match number {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("expected {expected}")),
    };
    match name {
        "memory" => limits.memory_bytes = positive(parse_byte_size(value).ok(), "a size such as `memory=2g`")?,
        "timeout" => {
            let nanoseconds = parse_duration_ns(value).ok().and_then(|number| u64::try_from(number).ok());
            limits.timeout_ns = positive(nanoseconds, "a duration such as `timeout=10m`")?;
        }
        "cpus" => limits.cpu_thousandths = positive(thousandths(value), "a number such as `cpus=1.5`")?,
        "pids" => limits.pids = positive(value.parse().ok(), "a number such as `pids=100`")?,
        _ => return Err("there are `memory`, `timeout`, `cpus`, `pids` and `trace`".into()),
    }
    Ok(())
}

/// A decimal number with up to three places, in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if places.len() > 3 || !digits(whole) || !digits(places) || (whole.is_empty() && places.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let places: u64 = format!("{places:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(places)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    fn settings(text: &str) -> Lower<RunSettings> {
        settings_of(text, "RUN true")
    }

    fn settings_of(above: &str, run: &str) -> Lower<RunSettings> {
        let text = format!("FROM scratch\n{above}\n{run}\n");
        let dockerfile = bake_dockerfile::parse(SourceText::new("Dockerfile", text));
        let run = dockerfile.instructions.last().unwrap();
        run_settings(&dockerfile.source, &run.comments)
    }

    fn limits(text: &str) -> Lower<Option<Box<RunLimits>>> {
        settings(text).map(|settings| settings.limits)
    }

    #[test]
    fn limits_stand_in_comments_above() {
        let found =
            limits("# bake: memory=2g timeout=1m30s\n# of the compiler\n# bake: cpus=1.5 pids=100").unwrap().unwrap();
        assert_eq!(
            *found,
            RunLimits {
                memory_bytes: Some(2 << 30),
                cpu_thousandths: Some(1500),
                pids: Some(100),
                timeout_ns: Some(90_000_000_000),
            }
        );
        assert!(limits("# memory=2g").unwrap().is_none());
        assert!(limits("# bake: memory=2g\n").unwrap().is_none(), "not directly above");
    }

    #[test]
    fn what_is_said_to_the_linter_is_none() {
        for comment in [
            "# bake: ignore=pin-version",
            "# bake: ignore=sudo,pipefail-missing reason=\"the installer needs memory=x\"",
            "# bake: ignore=sudo, pipefail-missing",
            "# bake: global ignore=sudo",
            "# bake: shell=bash",
        ] {
            assert_eq!(settings(comment).unwrap(), RunSettings::default(), "{comment}");
        }
        assert!(limits("# bake: ignore=sudo memory=2g").unwrap().is_some());
    }

    #[test]
    fn a_step_can_be_left_unrecorded() {
        for (above, run) in [
            ("# bake: trace=off", "RUN true"),
            ("# bake: memory=2g trace=off", "RUN true"),
            ("# bake: trace=off\n# of the compiler", "RUN true"),
            ("# bake: ignore=sudo trace=off reason=\"it phones home\"", "RUN true"),
            ("# bake: trace=off", "RUN a \\\n  && b"),
            ("# bake: trace=off", "RUN <<EOF\na\nEOF"),
        ] {
            assert!(settings_of(above, run).unwrap().untraced, "{above}\n{run}");
        }
        for (above, run) in [
            ("# trace=off", "RUN true"),
            ("# bake: trace=off\n", "RUN true"),
            ("# bake: trace=off\nRUN true", "RUN false"),
            ("", "RUN <<EOF\n# bake: trace=off\nEOF"),
        ] {
            assert!(!settings_of(above, run).unwrap().untraced, "{above}\n{run}");
        }
        for wrong in ["trace=on", "trace", "trace=OFF", "trace=auto"] {
            let problem = settings(&format!("# bake: {wrong}")).unwrap_err();
            assert!(problem.message.contains(&format!("`{wrong}`")), "{problem:?}");
            assert!(problem.message.contains("only `trace=off`"), "{problem:?}");
        }
    }

    #[test]
    fn what_is_no_limit_is_an_error_with_its_place() {
        for wrong in ["memory=0", "memory", "memory=x", "timeout=-1s", "cpus=1.2345", "pids=-1", "disk=3g", "Memory=1g"]
        {
            let problem = limits(&format!("# bake: {wrong}")).unwrap_err();
            assert!(problem.message.contains(wrong), "{problem:?}");
        }
    }
}
