//! Colours that people choose, in the syntax of `BUILDKIT_COLORS`: `run=green:warning=yellow:error=red:cancel=255,165,0`.

use std::fmt;

/// The colours of what `BUILDKIT_COLORS` has names for; `None` is the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Palette {
    pub(super) run: Option<Shade>,
    pub(super) cancel: Option<Shade>,
    pub(super) error: Option<Shade>,
    pub(super) warning: Option<Shade>,
}

/// A colour of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shade {
    /// A parameter of SGR (ECMA-48, 8.3.117).
    Named(u8),
    /// One of the 216 colours of the cube in the table of 256, as BuildKit writes three values.
    Indexed(u8),
}

impl fmt::Display for Shade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(parameter) => write!(formatter, "{parameter}"),
            Self::Indexed(index) => write!(formatter, "38;5;{index}"),
        }
    }
}

/// The names, in the order of their SGR parameters from 30 and from 90 on.
const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

impl Palette {
    /// Reads the value of `BUILDKIT_COLORS`. As in BuildKit, what is wrong is passed over; it comes back in words, to be warned
    /// of.
    pub fn parse(value: &str) -> (Self, Vec<String>) {
        let mut palette = Self::default();
        let mut problems = Vec::new();
        for field in value.split(':') {
            match assignment(field) {
                Ok((name, shade)) => {
                    let place = match &*name {
                        "run" => &mut palette.run,
                        "cancel" => &mut palette.cancel,
                        "error" => &mut palette.error,
                        "warning" => &mut palette.warning,
                        _ => {
                            problems.push(format!("`{name}` is none of `run`, `cancel`, `error` and `warning`"));
                            continue;
                        }
                    };
                    *place = Some(shade);
                }
                Err(problem) => problems.push(problem),
            }
        }
        (palette, problems)
    }
}

fn assignment(field: &str) -> Result<(String, Shade), String> {
    let field = field.trim_matches('"');
    let Some((name, value)) = field.split_once('=') else {
        return Err(format!("`{field}` is not of the form `name=colour`"));
    };
    let value = value.trim_matches('"').to_lowercase();
    Ok((name.to_lowercase(), if value.contains(',') { cube(&value)? } else { named(&value)? }))
}

fn named(value: &str) -> Result<Shade, String> {
    let position = |name: &str| NAMES.iter().position(|known| *known == name);
    // There are eight, so the numbers are small.
    let shade = |base: u8, position: usize| u8::try_from(position).ok().map(|position| Shade::Named(base + position));
    let found = match value.strip_prefix("light-") {
        _ if value == "default" => Some(Shade::Named(39)),
        Some(name) => position(name).and_then(|position| shade(90, position)),
        None => position(value).and_then(|position| shade(30, position)),
    };
    found.ok_or_else(|| {
        format!(
            "`{value}` is no colour: known are `default`, {} (each also as `light-...`) and three numbers from 0 to 255 such as `255,165,0`",
            NAMES.map(|name| format!("`{name}`")).join(", ")
        )
    })
}

fn cube(value: &str) -> Result<Shade, String> {
    let wrong = || format!("`{value}` is no colour: it needs three numbers from 0 to 255");
    let parts: Vec<u8> =
        value.split(',').map(|part| part.trim().parse::<u8>().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    let [red, green, blue] = *parts else { return Err(wrong()) };
    // Six levels of each; 16 + 215 is the largest sum.
    let level = |part: u8| u16::from(part) * 6 / 256;
    let index = 16 + 36 * level(red) + 6 * level(green) + level(blue);
    Ok(Shade::Indexed(u8::try_from(index).unwrap_or(u8::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_colours() {
        let (palette, problems) = Palette::parse("run=green:WARNING=Light-Yellow:error=255,0,0:cancel=default");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(palette.run.map(|shade| shade.to_string()).as_deref(), Some("32"));
        assert_eq!(palette.warning, Some(Shade::Named(93)));
        assert_eq!(palette.error.map(|shade| shade.to_string()).as_deref(), Some("38;5;196"));
        assert_eq!(palette.cancel, Some(Shade::Named(39)));
    }

    #[test]
    fn what_is_wrong_is_told_and_the_rest_holds() {
        let (palette, problems) = Palette::parse("run=puce:error:stop=red:cancel=1,2:warning=1,2,300:error=blue");
        assert_eq!(palette, Palette { error: Some(Shade::Named(34)), ..Palette::default() });
        assert_eq!(problems.len(), 5, "{problems:?}");
        for (problem, part) in
            problems.iter().zip(["`puce` is no colour", "`error` is not of", "`stop` is none", "`1,2`", "`1,2,300`"])
        {
            assert!(problem.contains(part), "{part} is missing in {problem}");
        }
        assert_eq!(Palette::parse("").1.len(), 1);
    }
}
