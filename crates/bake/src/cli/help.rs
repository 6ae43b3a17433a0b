//! What `--help` shows: commands in groups, first sentences for `-h`, examples.
//!
//! The texts are doc comments and `after_help` of the types of the command line. Here they are only laid out, and only when
//! somebody asks for help: parsing uses the plain table.

use std::fmt::Write as _;

use clap::builder::{StyledStr, Styles};
use clap::{Arg, Command, CommandFactory as _};

use super::Arguments;

/// All commands, in the order of the help. A command that is missing here fails a test.
const GROUPS: &[(&str, &[&str])] = &[
    ("Build", &["build", "up", "plan", "why", "trace", "debug", "resume"]),
    ("Dockerfiles", &["lint", "fmt", "pin", "lsp"]),
    ("Images", &["images", "inspect", "history", "analyze", "diff", "run", "tag", "rmi", "save", "load"]),
    ("Registries", &["login", "logout", "pull", "push", "copy", "imagetools"]),
    ("Supply chain", &["sbom", "attestations", "sign", "verify", "keygen"]),
    ("Store", &["df", "prune", "fsck"]),
    ("bake itself", &["config", "doctor", "completion", "man", "version", "help"]),
];

/// What follows the options of `bake --help` after the examples, which `bake -h` shows too.
const ENVIRONMENT: &str = "Environment:
  BAKE_ROOT           the directory of images, layers and cache, as by `--root`
  BAKE_CONFIG         the configuration file, in place of those of machine and user
  BAKE_SECTION_KEY    any key of the configuration, such as BAKE_BUILD_PLATFORM; see `bake config`
  DOCKER_CONFIG       the directory with logins at registries
  SOURCE_DATE_EPOCH   the time that files and images get, in seconds since 1970
  BUILDKIT_PROGRESS   how progress is shown, as by `--progress`
  NO_COLOR            no colours

Exit codes: 0 success, 1 the build or command failed, 2 usage or input, 70 a bug in bake, 130 interrupted.";

/// Lines are not made longer than this even where there is room: nobody likes to read them.
pub const WIDTH_MAX: usize = 120;

/// Lines are not made shorter than this: below it, words break.
pub const WIDTH_MIN: usize = 30;

/// The width of what is no terminal.
pub const WIDTH_DEFAULT: usize = 100;

/// The least room for what stands in a column on the right; where there is less, it goes below.
const COLUMN_MIN: usize = 24;

/// The command line with all texts laid out for lines of `width` columns.
pub fn command(width: usize) -> Command {
    let mut command = Arguments::command().term_width(width);
    // Adds what clap adds by itself: `help`, and the full names of commands.
    command.build();
    let command = command.mut_subcommand("help", |help| help.about("Show this, or the help of a command"));
    let styles = command.get_styles().clone();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}{{after-help}}",
        groups(&command, &styles, width),
        heading(&styles, "Options"),
    );
    let long = below(&command);
    laid_out(command.after_long_help(long)).help_template(StyledStr::from(template))
}

/// What stands below the options in the long help of a command.
pub fn below(command: &Command) -> String {
    let own = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string).unwrap_or_default();
    if command.get_name() == "bake" { format!("{own}\n\n{ENVIRONMENT}") } else { own }
}

/// The list of commands, by groups.
fn groups(command: &Command, styles: &Styles, width: usize) -> String {
    let named = |name: &str| command.get_subcommands().find(|inner| inner.get_name() == name);
    let column = command.get_subcommands().map(|inner| inner.get_name().len()).max().unwrap_or_default() + 4;
    let mut text = String::new();
    for (group, names) in GROUPS {
        let _ = writeln!(text, "{}", heading(styles, group));
        for inner in names.iter().filter_map(|name| named(name)) {
            let about = inner.get_about().map(ToString::to_string).unwrap_or_default();
            let aliases: Vec<&str> = inner.get_visible_aliases().collect();
            let aliases =
                if aliases.is_empty() { String::new() } else { format!(" (also `{}`)", aliases.join("`, `")) };
            let (name, literal) = (inner.get_name(), styles.get_literal());
            let _ = write!(text, "  {literal}{name}{literal:#}");
            let indent = if width >= column + COLUMN_MIN {
                let _ = write!(text, "{:1$}", "", column - 2 - name.len());
                column
            } else {
                text.push_str("\n      ");
                6
            };
            text.push_str(&wrapped(&format!("{about}{aliases}"), width.saturating_sub(indent), indent));
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn heading(styles: &Styles, title: &str) -> String {
    let style = styles.get_header();
    format!("{style}{title}:{style:#}")
}

/// Breaks a text between words; lines after the first are indented.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let (mut lines, mut room) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if lines.is_empty() {
            room = width.saturating_sub(length);
        } else if room > length {
            lines.push(' ');
            room -= length + 1;
        } else {
            let _ = write!(lines, "\n{:indent$}", "");
            room = width.saturating_sub(length);
        }
        lines.push_str(word);
    }
    lines
}

/// A command and those below it: first sentences for `-h`, headings of what follows the options in the style of the others.
fn laid_out(command: Command) -> Command {
    let styles = command.get_styles().clone();
    let with_headings = |text: &StyledStr| -> StyledStr {
        let mut all = String::new();
        for line in text.ansi().to_string().lines() {
            match line.strip_suffix(':').filter(|title| is_title(title)) {
                Some(title) => all.push_str(&heading(&styles, title)),
                None => all.push_str(line),
            }
            all.push('\n');
        }
        all.truncate(all.trim_end().len());
        all.into()
    };
    let (after, after_long) =
        (command.get_after_help().map(with_headings), command.get_after_long_help().map(with_headings));
    let command = match after {
        Some(text) => command.after_help(text),
        None => command,
    };
    let command = match after_long {
        Some(text) => command.after_long_help(text),
        None => command,
    };
    command.mut_args(with_first_sentence).mut_subcommands(laid_out)
}

/// Whether a line that ends with a colon is the title of the lines below.
fn is_title(text: &str) -> bool {
    !text.starts_with(' ') && !text.is_empty() && text.split(' ').count() <= 3
}

/// Keeps the whole help for `--help`; `-h` shows its first sentence.
fn with_first_sentence(argument: Arg) -> Arg {
    let Some(help) = argument.get_help().map(ToString::to_string) else { return argument };
    let Some((first, _)) = help.split_once(". ") else { return argument };
    let first = first.to_owned();
    let argument = if argument.get_long_help().is_none() { argument.long_help(help) } else { argument };
    argument.help(first)
}

/// A part of what stands below the options.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The lines below `Examples:`, without their indentation.
    Examples(Vec<&'a str>),
    /// Anything else: lines as they are.
    Text(Vec<&'a str>),
}

/// The parts of what stands below the options of a command; empty lines stand between them.
pub fn parts(after_help: &str) -> Vec<Part<'_>> {
    let blocks = after_help.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let mut lines = block.lines();
            match lines.next().map(str::trim) {
                Some("Examples:" | "Example:") => Part::Examples(lines.map(str::trim).collect()),
                _ => Part::Text(block.lines().collect()),
            }
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// Every command with its full name, those of commands too.
    fn commands() -> Vec<Command> {
        fn below(command: &Command, all: &mut Vec<Command>) {
            all.push(command.clone());
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                below(inner, all);
            }
        }
        let mut command = Arguments::command();
        command.build();
        let mut all = Vec::new();
        below(&command, &mut all);
        all
    }

    /// The words of one command of a line of shell: no pipes, no redirections, no remark behind it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote, mut spaces) = (Vec::new(), None::<String>, None, 0);
        for character in line.chars() {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (None, ' ') => {
                    spaces += 1;
                    words.extend(word.take());
                }
                (None, '|' | '<' | '>' | ')') => break,
                (None, _) if spaces > 1 => break,
                _ => word.get_or_insert_default().push(character),
            }
            if character != ' ' {
                spaces = 0;
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut command = Arguments::command();
        command.build();
        let mut there: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        there.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, there, "GROUPS of cli/help.rs and the commands are not the same");
    }

    #[test]
    fn every_command_has_examples_that_can_be_typed() {
        let mut count = 0;
        for command in commands() {
            let name = command.get_bin_name().unwrap_or("bake").to_owned();
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = parts(&after)
                .into_iter()
                .filter_map(|part| if let Part::Examples(lines) = part { Some(lines) } else { None })
                .flatten()
                .collect();
            // Those that hold others have theirs there.
            let holds_others = command.get_subcommands().any(|inner| inner.get_name() != "help");
            assert!(holds_others || !examples.is_empty(), "`{name}` has no examples");
            let mut own = false;
            for example in examples {
                let begins = example.match_indices("bake ").map(|(begin, _)| begin);
                let typed = begins.filter(|begin| {
                    let before = &example[..*begin];
                    before.is_empty() || ["| ", "(", "xargs "].iter().any(|end| before.ends_with(end))
                });
                let before = count;
                for begin in typed {
                    let mut words = words(&example[begin..]);
                    if example[..begin].ends_with("xargs ") {
                        words.push("a".to_owned());
                    }
                    count += 1;
                    own |= words.join(" ").starts_with(&name);
                    if let Err(error) = Arguments::try_parse_from(&words) {
                        assert!(!error.use_stderr(), "{name}: `{example}`: {error}");
                    }
                }
                assert!(count > before, "{name}: `{example}` has no command of bake");
            }
            assert!(own || holds_others, "no example of `{name}` is of that command");
        }
        assert!(count > 100, "{count}");
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(words("bake df"), ["bake", "df"]);
        assert_eq!(words("bake diff a 'b c' || echo x"), ["bake", "diff", "a", "b c"]);
        assert_eq!(words("bake why -f \"{{ .A }}\"   what ran"), ["bake", "why", "-f", "{{ .A }}"]);
        assert_eq!(words("bake why '' > x"), ["bake", "why", ""]);
    }

    #[test]
    fn the_short_help_is_the_first_sentences() {
        let mut command = command(WIDTH_DEFAULT);
        let build = command.find_subcommand_mut("build").unwrap();
        let (short, long) = (build.render_help().to_string(), build.render_long_help().to_string());
        let flat = |help: &str| help.split_whitespace().collect::<Vec<_>>().join(" ");
        let rest = "Without it, `Dockerfile` in the build context";
        assert!(flat(&short).contains("Read this Dockerfile;") && !flat(&short).contains(rest), "{short}");
        assert!(flat(&long).contains("Read this Dockerfile;") && flat(&long).contains(rest), "{long}");
        assert!(short.lines().count() * 3 / 2 < long.lines().count());
        for help in [short, long] {
            assert!(help.contains("\nExamples:\n  bake build -t"), "{help}");
        }
    }

    #[test]
    fn groups_fit_into_the_width() {
        for width in [30, 40, 80, 120] {
            let mut command = command(width);
            let help = command.render_help().to_string();
            assert!(help.contains("\nSupply chain:\n  sbom"), "{help}");
            let (groups, _) = help.split_once("\nOptions:").unwrap();
            let (_, groups) = groups.split_once("\nBuild:").unwrap();
            for line in groups.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let text = "Fields: .A\n\nExamples:\n  bake df\n  bake df -v\n\nExit codes: 0";
        assert_eq!(
            parts(text),
            [
                Part::Text(vec!["Fields: .A"]),
                Part::Examples(vec!["bake df", "bake df -v"]),
                Part::Text(vec!["Exit codes: 0"])
            ]
        );
    }
}
