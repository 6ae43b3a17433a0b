//! Colours, or none.

/// Whether text is coloured. Who decides (settings) looks at `NO_COLOR` and at the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// Text as it is.
    #[default]
    Plain,
    /// With SGR sequences (ECMA-48, 8.3.117).
    Coloured,
}

impl Colour {
    /// The word `error:` and what failed.
    pub fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// The word `hint:`.
    pub fn hint(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    /// What went well.
    pub fn done(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What was known already.
    pub fn cached(self, text: &str) -> String {
        self.paint("34", text)
    }

    /// What is worth a look.
    pub fn warning(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What matters more.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, parameters: &str, text: &str) -> String {
        match self {
            Self::Coloured if !text.is_empty() => format!("\u{1b}[{parameters}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }
}
