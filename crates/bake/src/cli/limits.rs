//! The flags that limit what steps and commands may use.

use std::path::PathBuf;
use std::time::Duration;

use bake_sandbox::UNLIMITED;
use clap::Args;

use super::value::{duration, size_bytes};

/// Limits of each `RUN` step, or of the command of `bake run`. A zero is, as for Docker, the same as leaving the flag out.
#[derive(Debug, Args)]
pub struct LimitArguments {
    /// Memory for each step, for example `2g`. Without it, nine tenths of what is free.
    #[arg(short, long, value_name = "SIZE", value_parser = size_bytes, help_heading = "Limits")]
    pub memory: Option<u64>,

    /// Memory and swap together, at least as much as `--memory`; -1 for all swap there is.
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = unlimited_or(size_bytes), requires = "memory", help_heading = "Limits")]
    pub memory_swap: Option<u64>,

    /// Processors for each step, for example `1.5`.
    #[arg(long, value_name = "NUMBER", value_parser = thousandths, conflicts_with_all = ["cpu_quota", "cpu_period"], help_heading = "Limits")]
    pub cpus: Option<u64>,

    /// Microseconds of processor time in each period.
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Limits")]
    pub cpu_quota: Option<u64>,

    /// The length of that period.
    #[arg(long, value_name = "MICROSECONDS", requires = "cpu_quota", help_heading = "Limits")]
    pub cpu_period: Option<u64>,

    /// The part of the processors where they are short, relative to 1024 of others.
    #[arg(short, long, value_name = "NUMBER", help_heading = "Limits")]
    pub cpu_shares: Option<u64>,

    /// The processors that steps run on, for example `0-2,4`.
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    pub cpuset_cpus: Option<String>,

    /// The memory nodes that steps use.
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    pub cpuset_mems: Option<String>,

    /// Processes and threads for each step, -1 for any number. Without it, 16384.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = unlimited_or(number), help_heading = "Limits")]
    pub pids_limit: Option<u64>,

    /// A resource limit of processes, soft and hard, for example `nofile=1024:4096`.
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Limits")]
    pub ulimit: Vec<String>,

    /// Stop a step that takes longer, for example `10m`.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, help_heading = "Limits")]
    pub timeout: Option<Duration>,

    /// Make the cgroups of steps below this one, a path from the root of the cgroups.
    #[arg(long, value_name = "PATH", help_heading = "Limits")]
    pub cgroup_parent: Option<PathBuf>,
}

/// What `parse` takes, or -1, which is no limit ([`UNLIMITED`]).
fn unlimited_or(
    parse: fn(&str) -> Result<u64, String>,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| if text == "-1" { Ok(UNLIMITED) } else { parse(text) }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a number, or -1 for no limit".to_owned())
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected more than no time; leave the flag out for no limit".into()),
        duration => Ok(duration),
    }
}

/// A decimal number with up to three places, in thousandths.
fn thousandths(text: &str) -> Result<u64, String> {
    let invalid = || "expected a number of processors such as `2` or `1.5`".to_owned();
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    if places.len() > 3 || !places.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let whole: u64 = whole.parse().map_err(|_| invalid())?;
    let places: u64 = format!("{places:0<3}").parse().map_err(|_| invalid())?;
    match whole.checked_mul(1000).and_then(|whole| whole.checked_add(places)) {
        Some(thousandths) => Ok(thousandths),
        None => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_thousandths() {
        assert_eq!(thousandths("1.5"), Ok(1500));
        assert_eq!(thousandths("2"), Ok(2000));
        assert_eq!(thousandths("0.25"), Ok(250));
        for wrong in ["", "-1", "1.2345", "x", "1.x", "99999999999999999999"] {
            assert!(thousandths(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn minus_one_is_no_limit() {
        assert_eq!(unlimited_or(number)("-1"), Ok(UNLIMITED));
        assert_eq!(unlimited_or(size_bytes)("1m"), Ok(1 << 20));
        assert!(unlimited_or(size_bytes)("-2").is_err());
    }

    #[test]
    fn no_time_is_refused() {
        assert!(positive_duration("0s").is_err());
    }
}
