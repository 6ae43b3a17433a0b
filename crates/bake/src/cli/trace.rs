//! What `RUN` steps read of the files that were copied for them: flags of builds, and `bake trace`.

use clap::{Args, ValueEnum};

/// Flags of `bake build` about steps that are found by what they read.
#[derive(Debug, Args)]
pub struct TraceRunArguments {
    /// Record what `RUN` steps read of copied files, and run a step again only when some of that has changed: `auto` where it
    /// costs little, `on` also for steps that read a lot, `off` for none.
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Cache")]
    pub trace_run: TraceRunMode,

    /// Run this share of the steps all the same that are found by what they read, chosen at random, and compare: `10%`. A
    /// difference is a warning, and what was recorded of that step is thrown away.
    #[arg(long, value_name = "SHARE", value_parser = percent, help_heading = "Cache")]
    pub verify_trace: Option<u8>,
}

/// When what steps read is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TraceRunMode {
    /// Where it costs little.
    #[default]
    Auto,
    /// Also for steps that read a lot.
    On,
    /// Never.
    Off,
}

/// Parses a share of a hundred: `N%` or `N`, whole, from 0 to 100.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((whole, places)) = number.split_once(['.', ',', '/'])
        && (is_number(whole) || whole.is_empty())
        && is_number(places)
    {
        return Err("fractions are not supported; expected a whole share such as `10%`".into());
    }
    match number.parse() {
        Ok(percent) if is_number(number) && percent <= 100 => Ok(percent),
        _ => Err("expected a share from `0%` to `100%`".into()),
    }
}

/// Arguments of `bake trace`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake trace 'npm ci'              the paths that this step of the last build read of copied files\n  \
        bake trace 7                     the same, for the step that was shown as #7\n  \
        bake trace 7 --json              the same for programs\n  \
        bake trace --build 12 7          a step of an earlier build\n\n\
        A step is run again only when one of these paths is another one; without that, its result is used whatever else was \
        copied. What was not there when the step looked for it counts too: it is listed as `absent`.")]
pub struct StepTraceArguments {
    /// The step: its number, or a part of its text.
    #[arg(value_name = "STEP")]
    pub step: String,

    /// Look at this build instead of the last one.
    #[arg(long, value_name = "NUMBER")]
    pub build: Option<i64>,

    /// Write JSON, one object for each path.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole() {
        for (text, share) in [("0", 0), ("10%", 10), ("10 %", 10), ("100%", 100), ("100", 100)] {
            assert_eq!(percent(text), Ok(share), "{text}");
        }
        for wrong in ["", "%", "101", "-1", "+1", "ten", "1e1", "10%%", "256%", "1."] {
            assert_eq!(percent(wrong), Err("expected a share from `0%` to `100%`".to_owned()), "{wrong}");
        }
        for fraction in ["0.5", "2.5%", "1/3", ".5", "2,5 %"] {
            assert!(percent(fraction).is_err_and(|error| error.starts_with("fractions are not")), "{fraction}");
        }
    }
}
