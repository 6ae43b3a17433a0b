//! Colours, or none.

use super::palette::{Palette, Shade};

/// Whether text is coloured. Who decides (settings) looks at `NO_COLOR` and at the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// Text as it is.
    #[default]
    Plain,
    /// With SGR sequences (ECMA-48, 8.3.117).
    Coloured,
    /// The same with some colours of the user's own.
    Chosen(Palette),
}

impl Colour {
    /// The word `error:` and what failed.
    pub fn error(self, text: &str) -> String {
        self.paint_chosen(|palette| palette.error, "1;31", text)
    }

    /// The word `hint:`.
    pub fn hint(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    /// What went well.
    pub fn done(self, text: &str) -> String {
        self.paint_chosen(|palette| palette.run, "32", text)
    }

    /// What was known already.
    pub fn cached(self, text: &str) -> String {
        self.paint_chosen(|palette| palette.run, "34", text)
    }

    /// What was given up.
    pub fn cancelled(self, text: &str) -> String {
        self.paint_chosen(|palette| palette.cancel, "33", text)
    }

    /// What is worth a look.
    pub fn warning(self, text: &str) -> String {
        self.paint_chosen(|palette| palette.warning, "33", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What matters more.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint_chosen(self, choose: fn(&Palette) -> Option<Shade>, usual: &str, text: &str) -> String {
        let chosen = match &self {
            Self::Chosen(palette) => choose(palette),
            Self::Plain | Self::Coloured => None,
        };
        match chosen {
            Some(shade) => self.paint(&shade.to_string(), text),
            None => self.paint(usual, text),
        }
    }

    fn paint(self, parameters: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            _ if text.is_empty() => String::new(),
            Self::Coloured | Self::Chosen(_) => format!("\u{1b}[{parameters}m{text}\u{1b}[0m"),
        }
    }
}
