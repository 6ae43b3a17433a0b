//! What people and CI systems see of a build: screens of a real terminal (`tmux`), plain text, JSON.
//!
//! Steps whose output is looked at are puppets: `nc` connects to the test, which writes the step's output and ends it. So a
//! screen does not depend on how fast the machine is; only times are made the same before screens are compared with
//! `testdata/screens`. `BAKE_BLESS=1` writes those files anew.

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bake_testkit::program;
use bake_testkit::registry::{Action, Config, FakeRegistry, Fault};
use regex::Regex;

use support::{Environment, Outcome, Scratch, check, equal, expect_failure, finish, succeed};

type ScreenTest = (&'static str, fn(&Environment) -> Outcome);

/// Tests that need `tmux`.
const SCREENS: &[ScreenTest] = &[
    ("two_steps_on_screens_of_all_sizes", sizes),
    ("more_steps_than_there_is_room_for", crowd),
    ("a_failed_step_on_a_screen", failed),
    ("cached_steps_fold", folded),
    ("a_pull_has_a_bar", pulled),
    ("waiting_for_a_locked_cache_mount_is_seen", locked),
    ("an_interrupt_leaves_a_terminal_that_works", interrupted),
    ("a_dumb_terminal_gets_lines", dumb),
    ("colours_and_lines_are_chosen", chosen),
];

const TESTS: &[ScreenTest] = &[
    ("steps_side_by_side_are_told_in_blocks", blocks),
    ("actions_get_groups_annotations_and_a_summary", actions),
    ("gitlab_gets_sections", gitlab),
    ("json_is_buildkits", raw_json),
    ("what_cannot_be_shown_is_refused", refused),
    ("nothing_of_a_flood_is_lost", flood),
];

fn main() -> ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let environment = match Environment::new() {
        Ok(environment) => Arc::new(environment),
        Err(problem) => return support::failed_to_start(&problem),
    };
    let no_tmux = Command::new("tmux").arg("-V").output().is_err().then(|| "tmux is not installed".to_owned());
    let trial = |(name, test): &ScreenTest, obstacle: Option<String>| {
        let (environment, test) = (Arc::clone(&environment), *test);
        support::trial(name, environment.obstacle(&[]).or(obstacle), move || test(&environment))
    };
    let screens = SCREENS.iter().map(|test| trial(test, no_tmux.clone()));
    let others = TESTS.iter().map(|test| trial(test, None));
    libtest_mimic::run(&arguments, screens.chain(others).collect()).exit_code()
}

/// How long something may take that another process must do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A step that writes what it is told to.
struct Puppet {
    listener: TcpListener,
    stream: Option<TcpStream>,
}

impl Puppet {
    fn new() -> Result<Self, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
        Ok(Self { listener, stream: None })
    }

    /// The flag that tells the step where the strings are.
    fn flag(&self, name: &str) -> Result<[String; 2], String> {
        let port = self.listener.local_addr().map_err(|error| error.to_string())?.port();
        Ok(["--build-arg".to_owned(), format!("{name}={port}")])
    }

    /// Writes output of the step, which must be running or begin soon.
    fn say(&mut self, text: &str) -> Outcome {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(self.listener.accept().map_err(|error| error.to_string())?.0),
        };
        stream.write_all(text.as_bytes()).map_err(|error| format!("the step does not listen: {error}"))
    }

    /// Ends the step.
    fn end(&mut self) -> Outcome {
        self.say("")?;
        match self.stream.take() {
            Some(stream) => stream.shutdown(Shutdown::Both).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// A terminal with a program in it.
struct Terminal {
    socket: PathBuf,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

impl Terminal {
    /// Starts a command in a terminal; when it ends, its exit code is written and the terminal stays.
    fn start(scratch: &Scratch, command: &Command, columns: u16, rows: u16) -> Result<Self, String> {
        let terminal = Self { socket: scratch.path().join("tmux") };
        let line = format!("{}; echo code=$?; exec sleep 1000", shell_line(command));
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, &line])?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").arg("-u").arg("-S").arg(&self.socket).args(arguments);
        succeed(&mut command).map(|finished| String::from_utf8_lossy(&finished.stdout).into_owned())
    }

    fn resize(&self, columns: u16, rows: u16) -> Outcome {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]).map(|_| ())
    }

    fn screen(&self) -> Result<String, String> {
        let screen = self.tmux(&["capture-pane", "-p"])?;
        Ok(screen.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>().trim_end().to_owned()
            + "\n")
    }

    /// Waits for a screen on which `holds`.
    fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen()?;
            if holds(&screen) {
                return Ok(screen);
            }
            check(Instant::now() < deadline, || format!("no {what} on the screen:\n{screen}"))?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the screen of a file in `testdata/screens`.
    fn expect(&self, name: &str, last_line: &str) -> Outcome {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/screens").join(name);
        if std::env::var_os("BAKE_BLESS").is_some_and(|value| value == "1") {
            self.wait(last_line, |screen| screen.contains(last_line))?;
            // Whatever else is still to be drawn.
            std::thread::sleep(Duration::from_millis(500));
            return std::fs::write(&path, normal(&self.screen()?)).map_err(|error| error.to_string());
        }
        let expected = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let seen = self.wait(name, |screen| normal(screen) == expected);
        seen.map(|_| ()).map_err(|message| format!("{message}\ninstead of\n{expected}"))
    }
}

/// A command with its variables, for a shell.
fn shell_line(command: &Command) -> String {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', "'\\''"));
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let variables = variables.map(|(name, value)| format!("{}={}", name.to_string_lossy(), quoted(value)));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    let line: Vec<String> = ["env".to_owned(), "-i".to_owned()].into_iter().chain(variables).chain(words).collect();
    line.join(" ")
}

/// A screen with all times, and digests of what was built, made the same.
fn normal(screen: &str) -> String {
    let patterns = [
        (r"(?m)^ {2,5}\d{1,3}\.\ds ", "    0.0s "),
        (r"building \d+\.\ds:", "building 0.0s:"),
        (r" in \d+\.\ds", " in 0.0s"),
        (r" \d+\.\ds$", " 0.0s"),
        (r"(?m)^\d+\.\d{3} ", "0.000 "),
        (r"sha256:[0-9a-f]{64}", "sha256:0"),
        (r"/\S*/Dockerfile", "/Dockerfile"),
    ];
    patterns.iter().fold(screen.to_owned(), |text, (pattern, replacement)| match Regex::new(pattern) {
        Ok(pattern) => pattern.replace_all(&text, *replacement).into_owned(),
        Err(_) => text,
    })
}

/// Two stages that write what they are told to, one after a cached step.
const TWO: &str = "FROM busybox AS compile\nARG A\nRUN --network=host nc 127.0.0.1 $A\n\
    FROM busybox AS documentation\nARG B\nRUN --network=host nc 127.0.0.1 $B && echo this is what is done with it > /result\n\
    FROM busybox\nCOPY --from=compile /bin/sh /compiled\nCOPY --from=documentation /result /result\n";

/// A build of a Dockerfile with steps side by side.
fn build(environment: &Environment, scratch: &Scratch, dockerfile: &str, mode: &str) -> Result<Command, String> {
    scratch.write("context/Dockerfile", dockerfile)?;
    let mut command = environment.command(&scratch.store());
    command.args(["build", "--progress", mode, "--jobs", "8", "--allow", "network.host", "-t", "app"]);
    command.args(environment.base_flags()).arg("--file").arg(scratch.at("context/Dockerfile")).env("TERM", "screen");
    command.arg(scratch.at("context"));
    Ok(command)
}

fn sizes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let (mut compile, mut documentation) = (Puppet::new()?, Puppet::new()?);
    let mut command = build(environment, &scratch, TWO, "auto")?;
    command.args(compile.flag("A")?).args(documentation.flag("B")?);
    let terminal = Terminal::start(&scratch, &command, 80, 24)?;
    for number in 1..=9 {
        compile.say(&format!(
            "\u{1b}[32mcompiling\u{1b}[0m part {number} of a program whose output is wider than eighty columns are\n"
        ))?;
    }
    compile.say("linking  10%\rlinking  50%\rlinking 100%")?;
    // The second one begins later, so that the order of the two does not depend on chance.
    documentation.say("\u{1b}[2J\u{1b}[Hfirst\n漢字と仮名 🚀 emoji\n\tindented\n")?;
    terminal.expect("two-80x24.txt", "indented")?;
    terminal.resize(200, 50)?;
    terminal.expect("two-200x50.txt", "whose output is wider than eighty columns are")?;
    terminal.resize(60, 12)?;
    terminal.expect("two-60x12.txt", "building")?;
    terminal.resize(30, 10)?;
    terminal.expect("two-30x10.txt", "building")?;
    terminal.resize(80, 5)?;
    terminal.expect("two-80x5.txt", "building")?;
    terminal.resize(80, 24)?;
    terminal.expect("two-again-80x24.txt", "indented")?;
    compile.end()?;
    terminal.wait("end of the first step", |screen| screen.contains("3 of 5 steps done"))?;
    documentation.end()?;
    terminal.wait("end", |screen| screen.contains("code=0"))?;
    terminal.expect("two-end.txt", "code=0")
}

fn crowd(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut puppets = (0..8).map(|_| Puppet::new()).collect::<Result<Vec<_>, _>>()?;
    let (mut stages, mut copies) = (String::new(), "FROM busybox\n".to_owned());
    for number in 1..=puppets.len() {
        // Writing to a string cannot fail.
        let _ =
            write!(stages, "FROM busybox AS part{number}\nARG A{number}\nRUN --network=host nc 127.0.0.1 $A{number}\n");
        let _ = writeln!(copies, "COPY --from=part{number} /bin/sh /sh{number}");
    }
    let mut command = build(environment, &scratch, &(stages + &copies), "auto")?;
    for (number, puppet) in puppets.iter().enumerate() {
        command.args(puppet.flag(&format!("A{}", number + 1))?);
    }
    let terminal = Terminal::start(&scratch, &command, 80, 24)?;
    for (number, puppet) in puppets.iter_mut().enumerate() {
        puppet.say(&format!("part {0}, one\npart {0}, two\npart {0}, three\n", number + 1))?;
    }
    terminal.expect("crowd-80x24.txt", "| part 8, three")?;
    terminal.resize(80, 8)?;
    terminal.expect("crowd-80x8.txt", "more")?;
    puppets.iter_mut().try_for_each(Puppet::end)?;
    terminal.wait("end", |screen| screen.contains("code=0")).map(|_| ())
}

fn failed(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut puppet = Puppet::new()?;
    let dockerfile = "FROM busybox\nARG A\nRUN --network=host nc 127.0.0.1 $A; exit 3\nRUN never\n";
    let mut command = build(environment, &scratch, dockerfile, "auto")?;
    command.args(puppet.flag("A")?);
    let terminal = Terminal::start(&scratch, &command, 80, 24)?;
    for number in 1..=8 {
        puppet.say(&format!("line {number}\n"))?;
    }
    puppet.say("it is broken\n")?;
    terminal.wait("output", |screen| screen.contains("| it is broken"))?;
    puppet.end()?;
    terminal.expect("failed-80x24.txt", "code=1")
}

fn folded(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut puppet = Puppet::new()?;
    let steps = "RUN echo 1\nRUN echo 2\nRUN echo 3\nRUN echo 4\nRUN echo 5\nRUN echo 6\n";
    succeed(&mut build(environment, &scratch, &format!("FROM busybox\n{steps}"), "plain")?)?;
    let dockerfile = format!("FROM busybox\n{steps}ARG A\nRUN --network=host nc 127.0.0.1 $A\n");
    let mut command = build(environment, &scratch, &dockerfile, "auto")?;
    command.args(puppet.flag("A")?);
    let terminal = Terminal::start(&scratch, &command, 80, 24)?;
    puppet.say("running\n")?;
    terminal.expect("folded-80x24.txt", "| running")?;
    puppet.end()
}

fn pulled(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let registry = FakeRegistry::start(Config::default()).map_err(|error| error.to_string())?;
    let name = format!("{}/team/base:1", registry.host());
    // Numbers that do not repeat, so that the layer stays as large when it is compressed.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(1 << 18)
    .flatten()
    .collect();
    scratch.write("base/noise", noise)?;
    scratch.write("base/Dockerfile", "FROM scratch\nCOPY noise /noise\n")?;
    let mut push = environment.command(&scratch.path().join("other"));
    push.args(["--insecure-registry", &registry.host(), "build", "--push", "-t", &name]).arg(scratch.at("base"));
    succeed(&mut push)?;

    registry.inject(
        Fault::always("/blobs/", Action::SlowBody { bytes: 16 << 10, pause: Duration::from_millis(50) }).on("GET"),
    );
    scratch
        .write("context/Dockerfile", format!("FROM {name}\nCOPY --from=busybox /bin/busybox /bin/sh\nRUN exit 0\n"))?;
    let mut command = environment.command(&scratch.store());
    command.args(["--insecure-registry", &registry.host(), "build"]).args(environment.base_flags());
    command.arg(scratch.at("context")).env("TERM", "screen");
    let terminal = Terminal::start(&scratch, &command, 100, 24)?;
    let bar = Regex::new(r"(?m)^ {9}pull [0-9a-f]{12}  \[=+> +\] +[0-9.]+[kM]B / 2\.\d+MB +[0-9.]+[kM]B/s  \d+s left$")
        .map_err(|error| error.to_string())?;
    terminal.wait("bar", |screen| bar.is_match(screen))?;
    registry.clear_faults();
    Ok(())
}

fn locked(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut puppet = Puppet::new()?;
    let step = "ARG A\nRUN --mount=type=cache,id=packages,sharing=locked,target=/c --network=host nc 127.0.0.1 $A\n";
    let dockerfile = format!(
        "FROM busybox AS one\n{step}FROM busybox AS two\nWORKDIR /two\n{step}FROM busybox\n\
         COPY --from=one /bin/sh /one\nCOPY --from=two /bin/sh /two\n"
    );
    let mut command = build(environment, &scratch, &dockerfile, "auto")?;
    command.args(puppet.flag("A")?);
    let terminal = Terminal::start(&scratch, &command, 80, 24)?;
    puppet.say("whichever is first\n")?;
    let waiting = "         waiting for the cache mount `packages`, which another step has locked\n";
    let screen =
        terminal.wait("waiting", |screen| screen.contains(waiting) && screen.contains("| whichever is first"))?;
    check(screen.matches("waiting for").count() == 1, || screen)?;
    puppet.end()?;
    puppet.say("the other one\n")?;
    let screen = terminal.wait("other output", |screen| screen.contains("| the other one"))?;
    check(!screen.contains("waiting for"), || format!("it still waits:\n{screen}"))?;
    puppet.end()?;
    terminal.wait("end", |screen| screen.contains("code=0")).map(|_| ())
}

fn interrupted(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let (mut one, mut two) = (Puppet::new()?, Puppet::new()?);
    let mut command = build(environment, &scratch, TWO, "auto")?;
    command.args(one.flag("A")?).args(two.flag("B")?);
    let terminal = Terminal::start(&scratch, &command, 80, 24)?;
    one.say("one\n")?;
    two.say("two\n")?;
    terminal.wait("output", |screen| screen.contains("| one") && screen.contains("| two"))?;
    terminal.tmux(&["send-keys", "C-c"])?;
    let screen = terminal.wait("end", |screen| screen.contains("code=130"))?;
    check(!screen.contains("| one") && !screen.contains("building"), || format!("what was drawn is left:\n{screen}"))?;
    check(screen.contains("CANCELED [compile 1/1]"), || format!("the step was given up silently:\n{screen}"))?;
    equal(&terminal.tmux(&["display-message", "-p", "#{cursor_flag}"])?.trim(), &"1", "whether the cursor is shown")
}

fn dumb(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut command = build(environment, &scratch, "FROM busybox\nRUN echo hello\n", "auto")?;
    command.env("TERM", "dumb");
    let terminal = Terminal::start(&scratch, &command, 80, 24)?;
    let screen = terminal.wait("end", |screen| screen.contains("code=0"))?;
    check(screen.contains("#2 [2/2] RUN echo hello\n#2 0.") && !screen.contains("building"), || screen)
}

fn chosen(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut puppet = Puppet::new()?;
    let mut command =
        build(environment, &scratch, "FROM busybox\nARG A\nRUN true\nRUN --network=host nc 127.0.0.1 $A\n", "auto")?;
    command
        .args(puppet.flag("A")?)
        .env("BUILDKIT_TTY_LOG_LINES", "2")
        .env("BUILDKIT_COLORS", "run=magenta:error=mauve");
    let terminal = Terminal::start(&scratch, &command, 100, 24)?;
    puppet.say("one\ntwo\nthree\nfour\n")?;
    let screen = terminal.wait("output", |screen| screen.contains("| four"))?;
    check(screen.contains("| three\n") && !screen.contains("| two"), || screen.clone())?;
    check(screen.contains("warning: `BUILDKIT_COLORS`: `mauve` is no colour"), || screen)?;
    let coloured = terminal.tmux(&["capture-pane", "-p", "-e"])?;
    check(coloured.contains("\u{1b}[35m"), || format!("no magenta in {coloured:?}"))?;
    puppet.end()
}

fn blocks(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let (mut one, mut two) = (Puppet::new()?, Puppet::new()?);
    let mut command = build(environment, &scratch, TWO, "plain")?;
    command.args(one.flag("A")?).args(two.flag("B")?);
    let running = program::start(&mut command).map_err(|error| error.to_string())?;
    for number in 0..50 {
        one.say(&format!("one {number}\n"))?;
        two.say(&format!("two {number}\n"))?;
    }
    one.end()?;
    two.end()?;
    let log = running.wait(PATIENCE).map_err(|error| error.to_string())?.success()?.stderr;
    let numbered = Regex::new(r"(?m)^#(\d+) \[(compile|documentation) 1/1\]").map_err(|error| error.to_string())?;
    // Each line begins with the number of its step, and between two headings all have the same.
    let mut current = None;
    let mut lines = 0;
    for line in log.lines().take_while(|line| !line.starts_with("layers ") && !line.starts_with("built ")) {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
            check(line.is_empty(), || format!("`{line}` has no number in\n{log}"))?;
            current = None;
            continue;
        };
        let block = *current.get_or_insert(number);
        equal(&number, &block, "the number of the step whose block it is")?;
        lines += usize::from(rest.contains(" one ") || rest.contains(" two "));
    }
    equal(&lines, &100, "lines of output")?;
    check(numbered.find_iter(&log).count() >= 2, || log.clone())
}

fn actions(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile =
        "FROM busybox\nMAINTAINER nobody\nRUN echo ::error::of-the-step && echo hello\nRUN echo bad; exit 3\n";
    let mut command = build(environment, &scratch, dockerfile, "auto")?;
    let summary = scratch.at("summary.md");
    let variables =
        [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", summary.as_str()), ("GITHUB_WORKSPACE", &scratch.at(""))];
    command.envs(variables);
    let failed = finish(&mut command)?;
    expect_failure(
        &failed,
        1,
        &[
            "\n::group::#2 [2/3] RUN echo ::error::of-the-step && echo hello\n#2 0.",
            "\n::endgroup::\n#2 DONE ",
            "\n::endgroup::\n#3 ERROR: process ",
            "\n::warning file=context/Dockerfile,line=2,title=MaintainerDeprecated::",
            "\n::error file=context/Dockerfile,line=4,title=bake::process ",
        ],
    )?;
    check(!failed.stderr.contains("\n::error::of-the-step"), || "a step can write annotations".into())?;
    let text = scratch.read("summary.md")?;
    check(text.starts_with("### bake failed\n") && text.contains("\n0.") && text.contains(">>> RUN echo bad"), || {
        text
    })?;

    let mut command = build(environment, &scratch, "FROM busybox\nRUN echo hello\n", "auto")?;
    command.envs(variables);
    let digest = succeed(&mut command)?.text();
    let text = scratch.read("summary.md")?;
    for part in [
        "### bake build of <code>app:latest</code>",
        &format!("| Digest | <code>{digest}</code> |"),
        "| Steps | 1: 1 ran, 0 cached |",
    ] {
        check(text.contains(part), || format!("{part} is not in {text}"))?;
    }
    // Switched off, it is a build like any other.
    let mut command = build(environment, &scratch, dockerfile, "auto")?;
    let failed = finish(command.envs(variables).env("BAKE_CI", "off"))?;
    check(!failed.stderr.contains("::group::") && !failed.stderr.contains("\n::error file"), || failed.stderr)?;
    equal(&scratch.read("summary.md")?, &text, "the summary")
}

fn gitlab(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut command = build(environment, &scratch, "FROM busybox\nRUN echo hello\n", "auto")?;
    let log = succeed(command.env("GITLAB_CI", "true"))?.stderr;
    let section = Regex::new(
        "\u{1b}\\[0Ksection_start:\\d+:bake_step_2_1\\[collapsed=true\\]\r\u{1b}\\[0K#2 \\[2/2\\] RUN echo hello\n\
         #2 0\\.\\d+ hello\n\u{1b}\\[0Ksection_end:\\d+:bake_step_2_1\r\u{1b}\\[0K\n#2 DONE",
    );
    let section = section.map_err(|error| error.to_string())?;
    check(section.is_match(&log), || log)
}

fn raw_json(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\nMAINTAINER nobody\nRUN echo hello\nRUN exit 3\n";
    let failed = finish(&mut build(environment, &scratch, dockerfile, "rawjson")?)?;
    equal(&failed.code, &Some(1), "exit code")?;
    let digest = Regex::new("^sha256:[0-9a-f]{64}$").map_err(|error| error.to_string())?;
    let time = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$").map_err(|error| error.to_string())?;
    let mut known = std::collections::BTreeMap::new();
    let mut logs = String::new();
    let mut warnings = 0;
    for line in failed.stderr.lines().filter(|line| line.starts_with('{')) {
        let status: serde_json::Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
        for vertex in list("vertexes") {
            let id = vertex["digest"].as_str().unwrap_or_default().to_owned();
            check(digest.is_match(&id), || format!("{id} is no digest"))?;
            for input in vertex["inputs"].as_array().cloned().unwrap_or_default() {
                check(digest.is_match(input.as_str().unwrap_or_default()), || format!("{input} is no digest"))?;
            }
            for moment in ["started", "completed"] {
                let text = vertex[moment].as_str();
                check(text.is_none_or(|text| time.is_match(text)), || format!("{text:?} is no time"))?;
            }
            known.insert(id, vertex);
        }
        for about in ["statuses", "logs", "warnings"].into_iter().flat_map(list) {
            let id = about["vertex"].as_str().unwrap_or_default();
            check(known.contains_key(id), || format!("{about} is about nothing"))?;
        }
        for log in list("logs") {
            equal(&log["stream"], &serde_json::json!(1), "stream")?;
            logs.push_str(log["data"].as_str().unwrap_or_default());
        }
        warnings += list("warnings").len();
    }
    // `hello` and a newline.
    equal(&logs.as_str(), &"aGVsbG8K", "output")?;
    equal(&warnings, &1, "warnings")?;
    let of =
        |name: &str| known.values().find(|vertex| vertex["name"].as_str() == Some(name)).cloned().unwrap_or_default();
    check(of("[2/3] RUN echo hello")["completed"].is_string(), || format!("{known:?}"))?;
    let error = of("[3/3] RUN exit 3")["error"].as_str().unwrap_or_default().to_owned();
    check(error.contains("exit code: 3"), || format!("`{error}`"))
}

fn refused(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let no_terminal = finish(&mut build(environment, &scratch, "FROM busybox\n", "tty")?)?;
    expect_failure(&no_terminal, 2, &["standard error is no terminal", "hint:"])?;
    let mut wrong = build(environment, &scratch, "FROM busybox\n", "plain")?;
    expect_failure(&finish(wrong.env("BAKE_CI", "gropus"))?, 2, &["`gropus` is none of"])
}

fn flood(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\nRUN seq 1 200000 && printf end\n";
    let log = succeed(&mut build(environment, &scratch, dockerfile, "plain")?)?.stderr;
    let numbers = log.lines().filter_map(|line| line.strip_prefix("#2 ")?.split_once(' ')?.1.parse::<u32>().ok());
    let mut expected = 1;
    for number in numbers.filter(|number| *number > 0) {
        equal(&number, &expected, "the next line")?;
        expected += 1;
    }
    equal(&expected, &200_001, "lines")?;
    check(log.contains(" end\n#2 DONE"), || "the last line is missing".into())
}
