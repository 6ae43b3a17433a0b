//! Package managers in shell commands: which one, what it is asked to do, what stays behind.

use crate::shell::{Script, ShellWord, SimpleCommand};

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    AptGet,
    Apt,
    Aptitude,
    Apk,
    Yum,
    Dnf,
    Tdnf,
    Microdnf,
    Zypper,
    Pip,
    Npm,
    Yarn,
    Gem,
}

/// What it is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Fetch the lists of packages.
    Update,
    /// Install named packages.
    Install,
    /// Bring what is installed to newer versions.
    Upgrade,
    /// Remove packages.
    Remove,
    /// Empty the download cache.
    Clean,
    /// Anything else.
    Other,
}

/// A command of a package manager.
#[derive(Debug)]
pub(crate) struct PackageCommand<'s> {
    pub(crate) manager: Manager,
    pub(crate) action: Action,
    /// Index into [`Script::commands`].
    pub(crate) index: usize,
    pub(crate) command: &'s SimpleCommand,
    /// The word that names the action.
    pub(crate) verb: &'s ShellWord,
    /// Options, their separate values excluded.
    pub(crate) options: Vec<&'s ShellWord>,
    /// Values of options given as a word of their own, with the option.
    pub(crate) option_values: Vec<(&'s ShellWord, &'s ShellWord)>,
    /// What the action is applied to.
    pub(crate) operands: Vec<&'s ShellWord>,
}

impl Manager {
    fn of(program: &str) -> Option<Self> {
        Some(match program {
            "apt-get" => Self::AptGet,
            "apt" => Self::Apt,
            "aptitude" => Self::Aptitude,
            "apk" => Self::Apk,
            "yum" => Self::Yum,
            "dnf" | "dnf5" => Self::Dnf,
            "tdnf" => Self::Tdnf,
            "microdnf" => Self::Microdnf,
            "zypper" => Self::Zypper,
            "npm" => Self::Npm,
            "yarn" | "yarnpkg" => Self::Yarn,
            "gem" => Self::Gem,
            _ if is_versioned(program, "pip") => Self::Pip,
            _ => return None,
        })
    }

    /// Whether it is `apt-get` or one of its sisters.
    pub(crate) fn is_apt(self) -> bool {
        matches!(self, Self::AptGet | Self::Apt | Self::Aptitude)
    }

    /// Whether it installs RPM packages.
    pub(crate) fn is_rpm(self) -> bool {
        matches!(self, Self::Yum | Self::Dnf | Self::Tdnf | Self::Microdnf | Self::Zypper)
    }

    /// The program's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AptGet => "apt-get",
            Self::Apt => "apt",
            Self::Aptitude => "aptitude",
            Self::Apk => "apk",
            Self::Yum => "yum",
            Self::Dnf => "dnf",
            Self::Tdnf => "tdnf",
            Self::Microdnf => "microdnf",
            Self::Zypper => "zypper",
            Self::Pip => "pip",
            Self::Npm => "npm",
            Self::Yarn => "yarn",
            Self::Gem => "gem",
        }
    }

    /// Options whose value is the next word.
    fn valued_options(self) -> &'static [&'static str] {
        match self {
            Self::AptGet | Self::Apt | Self::Aptitude => &[
                "-o",
                "-c",
                "-t",
                "-a",
                "--option",
                "--config-file",
                "--target-release",
                "--default-release",
                "--host-architecture",
            ],
            Self::Apk => &[
                "-t",
                "-X",
                "-p",
                "--virtual",
                "--repository",
                "--root",
                "--keys-dir",
                "--repositories-file",
                "--arch",
                "--wait",
                "--cache-dir",
            ],
            Self::Yum | Self::Dnf | Self::Tdnf | Self::Microdnf => &[
                "-c",
                "-x",
                "--enablerepo",
                "--disablerepo",
                "--repo",
                "--repoid",
                "--setopt",
                "--releasever",
                "--installroot",
                "--exclude",
            ],
            Self::Zypper => {
                &["-R", "-C", "-D", "-r", "-t", "--root", "--cache-dir", "--repo", "--type", "--from", "-p"]
            }
            Self::Pip => &[
                "-r",
                "-c",
                "-i",
                "-f",
                "-t",
                "-e",
                "--requirement",
                "--constraint",
                "--index-url",
                "--extra-index-url",
                "--find-links",
                "--target",
                "--prefix",
                "--root",
                "--editable",
                "--trusted-host",
                "--cache-dir",
                "--timeout",
                "--retries",
                "--proxy",
                "--platform",
                "--python-version",
            ],
            Self::Npm => &["--prefix", "-C", "--registry", "--cache", "-w", "--workspace", "--loglevel"],
            Self::Yarn => &["--cwd", "--cache-folder", "--registry", "--modules-folder", "--network-timeout"],
            Self::Gem => &["-v", "--version", "-i", "--install-dir", "-n", "--bindir", "-s", "--source"],
        }
    }

    fn action(self, verb: &str) -> Action {
        match (self, verb) {
            (Self::AptGet | Self::Apt | Self::Aptitude | Self::Apk, "update")
            | (Self::Yum | Self::Dnf | Self::Tdnf | Self::Microdnf, "makecache" | "check-update")
            | (Self::Zypper, "refresh" | "ref") => Action::Update,
            (Self::AptGet | Self::Apt | Self::Aptitude, "install" | "build-dep" | "reinstall")
            | (Self::Apk, "add")
            | (
                Self::Yum | Self::Dnf | Self::Tdnf | Self::Microdnf,
                "install" | "groupinstall" | "localinstall" | "reinstall" | "group" | "builddep",
            )
            | (Self::Zypper, "install" | "in" | "source-install" | "si" | "install-new-recommends")
            | (Self::Pip | Self::Gem, "install")
            | (Self::Npm, "install" | "i" | "ci" | "add" | "clean-install" | "install-clean")
            | (Self::Yarn, "install" | "add" | "global") => Action::Install,
            (
                Self::AptGet | Self::Apt | Self::Aptitude,
                "upgrade" | "dist-upgrade" | "full-upgrade" | "safe-upgrade" | "dselect-upgrade",
            )
            | (Self::Apk, "upgrade")
            | (
                Self::Yum | Self::Dnf | Self::Tdnf | Self::Microdnf,
                "update" | "upgrade" | "distro-sync" | "upgrade-minimal" | "update-minimal",
            )
            | (Self::Zypper, "update" | "up" | "patch" | "dist-upgrade" | "dup") => Action::Upgrade,
            (Self::AptGet | Self::Apt | Self::Aptitude, "remove" | "purge" | "autoremove" | "autopurge")
            | (Self::Apk, "del")
            | (Self::Yum | Self::Dnf | Self::Tdnf | Self::Microdnf, "remove" | "erase" | "autoremove")
            | (Self::Zypper, "remove" | "rm") => Action::Remove,
            (Self::AptGet | Self::Apt | Self::Aptitude, "clean" | "autoclean" | "distclean" | "dist-clean")
            | (Self::Yum | Self::Dnf | Self::Tdnf | Self::Microdnf, "clean")
            | (Self::Zypper, "clean" | "cc")
            | (Self::Pip | Self::Npm | Self::Yarn | Self::Apk, "cache") => Action::Clean,
            _ => Action::Other,
        }
    }
}

impl PackageCommand<'_> {
    /// Whether an option equals one of `names`, also as `name=value`.
    pub(crate) fn has_option(&self, names: &[&str]) -> bool {
        self.options.iter().any(|option| names.contains(&option.text.split('=').next().unwrap_or_default()))
    }

    /// Whether a cluster of short options (`-qqy`) holds `letter`.
    pub(crate) fn has_letter(&self, letter: char) -> bool {
        self.short_letters().any(|found| found == letter)
    }

    fn short_letters(&self) -> impl Iterator<Item = char> {
        self.options
            .iter()
            .filter(|option| !option.text.starts_with("--"))
            .flat_map(|option| option.text.chars().skip(1).take_while(|c| *c != '='))
    }

    /// Whether nothing will be asked on the terminal: an option says yes, or the answers come through a pipe.
    pub(crate) fn answers_itself(&self) -> bool {
        if self.command.piped_from.is_some() {
            return true;
        }
        let harmless =
            ["--help", "--version", "--dry-run", "--simulate", "--just-print", "--print-uris", "--download-only"];
        if self.has_option(&harmless) || self.has_letter('h') {
            return true;
        }
        match self.manager {
            manager if manager.is_apt() => {
                // Two `q` imply `-y`.
                self.has_letter('y')
                    || self.has_letter('s')
                    || self.short_letters().filter(|letter| *letter == 'q').count() >= 2
                    || self.options.iter().any(|option| option.text == "-q=2")
                    || self.has_option(&["--yes", "--assume-yes", "--force-yes", "--assume-no", "--trivial-only"])
                    || self.configures("apt::get::assume-yes", &["true", "1", "yes"])
            }
            Manager::Zypper => {
                self.has_letter('y')
                    || self.has_letter('n')
                    || self.has_option(&["--non-interactive", "--no-confirm", "--dry-run"])
            }
            _ => self.has_letter('y') || self.has_option(&["--assumeyes", "--assumeno", "--downloadonly"]),
        }
    }

    /// Whether `-o KEY=VALUE` with this key (in lower case) and one of the values is given.
    pub(crate) fn configures(&self, key: &str, values: &[&str]) -> bool {
        let separate =
            self.option_values.iter().filter(|(option, _)| matches!(option.text.as_str(), "-o" | "--option"));
        let attached = self.options.iter().filter_map(|option| {
            option
                .text
                .strip_prefix("--option=")
                .or_else(|| option.text.strip_prefix("-o").filter(|rest| !rest.is_empty()))
        });
        separate.map(|(_, value)| value.text.as_str()).chain(attached).any(|setting| {
            setting.to_ascii_lowercase().split_once('=').is_some_and(|(name, value)| {
                name.trim().trim_start_matches('=') == key && values.contains(&value.trim_matches(['"', '\'', ' ']))
            })
        })
    }

    /// The value of an option, given as the next word or after `=`.
    pub(crate) fn option_value(&self, names: &[&str]) -> Option<&str> {
        let separate = self.option_values.iter().find(|(option, _)| names.contains(&option.text.as_str()));
        separate.map(|(_, value)| value.text.as_str()).or_else(|| {
            self.options
                .iter()
                .filter_map(|option| option.text.split_once('='))
                .find(|(name, _)| names.contains(name))
                .map(|(_, value)| value)
        })
    }
}

/// The commands of package managers in `script`, in order.
pub(crate) fn package_commands(script: &Script) -> Vec<PackageCommand<'_>> {
    script.commands.iter().enumerate().filter_map(|(index, command)| package_command(index, command)).collect()
}

fn package_command(index: usize, command: &SimpleCommand) -> Option<PackageCommand<'_>> {
    let program = command.words.get(command.program_index)?;
    let mut arguments = command.arguments();
    let manager = match arguments {
        [module, name, rest @ ..] if module.text == "-m" && is_versioned(command.program(), "python") => {
            let manager = Manager::of(&name.text)?;
            arguments = rest;
            manager
        }
        _ => Manager::of(command.program())?,
    };
    let mut options = Vec::new();
    let mut option_values = Vec::new();
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if word.text.starts_with('-') && word.text.len() > 1 {
            options.push(word);
            if manager.valued_options().contains(&word.text.as_str())
                && let Some(value) = rest.next()
            {
                option_values.push((word, value));
            }
        } else {
            words.push(word);
        }
    }
    let (verb, operands) = match words.split_first() {
        Some((verb, operands)) => (*verb, operands.to_vec()),
        // `yarn` alone installs.
        None => (program, Vec::new()),
    };
    let action = if manager == Manager::Yarn && words.is_empty() && !has_any(&options, &["--version", "-v", "--help"]) {
        Action::Install
    } else {
        manager.action(&verb.text)
    };
    Some(PackageCommand { manager, action, index, command, verb, options, option_values, operands })
}

fn has_any(options: &[&ShellWord], names: &[&str]) -> bool {
    options.iter().any(|option| names.contains(&option.text.as_str()))
}

/// Whether `program` is `name` with nothing or a version after it: `pip`, `pip3`, `pip3.12`.
fn is_versioned(program: &str, name: &str) -> bool {
    program.strip_prefix(name).is_some_and(|rest| rest.chars().all(|c| c == '.' || c.is_ascii_digit()))
}

/// Whether `command` removes what is in directory `path`.
pub(crate) fn removes(command: &SimpleCommand, path: &str) -> bool {
    removed_paths(command).iter().any(|removed| {
        let removed = removed.trim_end_matches('/');
        crate::context::is_inside(path, removed) || crate::context::is_inside(removed, path)
    })
}

/// What `rm` or `find -delete` removes: each operand up to the part with its first wildcard, `~` and `$HOME` as root's.
pub(crate) fn removed_paths(command: &SimpleCommand) -> Vec<String> {
    let removes = match command.program() {
        "rm" | "rmdir" | "unlink" => true,
        "find" => command.has_argument(&["-delete", "rm"]),
        _ => false,
    };
    if !removes {
        return Vec::new();
    }
    command
        .operands()
        .flat_map(|word| brace_alternatives(&word.text))
        .map(|text| {
            let text = ["~", "$HOME", "${HOME}"]
                .iter()
                .find_map(|home| text.strip_prefix(home).map(|rest| format!("/root{rest}")))
                .unwrap_or(text);
            match text.find(['*', '?', '[']) {
                Some(wildcard) => text[..text[..wildcard].rfind('/').map_or(0, |slash| slash)].to_owned(),
                None => text,
            }
        })
        .filter(|text| !text.is_empty())
        .collect()
}

/// `a{b,c}d` as `abd` and `acd`; the first group only, which is what cleaning commands use.
fn brace_alternatives(text: &str) -> Vec<String> {
    let group = text.find('{').and_then(|open| {
        let close = open + text[open..].find('}')?;
        (text[open..close].contains(',') && !text[..open].ends_with('$')).then_some((open, close))
    });
    match group {
        Some((open, close)) => text[open + 1..close]
            .split(',')
            .map(|choice| format!("{}{choice}{}", &text[..open], &text[close + 1..]))
            .collect(),
        None => vec![text.to_owned()],
    }
}

/// Whether `command` runs something whose doings cannot be read here: a script of the image, a program by path, a piped script.
pub(crate) fn runs_unknown_script(command: &SimpleCommand) -> bool {
    let Some(program) = command.words.get(command.program_index) else { return false };
    let known_directories = ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"];
    let by_path =
        program.text.contains('/') && !known_directories.iter().any(|directory| program.text.starts_with(directory));
    let is_shell = matches!(command.program(), "sh" | "bash" | "dash" | "ash" | "zsh");
    let reads_file_or_pipe = is_shell
        && (command.piped_from.is_some()
            || command.redirects.iter().any(|redirect| matches!(redirect.operator.as_str(), "<" | "<<<"))
            || (!command.arguments().iter().any(|word| word.text.starts_with('-') && word.text.contains('c'))
                && command.operands().next().is_some()));
    by_path
        || program.text.starts_with('$')
        || reads_file_or_pipe
        || matches!(command.program(), "." | "source" | "make")
}

#[cfg(test)]
mod tests {
    use super::brace_alternatives;

    #[test]
    fn braces_are_expanded() {
        assert_eq!(brace_alternatives("/var/{lib,cache}/x"), ["/var/lib/x", "/var/cache/x"]);
        assert_eq!(brace_alternatives("${HOME}/x"), ["${HOME}/x"]);
        assert_eq!(brace_alternatives("x"), ["x"]);
    }
}
