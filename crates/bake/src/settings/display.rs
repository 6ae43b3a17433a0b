//! How a build is shown: what flags and the environment say.

use std::io::IsTerminal as _;

use bake::cli::ProgressMode;
use bake::error::CommandError;
use bake::ui::ci::Ci;
use bake::ui::colour::Colour;
use bake::ui::palette::Palette;
use bake::ui::progress::{DisplayKind, DisplayOptions};

use super::{BuildRequest, variable};

/// Whether colours are used on standard error.
pub(crate) fn colour() -> Colour {
    if variable("NO_COLOR").is_some() || !std::io::stderr().is_terminal() || variable("TERM").as_deref() == Some("dumb")
    {
        Colour::Plain
    } else {
        palette().map_or(Colour::Coloured, |(palette, _)| Colour::Chosen(palette))
    }
}

/// The colours of `BUILDKIT_COLORS`, and what is wrong with them.
fn palette() -> Option<(Palette, Vec<String>)> {
    variable("BUILDKIT_COLORS").filter(|value| !value.is_empty()).map(|value| Palette::parse(&value))
}

/// What is wrong with `BUILDKIT_COLORS`, to be warned of; nothing where nobody wants colours.
pub(crate) fn palette_problems() -> Vec<String> {
    if variable("NO_COLOR").is_some() {
        Vec::new()
    } else {
        palette().map(|(_, problems)| problems).unwrap_or_default()
    }
}

/// What is done for the CI system that bake runs in.
pub(crate) fn ci() -> Result<Ci, CommandError> {
    Ci::from_environment(variable).map_err(CommandError::usage)
}

/// What the environment says about the display of a build.
pub(crate) fn display_options<'a>(
    mut requests: impl Iterator<Item = &'a BuildRequest>,
) -> Result<DisplayOptions, CommandError> {
    // As in BuildKit, what is no positive number says nothing.
    let lines = variable("BUILDKIT_TTY_LOG_LINES").and_then(|lines| lines.parse().ok()).filter(|lines| *lines > 0);
    let usual = DisplayOptions::default();
    // Of several Dockerfiles each is found by its name.
    let only = requests.next().filter(|_| requests.next().is_none());
    let ci = Ci { dockerfile: only.and_then(BuildRequest::absolute_dockerfile), ..ci()? };
    Ok(DisplayOptions { log_lines: lines.unwrap_or(usual.log_lines), ci })
}

/// A display that redraws, if it was asked for, or why there is none.
fn terminal() -> Result<DisplayKind, CommandError> {
    if std::io::stderr().is_terminal() {
        return Ok(DisplayKind::Terminal);
    }
    Err(CommandError::usage("progress cannot be shown as `tty`: standard error is no terminal")
        .hint("`--progress=auto` redraws on terminals and writes lines elsewhere"))
}

/// How progress is shown.
pub(crate) fn display(quiet: bool, mode: Option<ProgressMode>) -> Result<DisplayKind, CommandError> {
    let automatic = || DisplayKind::automatic(std::io::stderr().is_terminal(), variable("TERM").as_deref());
    if quiet {
        return Ok(DisplayKind::Quiet);
    }
    match mode {
        Some(ProgressMode::Auto) => Ok(automatic()),
        Some(ProgressMode::Tty) => terminal(),
        Some(ProgressMode::Plain) => Ok(DisplayKind::Plain),
        Some(ProgressMode::Quiet | ProgressMode::None) => Ok(DisplayKind::Quiet),
        Some(ProgressMode::RawJson) => Ok(DisplayKind::RawJson),
        None => match variable("BUILDKIT_PROGRESS").as_deref() {
            None | Some("auto") => Ok(automatic()),
            Some("tty") => terminal(),
            Some("plain") => Ok(DisplayKind::Plain),
            Some("quiet" | "none") => Ok(DisplayKind::Quiet),
            Some("rawjson") => Ok(DisplayKind::RawJson),
            Some(other) => Err(CommandError::usage(format!("`BUILDKIT_PROGRESS={other}` is no progress mode"))),
        },
    }
}
