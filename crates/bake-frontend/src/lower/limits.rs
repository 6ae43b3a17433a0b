//! Limits of one RUN, written in a comment above it: `# bake: memory=2g timeout=10m cpus=1.5 pids=100`.

use bake_dockerfile::{SourceText, Span, parse_byte_size, parse_duration_ns};
use bake_graph::RunLimits;

use super::{Lower, fail};

/// What such a comment begins with, after the `#`.
const NAME: &str = "bake:";
/// The setting of the same kind of comment that is meant for the linter.
const FOR_THE_LINTER: &str = "ignore";

/// The limits in the comments directly above an instruction. Of the same limit in several, the last one holds.
pub(super) fn run_limits(source: &SourceText, comments: &[Span]) -> Lower<Option<Box<RunLimits>>> {
    let mut limits = RunLimits::default();
    for comment in comments {
        let text = source.slice(*comment).trim_start().trim_start_matches('#').trim_start();
        let Some(settings) = text.strip_prefix(NAME) else { continue };
        for setting in settings.split_ascii_whitespace() {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            if name == FOR_THE_LINTER {
                continue;
            }
            if let Err(problem) = set(&mut limits, name, value) {
                return fail(*comment, format!("`{setting}` is not a limit of a RUN: {problem}"));
            }
        }
    }
    Ok((limits != RunLimits::default()).then(|| Box::new(limits)))
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
        _ => return Err("there are `memory`, `timeout`, `cpus` and `pids`".into()),
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

    fn limits(text: &str) -> Lower<Option<Box<RunLimits>>> {
        let dockerfile =
            bake_dockerfile::parse(SourceText::new("Dockerfile", format!("FROM scratch\n{text}\nRUN true\n")));
        let run = dockerfile.instructions.last().unwrap();
        run_limits(&dockerfile.source, &run.comments)
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
        assert!(limits("# bake: ignore=pin-version").unwrap().is_none());
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
