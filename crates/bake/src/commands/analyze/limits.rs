//! Limits that an image has to keep, from flags and from a file of dive.

use std::path::Path;

use bake::cli::{AnalyzeArguments, exact_size_bytes, share};
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_analyze::Analysis;
use serde::Serialize;

use super::upper_bytes;

/// A file of dive has a handful of lines.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What was asked for. A flag wins over the file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Limits {
    min_efficiency: Option<f64>,
    max_wasted_bytes: Option<u64>,
    /// Of all bytes, from 0 to 1.
    max_wasted_share: Option<f64>,
    /// Of the bytes above the first layer, from 0 to 1.
    max_user_wasted_share: Option<f64>,
}

/// A limit and whether it was kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) limit: f64,
    pub(super) actual: f64,
    pub(super) passed: bool,
}

impl Check {
    /// What is wrong, one line.
    pub(super) fn complaint(&self) -> String {
        let Self { limit, actual, .. } = self;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both were made from a u64")]
        let bytes = |value: &f64| size(*value as u64);
        match self.name {
            "MinEfficiency" => format!("an efficiency of {actual:.4} is below the limit of {limit}"),
            "MaxWastedBytes" => format!("{} wasted are more than the limit of {}", bytes(actual), bytes(limit)),
            "MaxUserWastedShare" => format!(
                "{:.2} % of the bytes above the first layer are wasted, more than the limit of {:.2} %",
                actual * 100.0,
                limit * 100.0
            ),
            _ => format!("{:.2} % wasted are more than the limit of {:.2} %", actual * 100.0, limit * 100.0),
        }
    }
}

impl Limits {
    pub(super) fn of(arguments: &AnalyzeArguments) -> Result<Self, CommandError> {
        let mut limits = match &arguments.ci_config {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        limits.min_efficiency = arguments.min_efficiency.or(limits.min_efficiency);
        limits.max_wasted_bytes = arguments.max_wasted.or(limits.max_wasted_bytes);
        limits.max_wasted_share = arguments.max_wasted_percent.map(|percent| percent / 100.0);
        Ok(limits)
    }

    fn read(path: &Path) -> Result<Self, CommandError> {
        use std::io::Read as _;
        let shown = path.display();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| CommandError::input(format!("cannot read `{shown}`: {error}")))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(CommandError::input(format!("`{shown}` has more than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse(&text).map_err(|(line, problem)| {
            CommandError::input(format!("`{shown}` line {line}: {problem}"))
                .hint("the file is that of dive: `rules:` and below it `lowestEfficiency: 0.95` and the like")
        })
    }

    /// dive's file is YAML of one map of scalars, of which this reads exactly that.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut limits = Self::default();
        let mut in_rules = false;
        for (index, line) in text.lines().enumerate() {
            let failed = |problem: String| (index + 1, problem);
            let content = line.split_once(" #").map_or(line, |(content, _)| content).trim_end();
            let trimmed = content.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') || trimmed == "---" {
                continue;
            }
            let Some((key, value)) = trimmed.split_once(':') else {
                return Err(failed(format!("`{trimmed}` is not `KEY: VALUE`")));
            };
            let value = value.trim().trim_matches(['"', '\'']);
            let top = trimmed.len() == content.len();
            if top {
                in_rules = key == "rules" && value.is_empty();
                if !in_rules {
                    return Err(failed(format!("there is no setting `{key}`")));
                }
                continue;
            }
            if !in_rules {
                return Err(failed(format!("`{key}` stands outside of `rules:`")));
            }
            if value == "disabled" {
                continue;
            }
            match key {
                "lowestEfficiency" => limits.min_efficiency = Some(share(value).map_err(failed)?),
                "highestWastedBytes" => limits.max_wasted_bytes = Some(exact_size_bytes(value).map_err(failed)?),
                "highestUserWastedPercent" => limits.max_user_wasted_share = Some(share(value).map_err(failed)?),
                _ => return Err(failed(format!("there is no rule `{key}`"))),
            }
        }
        Ok(limits)
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody sets limits of more than 53 bits")]
    pub(super) fn check(&self, analysis: &Analysis) -> Vec<Check> {
        let (added, wasted) = (analysis.added_bytes(), analysis.wasted_bytes());
        let of = |whole: u64| if whole == 0 { 0.0 } else { wasted as f64 / whole as f64 };
        let at_most = |name, limit: Option<f64>, actual: f64| {
            limit.map(|limit| Check { name, limit, actual, passed: actual <= limit })
        };
        let efficiency = analysis.efficiency();
        let at_least = self.min_efficiency.map(|limit| Check {
            name: "MinEfficiency",
            limit,
            actual: efficiency,
            passed: efficiency >= limit,
        });
        at_least
            .into_iter()
            .chain(at_most("MaxWastedBytes", self.max_wasted_bytes.map(|bytes| bytes as f64), wasted as f64))
            .chain(at_most("MaxWastedShare", self.max_wasted_share, of(added)))
            .chain(at_most("MaxUserWastedShare", self.max_user_wasted_share, of(upper_bytes(analysis))))
            .collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_analyze::LayerFigures;

    use super::*;

    #[test]
    fn files_of_dive_are_read() {
        let text = "# limits\nrules:\n  lowestEfficiency: 0.95 # of 1\n\n  highestWastedBytes: '20MB'\n  highestUserWastedPercent: \"0.20\"\n";
        let limits = Limits::parse(text).unwrap();
        assert_eq!(
            limits,
            Limits {
                min_efficiency: Some(0.95),
                max_wasted_bytes: Some(20_000_000),
                max_wasted_share: None,
                max_user_wasted_share: Some(0.2),
            }
        );
        let disabled = Limits::parse("---\nrules:\n    highestWastedBytes: disabled\n").unwrap();
        assert_eq!(disabled, Limits::default());
        for (text, line, word) in [
            ("rules:\n  lowestEfficiency: 2\n", 2, "0 to 1"),
            ("rules:\n  lowest: 1\n", 2, "`lowest`"),
            ("  lowestEfficiency: 1\n", 1, "outside"),
            ("rule:\n", 1, "`rule`"),
            ("rules:\n  x\n", 2, "KEY: VALUE"),
        ] {
            let (at, problem) = Limits::parse(text).unwrap_err();
            assert!(at == line && problem.contains(word), "{text}: {at} {problem}");
        }
    }

    #[test]
    fn limits_are_kept_or_not() {
        let layer = |added_bytes, hidden_bytes| LayerFigures { added_bytes, hidden_bytes, ..LayerFigures::default() };
        let analysis = Analysis { layers: vec![layer(700, 50), layer(300, 50)], waste: Vec::new(), files: Vec::new() };
        let limits = Limits {
            min_efficiency: Some(0.9),
            max_wasted_bytes: Some(99),
            max_wasted_share: Some(0.1),
            max_user_wasted_share: Some(0.3),
        };
        let told: Vec<_> = limits.check(&analysis).iter().map(|check| (check.name, check.passed)).collect();
        assert_eq!(
            told,
            [
                ("MinEfficiency", true),
                ("MaxWastedBytes", false),
                ("MaxWastedShare", true),
                ("MaxUserWastedShare", false)
            ]
        );
        assert!(limits.check(&analysis)[1].complaint().contains("100B wasted"));
    }
}
