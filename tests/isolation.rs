//! What a RUN step can reach, and what it cannot.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bake_testkit::program;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("mounts_locked_in_opposite_order_are_no_deadlock", &[], opposite_order),
    ("a_mount_that_a_step_has_twice_is_one", &[], mount_twice),
    ("cache_ids_are_no_paths", &[], cache_ids),
    ("sources_of_mounts_stay_in_their_root", &[], mount_sources),
    ("writes_to_a_bind_mount_are_thrown_away", &[], bind_writes),
    ("a_subdirectory_that_turns_into_a_link_leads_nowhere", &[], swapped_subdirectory),
    ("what_replaces_a_stub_is_not_followed", &[], replaced_stub),
    ("kernel_directories_that_are_links_are_refused", &["tar"], kernel_links),
    ("a_working_directory_cannot_be_a_descriptor", &[], working_directory),
    ("users_that_are_no_numbers_of_a_user_are_refused", &[], users),
    ("account_files_that_are_no_files_are_not_waited_for", &[], account_files),
    ("groups_are_those_of_the_image", &["ids"], groups),
    ("labels_and_volumes_do_nothing", &[], labels),
    ("nothing_of_the_builder_is_in_a_step", &[], nothing_of_the_builder),
    ("devices_are_refused", &["root"], devices),
    ("file_capabilities_are_those_of_a_root_build", &["root", "setcap"], file_capabilities),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// How long a build may take that should not wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often a race is run; each round lets both sides act at least once.
const ROUNDS: u32 = 10_000;

/// Builds a Dockerfile.
fn build(environment: &Environment, scratch: &Scratch, text: &str) -> Result<program::Finished, String> {
    scratch.write("context/Dockerfile", text)?;
    finish(environment.build(&scratch.store()).arg(scratch.at("context")))
}

/// Builds a Dockerfile whose steps say by their success that all is as it should be.
fn builds(environment: &Environment, text: &str) -> Outcome {
    build(environment, &environment.scratch()?, text)?.success().map(drop)
}

/// A directory of the machine that no step may reach, and what it must still hold at the end.
struct Outside {
    directory: tempfile::TempDir,
}

impl Outside {
    fn new() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::write(directory.path().join("canary"), "alive").map_err(|error| error.to_string())?;
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn is_untouched(&self) -> Outcome {
        let entries = fs::read_dir(self.path()).map_err(|error| error.to_string())?;
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        equal(&names, &vec!["canary".into()], "what is outside")?;
        let content = fs::read_to_string(self.path().join("canary")).map_err(|error| error.to_string())?;
        equal(&content.as_str(), &"alive", "the file outside")
    }
}

fn opposite_order(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mount = |id: &str| format!("--mount=type=cache,id={id},target=/{id},sharing=locked");
    // Each says that it runs and then waits for a moment, so that the other has all the time to take a lock.
    for (name, first, second) in [("one", "a", "b"), ("two", "b", "a")] {
        let text = format!("FROM busybox\nRUN {} {} sleep 0.2; echo {name} >> /a/log\n", mount(first), mount(second));
        scratch.write(&format!("{name}/Dockerfile"), text)?;
    }
    for _ in 0..5 {
        let start = |name: &str| {
            let mut command = environment.build(&scratch.store());
            program::start(command.arg("--no-cache").arg(scratch.at(name))).map_err(|error| error.to_string())
        };
        for build in [start("one")?, start("two")?] {
            build.wait(PATIENCE).map_err(|error| error.to_string())?.success()?;
        }
    }
    Ok(())
}

fn mount_twice(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let pairs = [("locked", "locked"), ("locked", "shared"), ("shared", "private"), ("private", "private")];
    for (one, other) in pairs {
        let mount = |target: &str, sharing: &str| {
            format!("--mount=type=cache,id=x-{one}-{other},target=/{target},sharing={sharing}")
        };
        let text = format!("FROM busybox\nRUN {} {} touch /1/x && test -f /2/x\n", mount("1", one), mount("2", other));
        scratch.write("context/Dockerfile", text)?;
        let mut command = environment.build(&scratch.store());
        let running = program::start(command.arg(scratch.at("context"))).map_err(|error| error.to_string())?;
        running.wait(PATIENCE).map_err(|error| error.to_string())?.success()?;
    }
    Ok(())
}

fn cache_ids(environment: &Environment) -> Outcome {
    let (outside, scratch) = (Outside::new()?, environment.scratch()?);
    for id in ["../../../outside".to_owned(), outside.path().display().to_string(), "..".to_owned()] {
        let mount = format!("--mount=type=cache,id={id},target=/c");
        build(environment, &scratch, &format!("FROM busybox\nRUN {mount} test -z \"$(ls -A /c)\" && touch /c/x\n"))?
            .success()?;
    }
    outside.is_untouched()
}

fn mount_sources(environment: &Environment) -> Outcome {
    let outside = Outside::new()?;
    let scratch = environment.scratch()?;
    let link = outside.path().display();
    let stage = format!("FROM busybox AS s\nRUN ln -s / /root-link; ln -s {link} /out; ln -s ../../../../../.. /up\n");
    // In its root a link to `/` is that root, which has no canary; a link to what is not there is an error.
    for (source, works) in [("/root-link", true), ("/up", true), ("/out", false), ("/up/../out", false)] {
        let cache = format!("type=cache,id={source},from=s");
        for options in ["type=bind,from=s", "type=bind,rw,from=s", &cache] {
            let step = format!("RUN --mount={options},source={source},target=/m test ! -e /m/canary && ls /m/bin\n");
            scratch.write("context/Dockerfile", format!("{stage}FROM busybox\n{step}"))?;
            // What a cache mount holds is in no key.
            let finished = finish(environment.build(&scratch.store()).arg("--no-cache").arg(scratch.at("context")))?;
            let expected = if works { Some(0) } else { Some(1) };
            check(finished.code == expected, || format!("{options} {source}: {}", finished.stderr))?;
        }
    }
    for option in ["bind-propagation=shared", "exec", "suid", "dev"] {
        let step = format!("FROM busybox\nRUN --mount=type=bind,target=/m,{option} true\n");
        let finished = build(environment, &scratch, &step)?;
        check(finished.code != Some(0), || format!("`{option}` is not refused"))?;
    }
    outside.is_untouched()
}

fn bind_writes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "before")?;
    let step = "RUN --mount=type=bind,rw,target=/m echo after > /m/file && rm /m/Dockerfile && touch /m/new\n";
    let other = "RUN --mount=type=bind,target=/m test $(cat /m/file) = before && test ! -e /m/new && ! touch /m/x\n";
    build(environment, &scratch, &format!("FROM busybox\n{step}{other}"))?.success()?;
    equal(&scratch.read("context/file")?.as_str(), &"before", "the file")?;
    check(!scratch.path().join("context/new").exists(), || "a file was made in the context".into())
}

/// One step swaps a directory of a shared cache mount for a link, as fast as it can, while others mount what is below it.
fn swapped_subdirectory(environment: &Environment) -> Outcome {
    let (outside, scratch) = (Outside::new()?, environment.scratch()?);
    let out = outside.path().display();
    // The target of the second mount lies in the first one, which the other step changes all the time.
    let mounts = "--mount=type=cache,id=race,target=/c --mount=type=tmpfs,target=/c/real/below";
    let attack = format!(
        "RUN --mount=type=cache,id=race,target=/c mkdir -p /c/real; n=0; while [ $n -lt {ROUNDS} ]; do \
         mv /c/real /c/kept 2>/dev/null; ln -s {out} /c/real 2>/dev/null; rm -f /c/real; mv /c/kept /c/real 2>/dev/null; \
         mkdir -p /c/real; n=$((n+1)); done\n"
    );
    scratch.write("attack/Dockerfile", format!("FROM busybox\n{attack}"))?;
    let mut steps = "FROM busybox\n".to_owned();
    for number in 0..60 {
        let _ = writeln!(steps, "RUN {mounts} touch /c/real/below/{number} 2>/dev/null; true");
    }
    scratch.write("mounting/Dockerfile", &steps)?;
    let mut command = environment.build(&scratch.store());
    let mut attacker = program::start(command.arg(scratch.at("attack"))).map_err(|error| error.to_string())?;
    while attacker.is_running() {
        // A mount may fail while its target is a link; what it must not do is to go outside.
        let mut command = environment.build(&scratch.store());
        finish(command.arg("--no-cache").arg(scratch.at("mounting")))?;
        outside.is_untouched()?;
    }
    attacker.wait(PATIENCE).map_err(|error| error.to_string())?.success()?;
    outside.is_untouched()
}

fn replaced_stub(environment: &Environment) -> Outcome {
    let outside = Outside::new()?;
    let out = outside.path().display();
    // The stub of the mount is in a directory that the step replaces by a link, with the name of what is to be removed.
    let step = "RUN --mount=type=tmpfs,target=/made/canary mv /made /moved && ln -s OUT /made\n"
        .replace("OUT", &out.to_string());
    builds(environment, &format!("FROM busybox\n{step}"))?;
    // The same with a file.
    let scratch = environment.scratch()?;
    scratch.write("secret", "x")?;
    let mount = "--mount=type=secret,id=s,target=/made/canary";
    let step = format!("RUN {mount} mv /made /moved; mkdir /other; ln -s {out} /other/made; true\n");
    scratch.write("context/Dockerfile", format!("FROM busybox\n{step}"))?;
    let mut command = environment.build(&scratch.store());
    command.args(["--secret", &format!("id=s,src={}", scratch.at("secret"))]);
    succeed(command.arg(scratch.at("context")))?;
    outside.is_untouched()
}

fn kernel_links(environment: &Environment) -> Outcome {
    let (outside, scratch) = (Outside::new()?, environment.scratch()?);
    for name in ["proc", "sys", "dev"] {
        let links = scratch.path().join(format!("{name}-link"));
        fs::create_dir(&links).map_err(|error| error.to_string())?;
        symlink(outside.path(), links.join(name)).map_err(|error| error.to_string())?;
        let archive = scratch.at("context/links.tar");
        fs::create_dir_all(scratch.path().join("context")).map_err(|error| error.to_string())?;
        succeed(Command::new("tar").args(["-cf", &archive, "-C"]).arg(&links).arg(name))?;
        let finished = build(environment, &scratch, "FROM busybox\nADD links.tar /\nRUN true\n")?;
        expect_failure(&finished, 1, &["is never followed"])?;
        outside.is_untouched()?;
    }
    for target in ["/proc", "/proc/self", "/sys/fs", "/"] {
        let step = format!("FROM busybox\nRUN --mount=type=tmpfs,target={target} true\n");
        let finished = build(environment, &scratch, &step)?;
        check(finished.code != Some(0), || format!("something was mounted on {target}"))?;
    }
    Ok(())
}

fn working_directory(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for number in 0..12 {
        let text = format!("FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN ls ../../etc/hostname && exit 9\n");
        let finished = build(environment, &scratch, &text)?;
        check(finished.code != Some(0) && !finished.stderr.contains("exit code: 9"), || finished.stderr.clone())?;
    }
    builds(
        environment,
        "FROM busybox\nRUN for n in $(seq 3 200); do test ! -e /proc/$$/fd/$n || exit 1; done; test -e /proc/$$/fd/2\n",
    )
}

fn users(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let account =
        "RUN for u in 4294967296 2147483648x 99999999999; do echo \"$u:x:0:0::/:/bin/sh\" >> /etc/passwd; done\n";
    for user in ["4294967296", "4294967295", "99999999999", "-1", "0:4294967296"] {
        let finished = build(environment, &scratch, &format!("FROM busybox\n{account}USER {user}\nRUN id -u\n"))?;
        check(finished.code != Some(0), || format!("USER {user}: {}", finished.stderr))?;
    }
    Ok(())
}

fn account_files(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for make in ["mkfifo /etc/passwd", "ln -s /dev/zero /etc/passwd", "ln -s /proc/kmsg /etc/passwd"] {
        for name in ["passwd", "group"] {
            let make = make.replace("passwd", name);
            let text = format!("FROM busybox\nRUN rm -f /etc/{name}; {make}\nUSER nobody-such\nRUN true\n");
            scratch.write("context/Dockerfile", text)?;
            let mut command = environment.build(&scratch.store());
            let running = program::start(command.arg(scratch.at("context"))).map_err(|error| error.to_string())?;
            let finished = running.wait(PATIENCE).map_err(|error| format!("{make}: {error}"))?;
            check(finished.code == Some(1), || format!("{make}: {}", finished.stderr))?;
        }
    }
    let large = "RUN yes 'many:x:5:someone' | head -c 300000000 > /etc/group\n";
    let finished = build(environment, &scratch, &format!("FROM busybox\n{large}USER app\nRUN true\n"))?;
    expect_failure(&finished, 1, &["/etc/group"])
}

fn groups(environment: &Environment) -> Outcome {
    let accounts =
        "RUN echo 'u:x:1000:1000::/:/bin/sh' > /etc/passwd; printf 'g:x:1000:\\nmore:x:7:u\\n' > /etc/group\n";
    let text = format!(
        "FROM busybox\n{accounts}USER u\nRUN test \"$(id -G)\" = '1000 7'\nUSER u:7\nRUN test \"$(id -g)\" = 7\n\
         USER 1234:5\nRUN test \"$(id -G)\" = 5\n"
    );
    builds(environment, &text)
}

fn labels(environment: &Environment) -> Outcome {
    let outside = Outside::new()?;
    let out = outside.path().display();
    let text = format!(
        "FROM busybox AS base\nLABEL io.containerd.runc.v2.group=\"$(touch {out}/x)\" run=\"touch {out}/y\"\n\
         VOLUME [\"/../../../..{out}\", \"/etc\"]\nFROM base\nRUN test ! -e {out}/canary && test -e /etc/passwd\n"
    );
    builds(environment, &text)?;
    outside.is_untouched()
}

fn nothing_of_the_builder(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let checks = "RUN set -e; test \"$(env | grep -v -E '^(PATH|HOME|PWD|SHLVL|OLDPWD)=' | wc -l)\" = 0; \
                  ! ls -A / | grep -i -E 'bake|docker|otel'; ! find / -xdev -name '*.sock' | grep .; \
                  ! grep -i -E '/bake|store|snapshots|\\.tmp' /proc/self/mountinfo; test \"$(hostname)\" = bake\n";
    scratch.write("context/Dockerfile", format!("FROM busybox\n{checks}"))?;
    let mut command: Command = environment.build(&scratch.store());
    command.env("AWS_SECRET_ACCESS_KEY", "x").env("TRACEPARENT", "y").env("SSH_AUTH_SOCK", "/tmp/agent");
    succeed(command.arg(scratch.at("context"))).map(drop)
}

fn devices(environment: &Environment) -> Outcome {
    let step = "RUN ! mknod /disk b 8 0 && ! mknod /zero c 1 5 && mkfifo /fifo && mknod /pipe p && test -p /pipe\n";
    builds(environment, &format!("FROM busybox\n{step}"))?;
    let finished = build(environment, &environment.scratch()?, "FROM busybox\nRUN mknod /disk b 8 0\n")?;
    expect_failure(&finished, 1, &["hint:", "`mknod`", "ADD"])
}

fn file_capabilities(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let setcap = bake_testkit::host::program("setcap").ok_or("setcap is installed")?;
    let failed = |error: std::io::Error| error.to_string();
    let mut copies = vec![setcap.clone()];
    // The libraries it needs, as the dynamic linker lists them: `NAME => PATH (ADDRESS)`, or the linker's own path.
    let libraries = succeed(Command::new("ldd").arg(&setcap))?.text();
    let words = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    copies.extend(words.map(std::path::PathBuf::from));
    for path in copies {
        let copy = scratch.path().join("tools").join(path.strip_prefix("/").map_err(|error| error.to_string())?);
        fs::create_dir_all(copy.parent().ok_or("a file is in a directory")?).map_err(failed)?;
        fs::copy(&path, &copy).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let step = format!("RUN cp /bin/busybox /tool && {} cap_net_raw+ep /tool\n", setcap.display());
    scratch.write("context/Dockerfile", format!("FROM busybox\nCOPY --from=tools / /\n{step}"))?;
    let mut command = environment.build(&scratch.store());
    command.args(["--build-context", &format!("tools={}", scratch.at("tools")), "--output"]);
    command.arg(format!("type=tar,dest={}", scratch.at("out.tar")));
    succeed(command.arg(scratch.at("context")))?;
    let archive = fs::read(scratch.path().join("out.tar")).map_err(failed)?;
    // Version 2, effective, and bit 13: without the root ID that the kernel adds in user namespaces (version 3).
    let expected = b"security.capability=\x01\0\0\x02\0\x20\0\0";
    check(archive.windows(expected.len()).any(|window| window == expected), || "the capability is not there".into())
}
