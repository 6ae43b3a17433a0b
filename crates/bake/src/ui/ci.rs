//! What CI systems understand in logs: folded parts, annotations, and a summary of the job.
//!
//! - GitHub Actions: <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>
//! - GitLab: <https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections>

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that switches it off, or parts of it on.
pub const VARIABLE: &str = "BAKE_CI";

/// How parts of the log are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Groups {
    /// Not at all.
    #[default]
    None,
    /// `::group::` and `::endgroup::`.
    GitHub,
    /// `section_start` and `section_end`.
    GitLab,
}

/// What is done for the CI system that bake runs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ci {
    /// Blocks of steps are folded like this.
    pub groups: Groups,
    /// Failed steps and findings are written as annotations of GitHub Actions.
    pub annotations: bool,
    /// The file that a summary of the job is appended to, in Markdown.
    pub summary: Option<PathBuf>,
    /// The directory that paths in annotations are relative to.
    pub workspace: Option<PathBuf>,
    /// The Dockerfile, if it is a file of the caller.
    pub dockerfile: Option<PathBuf>,
}

impl Ci {
    /// Finds out from the variables that CI systems set, and from [`VARIABLE`]: `auto`, `off`, or a list of what is wanted.
    ///
    /// # Errors
    /// [`VARIABLE`] has another value.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let (mut groups, mut annotations, mut summary) = (true, true, true);
        match variable(VARIABLE).as_deref() {
            None | Some("" | "auto") => {}
            Some("off") => return Ok(Self::default()),
            Some(list) => {
                (groups, annotations, summary) = (false, false, false);
                for word in list.split(',') {
                    match word.trim() {
                        "groups" => groups = true,
                        "annotations" => annotations = true,
                        "summary" => summary = true,
                        other => {
                            return Err(format!(
                                "`{VARIABLE}={list}`: `{other}` is none of `auto`, `off`, `groups`, `annotations` and `summary`"
                            ));
                        }
                    }
                }
            }
        }
        let is = |name: &str| variable(name).as_deref() == Some("true");
        let path = |name: &str| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        if is("GITHUB_ACTIONS") {
            return Ok(Self {
                groups: if groups { Groups::GitHub } else { Groups::None },
                annotations,
                summary: path("GITHUB_STEP_SUMMARY").filter(|_| summary),
                workspace: path("GITHUB_WORKSPACE"),
                dockerfile: None,
            });
        }
        let groups = if groups && is("GITLAB_CI") { Groups::GitLab } else { Groups::None };
        Ok(Self { groups, ..Self::default() })
    }
}

impl Groups {
    /// What begins a part, with its title, as a whole line; the title alone where nothing is folded.
    pub(super) fn start(self, name: &str, title: &str, now: SystemTime) -> String {
        match self {
            Self::None => format!("{title}\n"),
            Self::GitHub => format!("::group::{}\n", escape(title, &[])),
            Self::GitLab => {
                format!("\u{1b}[0Ksection_start:{}:{name}[collapsed=true]\r\u{1b}[0K{title}\n", unix_s(now))
            }
        }
    }

    /// What ends it; nothing where nothing is folded.
    pub(super) fn end(self, name: &str, now: SystemTime) -> String {
        match self {
            Self::None => String::new(),
            Self::GitHub => "::endgroup::\n".to_owned(),
            Self::GitLab => format!("\u{1b}[0Ksection_end:{}:{name}\r\u{1b}[0K\n", unix_s(now)),
        }
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default()
}

/// How serious an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The build fails because of it.
    Error,
    /// It is worth a look.
    Warning,
}

/// Something about lines of a file, shown beside them by GitHub.
#[derive(Debug, Clone, Copy)]
pub struct Annotation<'a> {
    /// How serious it is.
    pub severity: Severity,
    /// The file, and its first and last line from 1, where that is known.
    pub place: Option<(&'a Path, usize, usize)>,
    /// A few words.
    pub title: &'a str,
    /// All of it.
    pub message: &'a str,
}

impl Annotation<'_> {
    /// The workflow command, on one line without an end; paths are shown relative to `workspace`.
    pub fn command(&self, workspace: Option<&Path>) -> String {
        let mut command = match self.severity {
            Severity::Error => "::error ",
            Severity::Warning => "::warning ",
        }
        .to_owned();
        if let Some((path, first, last)) = self.place {
            let path = workspace.and_then(|workspace| path.strip_prefix(workspace).ok()).unwrap_or(path);
            // Writing to a string cannot fail.
            let _ = write!(command, "file={},line={first},", property(&path.to_string_lossy()));
            if last > first {
                let _ = write!(command, "endLine={last},");
            }
        }
        let _ = write!(command, "title={}::{}", property(self.title), escape(self.message, &[]));
        command
    }
}

fn property(text: &str) -> String {
    escape(text, &[':', ','])
}

/// Text that cannot end a command or begin another one.
fn escape(text: &str, also: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '\r' | '\n') || also.contains(&character) {
            // Writing to a string cannot fail. These are all ASCII.
            let _ = write!(escaped, "%{:02X}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn ci(variables: &[(&str, &str)]) -> Result<Ci, String> {
        Ci::from_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn systems_are_known_by_their_variables() {
        let actions = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", "/s"), ("GITHUB_WORKSPACE", "/w")];
        let all = ci(&actions).unwrap();
        assert_eq!((all.groups, all.annotations), (Groups::GitHub, true));
        assert_eq!((all.summary, all.workspace), (Some("/s".into()), Some("/w".into())));
        assert_eq!(ci(&[("GITLAB_CI", "true")]).unwrap().groups, Groups::GitLab);
        assert_eq!(ci(&[("CI", "true")]).unwrap(), Ci::default());
        let with = |value| ci(&[actions.as_slice(), &[(VARIABLE, value)]].concat());
        assert_eq!(with("off").unwrap(), Ci::default());
        let some = with("summary, annotations").unwrap();
        assert_eq!((some.groups, some.annotations, some.summary.is_some()), (Groups::None, true, true));
        assert!(with("group").unwrap_err().contains("`group` is none of"));
    }

    #[test]
    fn text_cannot_leave_its_command() {
        let annotation = Annotation {
            severity: Severity::Error,
            place: Some((Path::new("/w/app,1/Dockerfile"), 3, 4)),
            title: "RUN a: 100%",
            message: "one\n::error::two",
        };
        assert_eq!(
            annotation.command(Some(Path::new("/w"))),
            "::error file=app%2C1/Dockerfile,line=3,endLine=4,title=RUN a%3A 100%25::one%0A::error::two"
        );
        let nowhere = Annotation { severity: Severity::Warning, place: None, title: "t", message: "m" };
        assert_eq!(nowhere.command(None), "::warning title=t::m");
    }

    #[test]
    fn parts_begin_and_end() {
        let now = UNIX_EPOCH + std::time::Duration::from_secs(7);
        assert_eq!(Groups::GitHub.start("n", "#1 RUN", now), "::group::#1 RUN\n");
        assert_eq!(
            Groups::GitLab.start("n", "#1 RUN", now),
            "\u{1b}[0Ksection_start:7:n[collapsed=true]\r\u{1b}[0K#1 RUN\n"
        );
        assert_eq!(Groups::GitLab.end("n", now), "\u{1b}[0Ksection_end:7:n\r\u{1b}[0K\n");
    }
}
