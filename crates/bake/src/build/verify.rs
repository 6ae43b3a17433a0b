//! `--verify-reproducible`: the same build twice, and every file that is not the same.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::sanitize::sanitize_line;
use bake_exporter::{Aspect, ExportImage, FileDifference};
use bake_oci::Timestamp;
use serde_json::Value;

use super::build_one;
use super::export::{self, Exporting};
use super::measure::MeasuredBuild;
use crate::settings::BuildRequest;
use crate::wiring::Host;

/// Builds that begin closer together may see the same second on the clock.
const APART: Duration = Duration::from_secs(2);
/// Files of a layer that are told of; thousands would hide what is to be seen.
const FILES_SHOWN_MAX: usize = 50;
/// Of those that differ in their time alone, which has always the same cause.
const TIMES_SHOWN_MAX: usize = 3;
/// The characters that are shown of a value of a config.
const VALUE_CHARACTERS_MAX: usize = 200;

/// What a build is done for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// For its outputs.
    Outputs,
    /// To be compared with a second build: nothing is written.
    Sample(&'a OnceLock<Vec<ExportImage>>),
    /// To be measured: nothing is written.
    Measurement(&'a OnceLock<Option<MeasuredBuild>>),
    /// For its outputs, if it makes the same images.
    Comparison(&'a [ExportImage]),
}

/// Whether outputs are still to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    ToBeWritten,
}

impl Purpose<'_> {
    pub(super) fn has_outputs(self) -> bool {
        !matches!(self, Self::Sample(_) | Self::Measurement(_))
    }

    /// Does what the purpose asks for between steps and outputs.
    pub(super) fn settle(self, exporting: &Exporting<'_>) -> Result<Settled, CommandError> {
        match self {
            Self::Outputs => Ok(Settled::ToBeWritten),
            Self::Measurement(_) => Ok(Settled::Done),
            Self::Sample(sample) => {
                // Nobody else sets it, and a build that begins again has the same images.
                let _ = sample.set(exporting.images_of_first_output()?);
                Ok(Settled::Done)
            }
            Self::Comparison(first) => {
                compare(first, &exporting.images_of_first_output()?, exporting)?;
                exporting.progress.print("both builds made the same image".to_owned());
                Ok(Settled::ToBeWritten)
            }
        }
    }
}

/// Builds twice, and writes the outputs if both times the images are the same.
pub(crate) fn build_twice(request: &BuildRequest, host: &Host, colour: Colour) -> Result<Option<String>, CommandError> {
    let began = Instant::now();
    let sample = OnceLock::new();
    build_one(Purpose::Sample(&sample), request, host, colour, None)?;
    let first = sample.into_inner().ok_or_else(|| CommandError::internal("the first build left no image"))?;
    std::thread::sleep(APART.saturating_sub(began.elapsed()));
    build_one(Purpose::Comparison(&first), request, host, colour, None)
}

/// Fails with all differences if there are any.
fn compare(first: &[ExportImage], second: &[ExportImage], exporting: &Exporting<'_>) -> Result<(), CommandError> {
    let exporter = export::exporter(exporting.request, exporting.host);
    let mut text = String::new();
    let (mut configs, mut layers, mut times) = (0_usize, 0_usize, false);
    let mut only_times = true;
    for (one, other) in first.iter().zip(second) {
        let place = if first.len() > 1 { format!(" for {}", one.platform) } else { String::new() };
        let mut fields = Vec::new();
        compare_values("", &config_value(one)?, &config_value(other)?, &mut fields);
        if !fields.is_empty() {
            configs += 1;
            only_times = false;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "config{place}");
            for field in fields {
                let _ = writeln!(text, "  {field}");
            }
        }
        let steps = step_names(one);
        for (number, (layer, other)) in one.layers.iter().zip(&other.layers).enumerate() {
            let differences = exporter.compare_layers(layer, other).map_err(|error| export::failed(&error))?;
            if differences.is_empty() {
                continue;
            }
            layers += 1;
            times |= differences.iter().any(FileDifference::is_time_alone);
            only_times &= differences.iter().all(FileDifference::is_time_alone);
            let step = steps.get(number).map(|step| format!(": {}", sanitize_line(step))).unwrap_or_default();
            let _ = writeln!(text, "layer {} of {}{place}{step}", number + 1, one.layers.len());
            describe_files(&differences, &mut text);
        }
        if one.layers.len() != other.layers.len() {
            only_times = false;
            let _ = writeln!(text, "{} layers and {} layers{place}", one.layers.len(), other.layers.len());
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    let mut what = Vec::new();
    for (count, noun) in [(layers, "layer"), (configs, "config")] {
        if count > 0 {
            what.push(format!("{count} {noun}{}", if count == 1 { "" } else { "s" }));
        }
    }
    let failed = CommandError::build(format!(
        "the two builds made different images: {} {}",
        what.join(" and "),
        if layers + configs == 1 { "differs" } else { "differ" }
    ))
    .snippet(text);
    Err(match (times, only_times) {
        (true, true) => {
            failed.hint("only times differ: `rewrite-timestamp=true` beside the type of the output makes them the same")
        }
        (true, false) => {
            failed.hint("times that differ go away with `rewrite-timestamp=true` beside the type of the output")
        }
        _ => failed,
    })
}

/// The config without what the layers say.
fn config_value(image: &ExportImage) -> Result<Value, CommandError> {
    let bytes = image.config.to_bytes().map_err(|error| CommandError::internal(error.to_string()))?;
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|error| CommandError::internal(error.to_string()))?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("rootfs");
    }
    Ok(value)
}

/// Every field of two documents that is not the same, with both values.
fn compare_values(path: &str, first: &Value, second: &Value, found: &mut Vec<String>) {
    match (first, second) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let value = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare_values(&path, &value(one), &value(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (number, (one, other)) in one.iter().zip(other).enumerate() {
                compare_values(&format!("{path}[{number}]"), one, other, found);
            }
        }
        _ if first == second => {}
        _ => found.push(format!("{}: {} and {}", sanitize_line(path), shortened(first), shortened(second))),
    }
}

fn shortened(value: &Value) -> String {
    let text = sanitize_line(&value.to_string());
    match text.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What made each layer.
fn step_names(image: &ExportImage) -> Vec<&str> {
    let entries = image.config.history.iter().filter(|entry| !entry.empty_layer);
    entries.map(|entry| entry.created_by.trim_end_matches(" # buildkit")).collect()
}

fn describe_files(differences: &[FileDifference], text: &mut String) {
    let (times, others): (Vec<_>, Vec<_>) = differences.iter().partition(|difference| difference.is_time_alone());
    for (list, limit, what) in
        [(others, FILES_SHOWN_MAX, "more"), (times, TIMES_SHOWN_MAX, "more that differ in their time alone")]
    {
        for difference in list.iter().take(limit) {
            let aspects: Vec<String> = difference.aspects.iter().map(describe).collect();
            let _ = writeln!(text, "  {}: {}", sanitize_line(&difference.path), sanitize_line(&aspects.join(", ")));
        }
        if list.len() > limit {
            let _ = writeln!(text, "  {} {what}", list.len() - limit);
        }
    }
}

fn describe(aspect: &Aspect) -> String {
    match aspect {
        Aspect::OnlyFirst => "only in the first build".into(),
        Aspect::OnlySecond => "only in the second build".into(),
        Aspect::Kind(one, other) => format!("{one} and {other}"),
        Aspect::Content { sizes: (one, other), offset } => {
            let place = offset.map(|offset| format!(" from byte {offset} on")).unwrap_or_default();
            let sizes = if one == other { format!("{one} bytes") } else { format!("{one} and {other} bytes") };
            format!("content differs{place} ({sizes})")
        }
        Aspect::Target(one, other) => format!("target `{one}` and `{other}`"),
        Aspect::Mode(one, other) => format!("mode {one:04o} and {other:04o}"),
        Aspect::Owner((user, group), (other_user, other_group)) => {
            format!("owner {user}:{group} and {other_user}:{other_group}")
        }
        Aspect::Time(one, other) => format!("time {} and {}", time(*one), time(*other)),
        Aspect::Attribute(name) => format!("extended attribute {name}"),
    }
}

fn time(time: Timestamp) -> String {
    time.to_rfc3339()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_by_their_path() {
        let mut found = Vec::new();
        let first = json!({"created": "1", "config": {"Env": ["A=1", "B=2"], "Cmd": ["x"]}, "same": [1]});
        let second =
            json!({"created": "2", "config": {"Env": ["A=1", "B=3"], "Cmd": ["x", "y"]}, "same": [1], "new": 1});
        compare_values("", &first, &second, &mut found);
        found.sort();
        let expected = [
            r#"config.Cmd: ["x"] and ["x","y"]"#,
            r#"config.Env[1]: "B=2" and "B=3""#,
            r#"created: "1" and "2""#,
            "new: null and 1",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn lists_of_files_end_somewhere() {
        let time = |number: i64| FileDifference {
            path: format!("t{number}"),
            aspects: vec![Aspect::Time(Timestamp::from_seconds(number), Timestamp::from_seconds(0))],
        };
        let mut differences: Vec<_> = (0..10).map(time).collect();
        let content = Aspect::Content { sizes: (5, 6), offset: Some(4) };
        differences.push(FileDifference { path: "c".into(), aspects: vec![content, Aspect::Mode(0o644, 0o4755)] });
        let mut text = String::new();
        describe_files(&differences, &mut text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  c: content differs from byte 4 on (5 and 6 bytes), mode 0644 and 4755");
        assert_eq!(lines[1], "  t0: time 1970-01-01T00:00:00Z and 1970-01-01T00:00:00Z");
        assert_eq!(lines.last(), Some(&"  7 more that differ in their time alone"));
        assert_eq!(lines.len(), 5);
    }
}
