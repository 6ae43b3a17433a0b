//! Failed steps: kept, looked into, gone on from; and commands with a terminal.

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bake_testkit::program::{self, Finished};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("a_failed_step_is_entered_repaired_and_resumed", &[], resume),
    ("a_step_is_accepted_as_it_is", &[], accept),
    ("a_later_failure_goes_on_from_an_earlier_one", &[], twice),
    ("what_changed_since_is_not_resumed", &[], changed),
    ("an_image_without_a_shell_gets_a_toolbox", &[], scratch_image),
    ("secrets_are_not_kept", &[], secrets),
    ("failed_steps_are_counted_limited_and_pruned", &[], pruned),
    ("files_of_a_failed_step_are_saved", &[], saved),
    ("a_shell_has_a_terminal", &[], terminal),
    ("a_command_in_an_image_has_a_terminal", &[], run_terminal),
    ("a_command_reads_more_than_fits_into_memory_at_once", &[], streamed),
    ("a_command_gets_mounts_variables_and_capabilities", &[], run_flags),
    ("exit_codes_tell_who_failed", &[], exit_codes),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// How long something may take that another process must do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A build that fails until `/fixed` is there.
const FAILING: &str = "FROM busybox\nENV GREETING=hello\nWORKDIR /app\n\
    RUN echo partial > log && cat /fixed > result\nRUN echo after > after\n";

fn build(environment: &Environment, scratch: &Scratch, dockerfile: &str) -> Result<Command, String> {
    scratch.write("context/Dockerfile", dockerfile)?;
    let mut command = environment.build(&scratch.store());
    command.args(["-t", "app"]).arg(scratch.at("context"));
    Ok(command)
}

fn fail(environment: &Environment, scratch: &Scratch, dockerfile: &str) -> Result<Finished, String> {
    let finished = finish(&mut build(environment, scratch, dockerfile)?)?;
    expect_failure(&finished, 1, &["bake debug"])?;
    Ok(finished)
}

fn bake(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<Finished, String> {
    finish(environment.command(&scratch.store()).args(arguments))
}

fn kept(environment: &Environment, scratch: &Scratch) -> Result<usize, String> {
    let listed = bake(environment, scratch, &["debug", "--list"])?.success()?;
    Ok(listed.text().lines().count().saturating_sub(1))
}

fn resume(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    fail(environment, &scratch, FAILING)?;
    let seen = bake(environment, &scratch, &["debug", "--", "sh", "-c", "cat log; pwd; echo $GREETING"])?.success()?;
    equal(&seen.text().as_str(), &"partial\n/app\nhello", "what the step left")?;
    let failed = bake(environment, &scratch, &["debug", "--", "sh", "-c", "exit 7"])?;
    equal(&failed.code, &Some(7), "exit code of the command")?;
    // Nothing was repaired: it fails again, and is kept under its name.
    let id = bake(environment, &scratch, &["debug", "--list"])?.success()?.text();
    expect_failure(&bake(environment, &scratch, &["resume"])?, 1, &["bake debug"])?;
    equal(&kept(environment, &scratch)?, &1, "failed steps")?;
    let same = bake(environment, &scratch, &["debug", "--list"])?.success()?.text();
    equal(&same.lines().nth(1).map(|line| &line[..12]), &id.lines().nth(1).map(|line| &line[..12]), "name")?;

    bake(environment, &scratch, &["debug", "--", "sh", "-c", "echo fixed > /fixed"])?.success()?;
    let resumed = bake(environment, &scratch, &["resume"])?.success()?;
    check(resumed.stderr.contains("does not get into the cache"), || resumed.stderr.clone())?;
    equal(&kept(environment, &scratch)?, &0, "failed steps after a resumed build")?;
    let show = ["run", "app", "sh", "-c", "cat /app/log /app/result /app/after /fixed"];
    let seen = bake(environment, &scratch, &show)?.success()?;
    equal(&seen.text().as_str(), &"partial\nfixed\nafter\nfixed", "files of the resumed build")?;
    // The same files as those of a Dockerfile that was right from the beginning.
    let right = FAILING.replace("RUN echo partial", "RUN echo fixed > /fixed && echo partial");
    let built = succeed(&mut build(environment, &scratch, &right)?)?;
    let files = |digest: &str| -> Result<String, String> {
        let script = "find / -xdev | sort | xargs stat -c '%n %a %u:%g %F'; find / -xdev -type f | sort | xargs md5sum";
        Ok(bake(environment, &scratch, &["run", digest, "sh", "-c", script])?.success()?.text())
    };
    check(files(&built.text())?.contains("/app/result 644 0:0 regular file"), || "nothing was compared".into())?;
    equal(&files(&resumed.text())?, &files(&built.text())?, "files")?;
    // The cache knows nothing of the repair.
    expect_failure(&finish(&mut build(environment, &scratch, FAILING)?)?, 1, &["exit code: 1"])?;
    succeed(environment.command(&scratch.store()).arg("fsck")).map(drop)
}

fn accept(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    fail(environment, &scratch, FAILING)?;
    bake(environment, &scratch, &["debug", "--", "sh", "-c", "echo by hand > result"])?.success()?;
    bake(environment, &scratch, &["resume", "--accept"])?.success()?;
    let seen = bake(environment, &scratch, &["run", "app", "cat", "result", "after"])?.success()?;
    equal(&seen.text().as_str(), &"by hand\nafter", "files")
}

fn twice(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM busybox\nRUN test -f /first\nRUN test -f /second\nRUN ls / > /list\n";
    fail(environment, &scratch, text)?;
    bake(environment, &scratch, &["debug", "--", "touch", "/first"])?.success()?;
    expect_failure(&bake(environment, &scratch, &["resume"])?, 1, &["test -f /second"])?;
    bake(environment, &scratch, &["debug", "--", "touch", "/second"])?.success()?;
    bake(environment, &scratch, &["resume"])?.success()?;
    let list = bake(environment, &scratch, &["run", "app", "cat", "/list"])?.success()?.text();
    check(list.contains("first") && list.contains("second"), || list)
}

fn changed(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    expect_failure(&bake(environment, &scratch, &["resume"])?, 2, &["no failed step is kept"])?;
    fail(environment, &scratch, FAILING)?;
    scratch.write("context/Dockerfile", FAILING.replace("partial", "other"))?;
    expect_failure(&bake(environment, &scratch, &["resume"])?, 2, &["not a step of this build any more"])?;
    equal(&kept(environment, &scratch)?, &1, "failed steps after a refusal")?;
    expect_failure(&bake(environment, &scratch, &["resume", "nonsense"])?, 2, &["there is no failed step"])?;
    // What the build read is gone.
    let mut piped = environment.build(&scratch.store());
    let text = b"FROM busybox\nRUN false\n".to_vec();
    program::run_with_input(piped.arg("-"), text).map_err(|error| error.to_string())?;
    expect_failure(&bake(environment, &scratch, &["resume"])?, 2, &["standard input"])
}

fn scratch_image(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/data", "content\n")?;
    fail(environment, &scratch, "FROM scratch\nCOPY data /data\nRUN [\"/nothing\"]\n")?;
    let seen = bake(environment, &scratch, &["debug", "--", "cat", "/data"])?.success()?;
    equal(&seen.text().as_str(), &"content", "a file of an image without programs")?;
    let mut shell = environment.command(&scratch.store());
    let typed = b"ls /data; echo made > /made\n".to_vec();
    let seen = program::run_with_input(shell.arg("debug"), typed).map_err(|error| error.to_string())?;
    equal(&seen.success()?.text().as_str(), &"/data", "what a shell says")?;
    bake(environment, &scratch, &["resume", "--accept"])?.success()?;
    // Nothing of the toolbox is in the image.
    let out = scratch.at("out");
    let output = format!("type=local,dest={out}");
    scratch.write("context/Dockerfile", "FROM app\n")?;
    let mut export = environment.build(&scratch.store());
    succeed(export.args(["-o", &output]).arg(scratch.at("context")))?;
    equal(&scratch.read("out/made")?.as_str(), &"made\n", "what the shell made")?;
    check(!scratch.path().join("out/.bake").exists(), || "the toolbox is in the image".into())
}

fn secrets(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let secret = format!("canary-{}-of-the-test", std::process::id());
    let mount = "--mount=type=secret,id=s";
    let text = format!("FROM busybox\nARG TOKEN\nRUN {mount} test -s /run/secrets/s && test -f /fixed\n");
    let mut command = build(environment, &scratch, &text)?;
    command.env("SECRET", &secret).env("TOKEN", "of-the-argument").args(["--secret", "id=s,env=SECRET"]);
    expect_failure(&finish(command.args(["--build-arg", "TOKEN"]))?, 1, &["bake debug"])?;
    check(!holds(&scratch.store(), secret.as_bytes())?, || "the secret is in the store".into())?;
    let failed = scratch.store().join("failed");
    check(!holds(&failed, b"of-the-argument")?, || "the build argument is beside the failed step".into())?;
    let without = bake(environment, &scratch, &["debug", "--", "ls", "/run/secrets/s"])?;
    check(without.code == Some(1) && without.stderr.contains("the secret `s` is not kept"), || without.stderr)?;
    expect_failure(&bake(environment, &scratch, &["resume"])?, 2, &["--secret id=s", "--build-arg TOKEN"])?;
    let again = |arguments: &[&str]| {
        let mut command = environment.command(&scratch.store());
        command.env("SECRET", &secret).args(&arguments[..1]).args(["--secret", "id=s,env=SECRET"]);
        succeed(command.args(["--build-arg", "TOKEN=of-the-argument"]).args(&arguments[1..]))
    };
    let shown = "cat /run/secrets/s; echo -$TOKEN; touch /fixed";
    let seen = again(&["debug", "--", "sh", "-c", shown])?.text();
    equal(&seen, &format!("{secret}-of-the-argument"), "what was given again")?;
    again(&["resume"])?;
    check(!holds(&scratch.store(), secret.as_bytes())?, || "the secret is in the store".into())
}

/// Whether a file below a directory holds these bytes.
fn holds(directory: &std::path::Path, wanted: &[u8]) -> Result<bool, String> {
    for entry in std::fs::read_dir(directory).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let kind = entry.file_type().map_err(|error| error.to_string())?;
        let found = if kind.is_dir() {
            holds(&entry.path(), wanted)?
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).map_err(|error| error.to_string())?;
            bytes.windows(wanted.len()).any(|window| window == wanted)
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn pruned(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for number in 0..4 {
        fail(environment, &scratch, &format!("FROM busybox\nRUN exit {}\n", number + 1))?;
    }
    equal(&kept(environment, &scratch)?, &3, "failed steps that are kept")?;
    let mut none = build(environment, &scratch, "FROM busybox\nRUN exit 9\n")?;
    let finished = finish(none.args(["--keep-failed", "0"]))?;
    check(!finished.stderr.contains("bake debug"), || finished.stderr.clone())?;
    equal(&kept(environment, &scratch)?, &3, "failed steps after one that was not to be kept")?;
    let used = bake(environment, &scratch, &["df"])?.success()?.text();
    let row = used.lines().find(|line| line.starts_with("Failed steps")).unwrap_or_default();
    check(row.split_whitespace().nth(2) == Some("3"), || used.clone())?;
    // What a failed step stands on stays with it.
    fail(environment, &scratch, FAILING)?;
    bake(environment, &scratch, &["prune", "--all", "--force", "--filter", "type=snapshot"])?.success()?;
    let seen = bake(environment, &scratch, &["debug", "--", "cat", "/app/log"])?.success()?;
    equal(&seen.text().as_str(), &"partial", "what the step left")?;
    bake(environment, &scratch, &["prune", "--all", "--force"])?.success()?;
    equal(&kept(environment, &scratch)?, &0, "failed steps after a prune")?;
    expect_failure(&bake(environment, &scratch, &["debug"])?, 2, &["no failed step is kept"])
}

fn saved(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("victim", "untouched")?;
    std::fs::create_dir_all(scratch.path().join("out")).map_err(|error| error.to_string())?;
    // Neither a link of the root nor one of the destination may lead anywhere.
    symlink(scratch.path(), scratch.path().join("out/reports")).map_err(|error| error.to_string())?;
    let victim = scratch.at("victim");
    let text = format!(
        "FROM busybox\nRUN mkdir -p /reports/deep && echo bad > /reports/deep/log && ln -s {victim} /reports/link \
         && cp /bin/busybox /reports/setuid && chmod 4755 /reports/setuid && mkfifo /reports/pipe && echo x > /reports/victim \
         && ln -s /reports /alias && exit 1\n"
    );
    let refused = format!("src=/reports,dest={}", scratch.at("out"));
    let other = format!("src=/alias,src=/nowhere,dest={}", scratch.at("other"));
    let mut command = build(environment, &scratch, &text)?;
    let finished = finish(command.args(["--on-failure-export", &refused, "--on-failure-export", &other]))?;
    expect_failure(&finished, 1, &["saved /alias", "/nowhere"])?;
    equal(&scratch.read("victim")?.as_str(), &"untouched", "a file outside")?;
    equal(&scratch.read("other/alias/deep/log")?.as_str(), &"bad\n", "a report")?;
    let mode = std::fs::metadata(scratch.path().join("other/alias/setuid")).map_err(|error| error.to_string())?;
    equal(&(mode.mode() & 0o7777), &0o755, "mode of a set-user-id file")?;
    check(!scratch.path().join("other/alias/pipe").exists(), || "a pipe was saved".into())?;
    let link = std::fs::read_link(scratch.path().join("other/alias/link")).map_err(|error| error.to_string())?;
    equal(&link, &scratch.path().join("victim"), "a link is a link")
}

/// A terminal with a program in it.
struct Typist {
    master: File,
    slave: OwnedFd,
    child: std::process::Child,
    seen: String,
}

impl Typist {
    /// Starts `command` in a session of its own, with a new terminal of 40 rows and 100 columns.
    fn start(command: &Command) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::open(c"/dev/ptmx", flags, Mode::empty()).map_err(|error| text(&error))?;
        bake_sys::terminal::unlock(&master).map_err(|error| text(&error))?;
        let slave = bake_sys::terminal::open_peer(&master).map_err(|error| text(&error))?;
        resize(&master, 40, 100)?;
        let stream = || slave.try_clone().map(Stdio::from).map_err(|error| text(&error));
        // `setsid` makes the terminal the controlling one.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            session.env(name, value.unwrap_or_default());
        }
        let child = session.stdin(stream()?).stdout(stream()?).stderr(stream()?).spawn();
        rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).map_err(|error| text(&error))?;
        Ok(Self { master: File::from(master), slave, child: child.map_err(|error| text(&error))?, seen: String::new() })
    }

    fn look(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.master.read(&mut buffer) {
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    /// Waits until this is on the screen after everything that was waited for before.
    fn wait_for(&mut self, words: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.look();
            if let Some(position) = self.seen.find(words) {
                self.seen.drain(..position + words.len());
                return Ok(());
            }
            check(Instant::now() < deadline, || format!("`{words}` did not come: {:?}", self.seen))?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn type_in(&mut self, text: &str) -> Outcome {
        self.master.write_all(text.as_bytes()).map_err(|error| error.to_string())
    }

    /// Whether the terminal edits lines, as it does by default.
    fn is_cooked(&self) -> bool {
        tcgetattr(&self.slave).is_ok_and(|attributes| attributes.local_modes.contains(LocalModes::ICANON))
    }

    /// The exit code of the program, once it has ended.
    fn end(&mut self) -> Result<Option<i32>, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.look();
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status.code());
            }
            check(Instant::now() < deadline, || format!("it does not end: {:?}", self.seen))?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(master: &impl std::os::fd::AsFd, rows: u16, columns: u16) -> Outcome {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).map_err(|error| error.to_string())
}

fn terminal(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    fail(environment, &scratch, FAILING)?;
    let mut command = environment.command(&scratch.store());
    command.arg("debug").env("TERM", "xterm");
    let mut typist = Typist::start(&command)?;
    typist.wait_for("# ")?;
    typist.type_in("tty; stty size; test -c /dev/console && echo is''there\n")?;
    for words in ["/dev/pts/0", "40 100", "isthere"] {
        typist.wait_for(words)?;
    }
    check(!typist.is_cooked(), || "bake's own terminal edits lines too".into())?;
    resize(&typist.master, 50, 120)?;
    typist.type_in("sleep 0.5; stty size\n")?;
    typist.wait_for("50 120")?;
    typist.type_in("echo fixed > /fixed; echo star''ted; sleep 1000\n")?;
    typist.wait_for("started")?;
    std::thread::sleep(Duration::from_millis(300));
    typist.type_in("\u{3}")?;
    typist.type_in("echo code=$?\n")?;
    typist.wait_for("code=130")?;
    typist.type_in("exit 3\n")?;
    equal(&typist.end()?, &Some(3), "exit code of the shell")?;
    check(typist.is_cooked(), || "the terminal was not given back".into())?;
    bake(environment, &scratch, &["resume"])?.success()?;
    let seen = bake(environment, &scratch, &["run", "app", "cat", "result"])?.success()?;
    equal(&seen.text().as_str(), &"fixed", "what the shell repaired")
}

fn run_terminal(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    succeed(&mut build(environment, &scratch, "FROM busybox\n")?)?;
    let mut command = environment.command(&scratch.store());
    command.args([
        "run",
        "-it",
        "-u",
        "1000",
        "app",
        "sh",
        "-c",
        "tty; echo $TERM; echo x > $(tty); read a; echo got-$a; sleep 1000",
    ]);
    let mut typist = Typist::start(&command)?;
    for words in ["/dev/pts/0", "xterm", "x"] {
        typist.wait_for(words)?;
    }
    typist.type_in("word\n")?;
    typist.wait_for("got-word")?;
    check(!typist.is_cooked(), || "bake's own terminal edits lines too".into())?;
    // However it ends, the terminal is given back.
    // `setsid` becomes the program, or where it could not, starts it.
    let starter = typist.child.id();
    let became = std::fs::read_to_string(format!("/proc/{starter}/comm")).is_ok_and(|name| name.trim() != "setsid");
    let children = std::fs::read_to_string(format!("/proc/{starter}/task/{starter}/children"));
    let own = children.ok().filter(|_| !became).and_then(|text| text.split_whitespace().next()?.parse().ok());
    let bake_process = own.or_else(|| i32::try_from(typist.child.id()).ok()).and_then(rustix::process::Pid::from_raw);
    let bake_process = bake_process.ok_or("a process has an ID")?;
    rustix::process::kill_process(bake_process, rustix::process::Signal::TERM).map_err(|error| error.to_string())?;
    typist.end()?;
    check(typist.is_cooked(), || "the terminal was not given back after a signal".into())?;
    expect_failure(&bake(environment, &scratch, &["run", "-it", "app", "true"])?, 2, &["no terminal"])
}

fn streamed(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    succeed(&mut build(environment, &scratch, "FROM busybox\n")?)?;
    // More than was ever read beforehand; sparse, so that it costs no disk.
    let large = File::create(scratch.path().join("large")).map_err(|error| error.to_string())?;
    large.set_len(100 << 20).map_err(|error| error.to_string())?;
    let input = File::open(scratch.path().join("large")).map_err(|error| error.to_string())?;
    let mut command = environment.command(&scratch.store());
    let output = command.args(["run", "-i", "app", "wc", "-c"]).stdin(input).output();
    let output = output.map_err(|error| error.to_string())?;
    equal(&String::from_utf8_lossy(&output.stdout).trim(), &"104857600", "bytes that arrived")?;
    // A command that reads nothing waits for nobody.
    let mut command = environment.command(&scratch.store());
    let mut child = command.args(["run", "-i", "app", "true"]).stdin(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        check(Instant::now() < deadline, || "it waits for input".into())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn run_flags(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    succeed(&mut build(environment, &scratch, "FROM busybox\nENV A=image\n")?)?;
    scratch.write("variables", "# comment\nA=file\nB=file\n")?;
    scratch.write("shown/file", "bound\n")?;
    let run = |flags: &[&str], script: &str| -> Result<String, String> {
        let mut command = environment.command(&scratch.store());
        Ok(succeed(command.arg("run").args(flags).args(["app", "sh", "-c", script]))?.text())
    };
    let variables = scratch.at("variables");
    equal(&run(&["--env-file", &variables, "-e", "B=typed"], "echo $A $B")?.as_str(), &"file typed", "variables")?;
    let bind = format!("type=bind,src={},dst=/bound,readonly", scratch.at("shown"));
    let flags = ["--mount", &bind, "--tmpfs", "/memory:size=1m,mode=700", "--read-only"];
    let script = "cat /bound/file; touch /bound/x 2>/dev/null || echo refused; touch /memory/x && stat -c %a /memory";
    equal(&run(&flags, script)?.as_str(), &"bound\nrefused\n700", "mounts")?;
    let bounding = |flags: &[&str]| run(flags, "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | cut -f2");
    equal(&bounding(&["--cap-drop", "ALL"])?.as_str(), &"0000000000000000\n0\n2", "no capabilities")?;
    equal(&bounding(&["--cap-drop=ALL", "--cap-add=cap_net_raw"])?.as_str(), &"0000000000002000\n0\n2", "one")?;
    let unfiltered = ["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined", "--cap-drop=ALL"];
    equal(&bounding(&unfiltered)?.as_str(), &"0000000000000000\n1\n0", "options")?;
    equal(
        &run(&["--privileged"], "mkdir /m && mount -t tmpfs none /m && echo mounted")?.as_str(),
        &"mounted",
        "privileged",
    )?;
    for (flags, word) in [
        (&["--cap-add", "SYS_TIM"][..], "no capability `SYS_TIM`"),
        (&["--cap-add", "SYS_TIME"], "means nothing here"),
        (&["--security-opt", "label=disable"], "label=disable"),
        (&["-v", "/data"], "needs a source"),
        (&["--mount", "type=volume,dst=/a"], "type `volume`"),
        (&["--name", "x"], "--name"),
        (&["-d"], "--detach"),
    ] {
        let mut command = environment.command(&scratch.store());
        expect_failure(&finish(command.arg("run").args(flags).args(["app", "true"]))?, 2, &[word])?;
    }
    Ok(())
}

fn exit_codes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    succeed(&mut build(environment, &scratch, "FROM busybox\nRUN echo text > /text\n")?)?;
    for (arguments, code) in [
        (&["run", "app", "sh", "-c", "exit 7"][..], 7),
        (&["run", "app", "sh", "-c", "kill -TERM $$"], 143),
        (&["run", "app", "/text"], 126),
        (&["run", "app", "nothing-of-that-name"], 127),
        (&["run", "--pull", "never", "nowhere:1"], 125),
        (&["run", "--platform", "linux/s390x", "--pull=never", "app"], 125),
        (&["run", "--platform", "nonsense/", "--pull=never", "app"], 2),
    ] {
        let finished = bake(environment, &scratch, arguments)?;
        equal(&finished.code, &Some(code), &format!("{arguments:?}"))
            .map_err(|e| format!("{e}\n{}", finished.stderr))?;
    }
    Ok(())
}
