//! Steps that are known by what they read of copied files: they run again when that changes, and only then; what they make
//! is what they make untraced; and all of it is the same for everybody who builds.

mod support;

use std::os::unix::fs::chown;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bake_testkit::program::{self, Finished};
use rustix::process::{Pid, Signal, kill_process};

use support::{Environment, Outcome, Scratch, Test, check, equal, finish, succeed};

const TESTS: &[Test] = &[
    ("a_step_runs_again_when_what_it_read_has_changed", &["root", "fuse"], reads),
    ("what_a_step_looked_for_in_vain_counts", &["root", "fuse"], absences),
    ("a_single_copied_file_makes_steps_run_again", &["root", "fuse"], one_file),
    ("bind_mounts_are_asked_too", &["root", "fuse"], bind_mounts),
    ("what_a_directory_held_that_is_made_anew_counts", &["root", "fuse"], made_anew),
    ("who_a_step_is_and_where_it_works_counts", &["root", "fuse"], looked_up_for_it),
    ("traced_steps_make_the_same_layers", &["root", "fuse"], same_layers),
    ("many_traced_steps_at_once", &["root", "fuse"], at_once),
    ("a_killed_build_leaves_nothing_of_a_traced_step", &["root", "fuse"], killed),
    ("all_who_build_know_a_step_by_the_same_keys", &["root", "fuse", "setpriv", "unshare", "mknod"], same_keys),
    ("without_the_device_steps_run_untraced", &["root", "unshare"], without_device),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// How long something may take that another process must do.
const PATIENCE: Duration = Duration::from_secs(30);

/// An ordinary user, who owns nothing.
const USER: u32 = 65534;

/// Builds the context of `scratch`.
fn build(environment: &Environment, scratch: &Scratch, flags: &[&str]) -> Result<Finished, String> {
    succeed(environment.build(&scratch.store()).args(flags).arg(scratch.at("context")))
}

/// The steps that ran, by a word of their command, among `words`.
fn ran<'a>(finished: &Finished, words: &[&'a str]) -> Vec<&'a str> {
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let number = |line: &str| line.split_ascii_whitespace().next().map(str::to_owned);
    let is_cached = |word: &str| {
        let step =
            lines.iter().find(|line| line.contains(word) && line.contains(" RUN ")).and_then(|line| number(line));
        step.is_some_and(|step| lines.contains(&format!("{step} CACHED").as_str()))
    };
    words.iter().copied().filter(|word| !is_cached(word)).collect()
}

fn reads(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\nWORKDIR /app\nCOPY . .\nRUN cat package.json > /one\nRUN echo src/* > /two\n\
                      RUN cat /one /two && cp -r src /three\n";
    scratch.write("context/Dockerfile", dockerfile)?;
    for file in ["package.json", "README", "src/a", "src/b"] {
        scratch.write(&format!("context/{file}"), file)?;
    }
    let steps = ["package.json", "echo src", "cp -r"];
    let expect = |what: &str, expected: &[&str]| -> Outcome {
        let finished = build(environment, &scratch, &["--tag", "traced"])?;
        equal(&ran(&finished, &steps).as_slice(), &expected, &format!("steps that run after {what}"))
    };
    expect("nothing", &steps)?;
    scratch.write("context/README", "changed")?;
    expect("a change of a file that nobody reads", &[])?;
    scratch.write("context/more/new", "new")?;
    expect("a new directory", &[])?;
    scratch.write("context/src/a", "changed")?;
    expect("a change of a file that one step reads", &["cp -r"])?;
    scratch.write("context/src/c", "new")?;
    expect("a new file in a directory that is listed", &["echo src", "cp -r"])?;
    scratch.write("context/package.json", "changed")?;
    expect("a change of the file that the first step reads", &steps)?;
    let again =
        succeed(environment.command(&scratch.store()).args(["run", "--rm", "traced", "cat", "/three/a", "/one"]))?;
    equal(&again.text(), &"changedchanged".to_owned(), "what the image holds")
}

/// What is copied to make a step run again does so, although the step does not look at it.
fn one_file(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY version /version\nRUN echo fetched > /fetched\n")?;
    scratch.write("context/version", "1")?;
    let steps = ["fetched"];
    let runs = || Ok::<_, String>(ran(&build(environment, &scratch, &[])?, &steps).len());
    equal(&runs()?, &1, "steps of the first build")?;
    equal(&runs()?, &0, "steps that run after nothing")?;
    scratch.write("context/version", "2")?;
    equal(&runs()?, &1, "steps that run after a change of the only file")?;
    scratch.write("context/version", "1")?;
    equal(&runs()?, &0, "steps that run after going back")
}

fn absences(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile =
        "FROM busybox\nWORKDIR /app\nCOPY . .\nRUN cat a/config 2>/dev/null || cat fallback\nRUN myprogram || true\n";
    scratch.write("context/Dockerfile", dockerfile)?;
    scratch.write("context/fallback", "fallback")?;
    let steps = ["fallback", "myprogram"];
    equal(&ran(&build(environment, &scratch, &[])?, &steps).as_slice(), &steps.as_slice(), "the first build")?;
    scratch.write("context/other", "")?;
    equal(&ran(&build(environment, &scratch, &[])?, &steps).len(), &0, "steps that run after an unrelated file")?;
    scratch.write("context/a/config", "config")?;
    let finished = build(environment, &scratch, &[])?;
    equal(&ran(&finished, &steps).as_slice(), &["fallback"].as_slice(), "steps that looked for what is there now")?;
    check(finished.stderr.contains(" config\n"), || finished.stderr.clone())
}

fn bind_mounts(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox AS tools\nCOPY tools /tools\nRUN ln -s /tools /alias && chown 7:8 /tools/t1\n\
        FROM busybox AS first\n\
        RUN --mount=type=bind,target=/context cat /context/d/one > /first\n\
        FROM busybox AS second\n\
        RUN --mount=type=bind,source=d,target=/d,rw cat /d/two > /second; echo x > /d/new\n\
        FROM busybox AS third\n\
        RUN --mount=type=bind,source=single,target=/single cat /single > /third\n\
        FROM busybox AS fourth\n\
        RUN --mount=type=bind,from=tools,source=/alias,target=/t stat -c %u:%g /t/t1 | tee /fourth\n\
        FROM scratch\n\
        COPY --from=first /first /\nCOPY --from=second /second /\n\
        COPY --from=third /third /\nCOPY --from=fourth /fourth /\n";
    scratch.write("context/Dockerfile", dockerfile)?;
    for file in ["d/one", "d/two", "single", "tools/t1", "tools/t2"] {
        scratch.write(&format!("context/{file}"), file)?;
    }
    let steps = ["/context/d/one", "/d/two", "cat /single", "/t/t1 |"];
    let first = build(environment, &scratch, &[])?;
    equal(&ran(&first, &steps).len(), &4, "steps that run at first")?;
    check(first.stderr.contains(" 7:8\n"), || first.stderr.clone())?;
    for (file, expected) in [
        ("unrelated", &[][..]),
        ("tools/t2", &[]),
        ("d/three", &[]),
        ("d/one", &["/context/d/one"]),
        ("single", &["cat /single"]),
        ("d/two", &["/d/two"]),
        ("tools/t1", &["/t/t1 |"]),
    ] {
        scratch.write(&format!("context/{file}"), format!("changed {file}"))?;
        equal(
            &ran(&build(environment, &scratch, &[])?, &steps).as_slice(),
            &expected,
            &format!("after a change of {file}"),
        )?;
    }
    Ok(())
}

/// What is committed of a directory that hides another one depends on what that one holds. Every reuse is verified.
fn made_anew(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let steps = [
        ("first", "rm -rf d && mkdir d && echo n > d/n"),
        ("second", "mkdir n && echo 1 > n/1 && rm -rf e && mv n e"),
        ("third", "rm -rf d && mkdir -p d/sub && echo 2 > d/sub/g && echo 1 > d/f"),
        ("fourth", "rm -r e; mkdir e; touch e/z"),
        ("fifth", "cp -r d /t && rm -rf d && mv /t d"),
    ];
    let mut dockerfile = "FROM busybox AS base\nWORKDIR /w\nCOPY . .\n".to_owned();
    for (name, command) in steps {
        dockerfile.extend([format!("FROM base AS {name}\nRUN {command} # {name}\n")]);
    }
    dockerfile += "FROM base\n";
    for (name, _) in steps {
        dockerfile.extend([format!("COPY --from={name} /w /{name}\n")]);
    }
    scratch.write("context/Dockerfile", dockerfile)?;
    for file in ["d/f", "d/sub/g", "e/h", "un/x/y"] {
        scratch.write(&format!("context/{file}"), file)?;
    }
    let names = steps.map(|(name, _)| name);
    for (file, expected) in [
        ("un/first", &names[..]),
        ("un/x/y", &[]),
        ("d/more", &["first", "third", "fifth"]),
        ("d/sub/more", &["first", "third", "fifth"]),
        ("e/more", &["second", "fourth"]),
    ] {
        scratch.write(&format!("context/{file}"), "changed")?;
        let finished = build(environment, &scratch, &["--verify-trace", "100%"])?;
        equal(&ran(&finished, &names).as_slice(), &expected, &format!("steps that run after a change of {file}"))?;
    }
    Ok(())
}

/// Account files and the working directory are looked at before there is a step.
fn looked_up_for_it(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\nCOPY root /\nUSER app\nRUN true # as-app\nWORKDIR /work\nRUN true # at-work\n";
    scratch.write("context/Dockerfile", dockerfile)?;
    scratch.write("context/root/etc/passwd", "app:x:7:7:app:/home:/bin/sh\n")?;
    scratch.write("context/root/etc/group", "app:x:7:\n")?;
    scratch.write("context/root/unrelated", "")?;
    scratch.write("context/root/work/file", "")?;
    let steps = ["as-app", "at-work"];
    equal(&ran(&build(environment, &scratch, &[])?, &steps).len(), &2, "steps that run at first")?;
    scratch.write("context/root/unrelated", "changed")?;
    equal(&ran(&build(environment, &scratch, &[])?, &steps).len(), &0, "steps that run after an unrelated change")?;
    scratch.write("context/root/etc/passwd", "app:x:8:8:app:/home:/bin/sh\n")?;
    equal(&ran(&build(environment, &scratch, &[])?, &steps).len(), &2, "steps that run when the user is another one")
}

/// Many ways to change copied files.
const CHANGES: &str = "FROM busybox\n\
    WORKDIR /w\n\
    COPY . .\n\
    RUN echo new > a/b/new\n\
    RUN echo more >> a/1; chmod 600 a/b/2; touch -d '2001-01-01 00:00:00' a/b/c/3\n\
    RUN mv top1 top9; cp -r deep deep2; rm -rf gone && mkdir gone && echo r > gone/other\n\
    RUN rm -rf m2; mkdir -p m2/sub; echo h > m2/sub/h2; cp -a a/b m2/ab\n\
    RUN chmod 700 a; chown 1000:1000 a/b/c; ln top2 hard\n\
    RUN rm m1/f; rmdir m1; mkdir m1\n\
    RUN mkdir n; echo 1 > n/1; mv n m3; rm link; ln -s x link; rm -r deep/x/y; mkdir newtop; mv newtop deep/x/y\n\
    RUN sed -i s/top/TOP/ top3; : > top2; mv a/b/c a/c || cp -a a/b/c a/c; touch a\n\
    RUN cp -a deep /kept && rm -rf deep && cp -a /kept deep && rm -rf /kept\n\
    RUN stat -c '%n %s %h %F %a %u %g' a/1 top* > /stat; find . -type f | sort > /list\n";

fn same_layers(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", CHANGES)?;
    for file in [
        "a/1",
        "a/b/2",
        "a/b/c/3",
        "deep/x/y/z",
        "m1/f",
        "m2/g",
        "m2/sub/h",
        "gone/q",
        "gone/sub/r",
        "top1",
        "top2",
        "top3",
    ] {
        scratch.write(&format!("context/{file}"), file)?;
    }
    std::os::unix::fs::symlink("top1", scratch.path().join("context/link")).map_err(|error| error.to_string())?;
    let mut find = Command::new("find");
    find.arg(scratch.at("context")).args(["-exec", "touch", "-h", "-d", "2011-03-04 05:06:07.123456789", "{}", "+"]);
    succeed(&mut find)?;
    // What is newer than the image gets the time of the image, so that digests are equal if older times are.
    let digest = |store: &str, when: &str| -> Result<String, String> {
        let mut command = environment.build(&scratch.path().join(store));
        command.args(["--output", &format!("type=oci,dest={},rewrite-timestamp=true", scratch.at(when))]);
        succeed(command.args(["--trace-run", when]).arg(scratch.at("context"))).map(|finished| finished.text())
    };
    let traced = digest("traced", "on")?;
    let mut trace = environment.command(&scratch.path().join("traced"));
    succeed(trace.args(["trace", "sed -i"]))?;
    equal(&traced, &digest("plain", "off")?, "digest of the image")
}

fn at_once(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut dockerfile = "FROM busybox AS base\nCOPY . /c\n".to_owned();
    for number in 0..8 {
        dockerfile.extend([format!(
            "FROM base AS s{number}\nRUN for i in 1 2 3 4 5; do cat /c/{number}/* /c/shared; sleep 0.1; done > /out{number}\n"
        )]);
    }
    dockerfile += "FROM scratch\n";
    for number in 0..8 {
        dockerfile.extend([format!("COPY --from=s{number} /out{number} /\n")]);
        for file in 0..20 {
            scratch.write(&format!("context/{number}/{file}"), format!("{number} {file}"))?;
        }
    }
    scratch.write("context/Dockerfile", dockerfile)?;
    scratch.write("context/shared", "shared")?;
    let words: Vec<String> = (0..8).map(|number| format!("/out{number}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let all = |flags: &[&str]| build(environment, &scratch, &[&["--jobs", "8"], flags].concat());
    equal(&ran(&all(&[])?, &words).len(), &8, "steps that run at first")?;
    scratch.write("context/3/7", "changed")?;
    equal(&ran(&all(&[])?, &words).as_slice(), &["/out3"].as_slice(), "steps that run when one of them read it")
}

fn killed(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    // What no other process is called.
    let name = format!("traced-{}", std::process::id());
    let dockerfile = format!("FROM busybox\nCOPY . /c\nRUN while :; do cat /c/* /c/{name} > /dev/null 2>&1; done\n");
    scratch.write("context/Dockerfile", dockerfile)?;
    for number in 0..200 {
        scratch.write(&format!("context/{number}"), "x")?;
    }
    let processes = || -> usize {
        let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
        let of_step = |entry: std::io::Result<std::fs::DirEntry>| {
            let bytes = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            String::from_utf8_lossy(&bytes).contains(&name).then_some(())
        };
        entries.filter_map(of_step).count()
    };
    let wait_for = |what: &str, holds: &dyn Fn() -> bool| -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            check(Instant::now() < deadline, || format!("{what} did not happen within {PATIENCE:?}"))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    let mut command = environment.build(&scratch.store());
    let running = program::start(command.arg(scratch.at("context"))).map_err(|error| error.to_string())?;
    wait_for("the step", &|| processes() > 0)?;
    let id = i32::try_from(running.id()).ok().and_then(Pid::from_raw).ok_or("no process ID")?;
    kill_process(id, Signal::KILL).map_err(|error| error.to_string())?;
    running.wait(PATIENCE).map_err(|error| error.to_string())?;
    wait_for("the end of the step", &|| processes() == 0)?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    check(!mounts.contains("fuse.bake"), || mounts.clone())?;
    let checked = finish(environment.command(&scratch.store()).arg("fsck"))?;
    equal(&checked.code, &Some(0), "exit code of fsck")
}

/// What one user exports, another one finds by what it reads.
fn same_keys(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\nWORKDIR /app\nCOPY --chown=app:staff . .\nRUN cat package.json && ls -ln src > /list && test -O package.json || true\n\
                      RUN --mount=type=bind,source=src,target=/src cat /src/* > /joined\n";
    scratch.write("context/Dockerfile", dockerfile)?;
    for file in ["package.json", "src/a", "src/b"] {
        scratch.write(&format!("context/{file}"), file)?;
    }
    let failed = |error: std::io::Error| error.to_string();
    let bake = scratch.path().join("bake");
    std::fs::copy(&environment.bake, &bake).map_err(failed)?;
    for directory in scratch.path().ancestors().take(2) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    chown(scratch.path(), Some(USER), Some(USER)).map_err(failed)?;
    succeed(Command::new("mknod").args(["-m", "666", &scratch.at("fuse"), "c", "10", "229"]))?;
    scratch.write("subordinate", format!("{USER}:200000:65536\n"))?;
    let has_subordinate = ["/etc/subuid", "/etc/subgid"].iter().all(|path| std::path::Path::new(path).exists());
    let steps = ["package.json", "/joined"];
    for ids in ["single", "ranges"] {
        if ids == "ranges" && !has_subordinate {
            continue;
        }
        std::fs::remove_file(scratch.path().join("context/unrelated")).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error.to_string()),
        })?;
        // A device and files in /etc that only this process sees.
        let script = "set -e; mount --bind fuse /dev/fuse; if [ \"$1\" = ranges ]; then for f in subuid subgid; do \
                      mount --bind subordinate /etc/$f; done; fi; shift; \
                      exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", ids]).arg(&bake).args([
            "--root",
            ids,
            "build",
            "--progress",
            "plain",
        ]);
        command.args(environment.base_flags()).args(["--cache-to", &format!("type=local,dest=cache-{ids}"), "context"]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", scratch.path()).current_dir(scratch.path());
        equal(&ran(&succeed(&mut command)?, &steps).len(), &2, "steps that an ordinary user runs")?;
        scratch.write("context/unrelated", ids)?;
        let mut command = environment.build(&scratch.path().join(format!("root-{ids}")));
        command.args(["--cache-from", &format!("type=local,src={}", scratch.at(&format!("cache-{ids}")))]);
        let finished = succeed(command.arg(scratch.at("context")))?;
        equal(&ran(&finished, &steps), &Vec::new(), &format!("steps that root runs after the user with {ids}"))?;
        check(finished.stderr.contains("reused: none of the"), || finished.stderr.clone())?;
    }
    Ok(())
}

fn without_device(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY . /c\nRUN cat /c/file\n")?;
    scratch.write("context/file", "content")?;
    let mut command = Command::new("unshare");
    let build = environment.build(&scratch.store());
    command.args(["--mount", "sh", "-c", "mount --bind /dev/null /dev/fuse; exec \"$@\"", "sh"]);
    command.arg(build.get_program()).args(build.get_args()).args(["--trace-run", "on"]).arg(scratch.at("context"));
    let finished = succeed(&mut command)?;
    check(finished.stderr.contains("what this step reads is not recorded"), || finished.stderr.clone())?;
    scratch.write("context/other", "")?;
    let again = succeed(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    equal(&ran(&again, &["/c/file"]), &vec!["/c/file"], "a step of which nothing was recorded")
}
