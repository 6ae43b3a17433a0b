//! Builds by an ordinary user, with and without subordinate IDs. Root plays the user; an ordinary user plays itself.

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bake_testkit::case::{Case, Expectation, discover};
use bake_testkit::tree::{Listing, describe_archive};
use libtest_mimic::Arguments;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("an_ordinary_user_builds_what_root_builds", &["root", "setpriv"], same_as_root),
    ("without_subordinate_ids_users_and_owners_are_emulated", &["root", "setpriv"], other_users),
    ("all_who_build_make_the_same_digest", &["root", "setpriv", "unshare", "newuidmap"], same_digest),
    ("all_who_build_give_files_the_same_owners", &["root", "setpriv", "unshare", "newuidmap"], same_owners),
    ("root_that_may_not_mount_builds_what_root_builds", &["root", "setpriv"], restricted_root),
    ("root_that_may_not_mount_and_sees_half_of_proc_builds_too", &["root", "setpriv", "unshare"], restricted_pod),
    ("doctor_says_whether_builds_can_run", &["root", "setpriv", "unshare"], doctor),
    ("files_of_an_ordinary_user_go_to_a_directory", &["root", "setpriv"], local_output),
    ("the_default_store_is_the_users", &["root", "setpriv"], default_store),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let environment = match Environment::new() {
        Ok(environment) => Arc::new(environment),
        Err(problem) => return support::failed_to_start(&problem),
    };
    let cases = match discover(Path::new(CASES)) {
        Ok(cases) => cases,
        Err(error) => return support::failed_to_start(&bake::error::chain_text(&error)),
    };
    let mut trials = support::trials(TESTS, &environment);
    for case in cases.into_iter().filter(|case| case.expectations.contains(&Expectation::Image)) {
        let case = Arc::new(case);
        for (ids, word, programs) in [
            (Ids::Ranges, "case", &["root", "setpriv", "unshare", "newuidmap"][..]),
            (Ids::Single, "case with one ID", &["root", "setpriv"]),
        ] {
            let needs = case.settings.needs.iter().map(String::as_str);
            let needs: Vec<&str> = programs.iter().copied().chain(needs).collect();
            let obstacle = environment.obstacle(&needs).or_else(|| ids.obstacle());
            let (environment, case) = (Arc::clone(&environment), Arc::clone(&case));
            trials.push(support::trial(&format!("{word} {}", case.name), obstacle, move || {
                case_as_user(&case, &environment, ids)
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Where the cases are.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/cases");

/// Which IDs the user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// Its own.
    Single,
    /// Subordinate ones as well.
    Ranges,
}

impl Ids {
    /// Why a test cannot have subordinate IDs of its own: there is nothing to mount its files over.
    fn obstacle(self) -> Option<String> {
        let absent = ["/etc/subuid", "/etc/subgid"].into_iter().find(|path| !Path::new(path).exists());
        absent.filter(|_| self == Self::Ranges).map(|path| format!("there is no {path}"))
    }
}

/// The user who builds: `nobody`, who owns nothing.
const USER: u32 = 65534;

const DOCKERFILE: &str = "FROM layers\n\
    RUN rm /lower/a && mkdir /made && echo hello > /made/file && ln -s file /made/link && chmod 4755 /made/file\n\
    COPY --chown=app:staff file /copied\n\
    WORKDIR /work/here\n\
    RUN ln /made/file hard && cat /copied\n";

/// A scratch directory, a program and base images that the user can reach.
struct UsersPlace {
    scratch: Scratch,
    bake: PathBuf,
    bases: Vec<String>,
}

impl UsersPlace {
    fn new(environment: &Environment) -> Result<Self, String> {
        let scratch = environment.scratch()?;
        let bake = scratch.path().join("bake");
        fs::copy(&environment.bake, &bake).map_err(|error| error.to_string())?;
        // From the root down to here nothing may be closed.
        for directory in scratch.path().ancestors().take(2) {
            fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        }
        scratch.write("context/Dockerfile", DOCKERFILE)?;
        scratch.write("context/file", "copied\n")?;
        let home = scratch.path().join("home");
        fs::create_dir(&home).map_err(|error| error.to_string())?;
        for path in [scratch.path(), &home] {
            chown(path, Some(USER), Some(USER)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(Self { scratch, bake, bases: environment.base_flags() })
    }

    /// A program as the user.
    fn as_user(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
        command.args([&user, &group, "--clear-groups", "--"]).arg(program);
        self.prepare(&mut command);
        command
    }

    /// The program as the user with these IDs.
    fn bake_with(&self, ids: Ids) -> Result<Command, String> {
        if ids == Ids::Single {
            return Ok(self.as_user(&self.bake));
        }
        self.scratch.write("subordinate", format!("{USER}:200000:65536\n"))?;
        // Files in /etc that only this process sees.
        let script = "set -e; for f in subuid subgid; do mount --bind \"$1\" /etc/$f; done; shift; \
                      exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(self.scratch.path().join("subordinate"));
        command.arg(&self.bake);
        self.prepare(&mut command);
        Ok(command)
    }

    fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.scratch.path().join("home"))
            .env("SOURCE_DATE_EPOCH", support::SOURCE_DATE_EPOCH)
            .current_dir(self.scratch.path());
    }

    fn flags(&self, output: &str) -> Vec<String> {
        let mut flags: Vec<String> =
            ["--root", &self.scratch.at("user-store"), "build", "--progress", "plain", "--output", output]
                .map(str::to_owned)
                .to_vec();
        flags.extend(self.bases.clone());
        flags.push(self.scratch.at("context"));
        flags
    }

    fn image(&self, name: &str) -> Result<String, String> {
        let path = self.scratch.path().join(name);
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        describe_archive(file, Listing::default()).map(|image| image.text).map_err(|error| error.to_string())
    }

    fn build_as_root(&self, environment: &Environment) -> Result<String, String> {
        let mut command = environment.build(&self.scratch.store());
        command.args(["--output", "type=oci,dest=root.tar"]).arg(self.scratch.at("context"));
        succeed(command.current_dir(self.scratch.path()))?;
        self.image("root.tar")
    }
}

fn same_text(actual: &str, expected: &str) -> Outcome {
    let only = |these: &str, those: &str| -> Vec<String> {
        these.lines().filter(|line| !those.lines().any(|other| other == *line)).map(str::to_owned).collect()
    };
    check(actual == expected, || {
        format!(
            "the user's image has\n{}\nand root's\n{}\nthe user built\n{actual}",
            only(actual, expected).join("\n"),
            only(expected, actual).join("\n")
        )
    })
}

fn same_as_root(environment: &Environment) -> Outcome {
    let place = UsersPlace::new(environment)?;
    succeed(place.as_user(&place.bake).args(place.flags("type=oci,dest=user.tar")))?;
    same_text(&place.image("user.tar")?, &place.build_as_root(environment)?)?;
    // The second time nothing is carried out.
    let again = succeed(place.as_user(&place.bake).args(place.flags("type=oci,dest=again.tar")))?;
    check(again.stderr.contains("all cached"), || again.stderr.clone())?;
    equal(&place.image("again.tar")?, &place.image("user.tar")?, "image from the cache")
}

/// An ordinary user builds the image that is expected of root.
fn case_as_user(case: &Case, environment: &Environment, ids: Ids) -> Outcome {
    let place = UsersPlace::new(environment)?;
    let directory = place.scratch.path().join("case");
    fs::create_dir(&directory).map_err(|error| error.to_string())?;
    let prepared = case.prepare(&directory).map_err(|error| bake::error::chain_text(&error))?;
    // Giving a file away clears its set-user-ID bit.
    let give = "m=$(stat -c %a \"$2\"); chown -h \"$1\" \"$2\"; test -L \"$2\" || chmod \"$m\" \"$2\"";
    let mut find = Command::new("find");
    find.arg(&directory).args(["-exec", "sh", "-c", give, "sh", &USER.to_string(), "{}", ";"]);
    succeed(&mut find)?;
    let mut command = place.bake_with(ids)?;
    command.args(["--root", &place.scratch.at("user-store"), "build", "--progress", "plain"]);
    command.args(&place.bases).args(&case.settings.args);
    for argument in &case.settings.build_arg {
        command.args(["--build-arg", argument]);
    }
    if let Some(target) = &case.settings.target {
        command.args(["--target", target]);
    }
    let archive = place.scratch.at("user.tar");
    command.args(["--output", &format!("type=oci,dest={archive}"), "--file"]).arg(&prepared.dockerfile);
    succeed(command.arg(&prepared.context).current_dir(&prepared.context))?;
    let file = File::open(&archive).map_err(|error| format!("{archive}: {error}"))?;
    let image =
        describe_archive(file, Listing { digests: case.settings.digests }).map_err(|error| error.to_string())?;
    case.check(Expectation::Image, &image.text, false)
}

fn other_users(environment: &Environment) -> Outcome {
    let place = UsersPlace::new(environment)?;
    let text = "FROM busybox\n\
        RUN test \"$(su app -c 'id -u; id -g')\" = \"$(printf '1000\\n1000')\" && test $(id -u) = 0\n\
        RUN touch /file && chown 7:8 /file && test \"$(stat -c %u:%g /file)\" = 7:8 && chown :9 /file && \
            test \"$(stat -c %u:%g /file)\" = 7:9 && touch /other && chmod 6755 /other && chown app /other && \
            test $(stat -c %a /other) = 755\n\
        USER app\n\
        RUN test \"$(id -un)\" = app && ! chown 0 /file && ! chown app /file && touch /mine && \
            test \"$(stat -c %U /mine)\" = app && ! chown 0:0 /mine && echo \"I am $(id -u)\"\n\
        RUN ! su -c true </dev/null || test -u /bin/busybox\n";
    place.scratch.write("context/Dockerfile", text)?;
    let finished = succeed(place.as_user(&place.bake).args(place.flags("type=cacheonly")))?;
    check(finished.stderr.contains("I am 1000"), || finished.stderr.clone())
}

/// Owners of every type of file, set in every way: by COPY, ADD, chown, tar, programs that became somebody else, and
/// directories that hand their group on; read back by a COPY of another stage and by a second build from the cache.
const OWNERS: &str = "FROM busybox AS first\n\
    RUN mkdir -p /srv/app/below && echo text > /srv/app/file && ln -s file /srv/app/link && mkfifo /srv/app/fifo && \
        ln /srv/app/file /srv/app/hard && chown -hR app:staff /srv/app && chown -h 12:13 /srv/app/link\n\
    RUN mkdir -m 2775 /shared && chgrp staff /shared && mkdir /shared/by-root && echo x > /shared/by-root/file\n\
    RUN mkdir -m 777 /open && su app -c 'cd /open; mkdir -p a/b; echo x > a/file; ln -s x a/link; \
        mkfifo a/fifo; echo y > a/moved; mv a/moved a/here; cp a/file a/copy; mv a/b a/c; touch a/gone; rm a/gone'\n\
    RUN tar -C /srv -cf /archive.tar app && mkdir /unpacked && tar -C /unpacked -xf /archive.tar && rm /archive.tar\n\
    RUN cp -a /srv/app /copied && touch -h /copied/link && mv /copied/link /copied/renamed\n\
    COPY --chown=app:staff file /with-owner\n\
    USER app\n\
    RUN echo mine > /open/mine && chown app:staff /open/mine\n\
    FROM busybox\n\
    COPY --from=first /srv /open /shared /taken/\n\
    COPY --from=first /copied /copied\n\
    RUN chown -h 0:0 /copied/renamed && mv /taken/app /taken/moved\n\
    FROM first\n\
    COPY --from=1 / /second\n";

fn same_owners(environment: &Environment) -> Outcome {
    if let Some(obstacle) = Ids::Ranges.obstacle() {
        return Err(obstacle);
    }
    let place = UsersPlace::new(environment)?;
    place.scratch.write("context/Dockerfile", OWNERS)?;
    let expected = place.build_as_root(environment)?;
    check(expected.contains("12:13"), || format!("there are no owners in\n{expected}"))?;
    for ids in [Ids::Single, Ids::Ranges] {
        for round in 0..2 {
            let store = place.scratch.at(&format!("store-{ids:?}"));
            let archive = format!("{ids:?}-{round}.tar");
            let mut command = place.bake_with(ids)?;
            command.args(["--root", &store, "build", "--progress", "plain"]);
            command.args(["--output", &format!("type=oci,dest={archive}")]).args(&place.bases);
            succeed(command.arg(place.scratch.at("context")))?;
            same_text(&place.image(&archive)?, &expected).map_err(|problem| format!("{ids:?}: {problem}"))?;
        }
        // What is written down must not have changed while it was used.
        let store = place.scratch.at(&format!("store-{ids:?}"));
        succeed(place.bake_with(ids)?.args(["--root", &store, "fsck"]))?;
    }
    Ok(())
}

/// With a time that nothing may be later than, the image is the same to the byte.
fn same_digest(environment: &Environment) -> Outcome {
    if let Some(obstacle) = Ids::Ranges.obstacle() {
        return Err(obstacle);
    }
    let place = UsersPlace::new(environment)?;
    place.scratch.write("context/Dockerfile", format!("{DOCKERFILE}{}", OWNERS.replacen("FROM layers\n", "", 1)))?;
    let output = "type=oci,dest=/dev/null,rewrite-timestamp=true";
    let mut as_root = environment.build(&place.scratch.path().join("root-store"));
    let expected = succeed(as_root.args(["--output", output]).arg(place.scratch.at("context")))?.text();
    for ids in [Ids::Single, Ids::Ranges] {
        let mut command = place.bake_with(ids)?;
        command.args(["--root", &place.scratch.at(&format!("store-{ids:?}")), "build", "--progress", "plain"]);
        command.args(["--output", output]).args(&place.bases).arg(place.scratch.at("context"));
        equal(&succeed(&mut command)?.text(), &expected, &format!("digest with {ids:?}"))?;
    }
    Ok(())
}

/// As in a container of Docker: IDs may be changed and mapped, nothing may be mounted.
const WITHOUT_MOUNTING: &str = "exec setpriv --bounding-set=-sys_admin --inh-caps=-all -- \"$@\"";
/// As containers hide parts of `/proc`, for one process.
const HIDE: &str = "mount --bind /dev/null /proc/keys && ";

fn restricted(environment: &Environment, script: &str) -> Result<(UsersPlace, String), String> {
    let place = UsersPlace::new(environment)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&place.bake).args(place.flags("type=oci,dest=user.tar"));
    place.prepare(&mut command);
    let finished = succeed(&mut command)?;
    same_text(&place.image("user.tar")?, &place.build_as_root(environment)?)?;
    Ok((place, finished.stderr))
}

fn restricted_root(environment: &Environment) -> Outcome {
    let (_, output) = restricted(environment, WITHOUT_MOUNTING)?;
    check(!output.contains("are hidden here"), || output.clone())
}

fn restricted_pod(environment: &Environment) -> Outcome {
    let (_, output) = restricted(environment, &format!("{HIDE}{WITHOUT_MOUNTING}"))?;
    check(output.contains("parts of `/proc` are hidden here"), || output.clone())
}

fn doctor(environment: &Environment) -> Outcome {
    let place = UsersPlace::new(environment)?;
    let store = place.scratch.at("user-store");
    let finished = succeed(place.as_user(&place.bake).args(["--root", &store, "doctor"]))?;
    check(finished.text().contains("builds can run here"), || finished.text())?;
    check(finished.text().contains("limited  subordinate IDs"), || finished.text())?;
    check(!Path::new(&store).exists(), || "asking has made a store".into())?;
    // With `/proc` hidden this user cannot build, and is told so by both.
    let script = format!("{HIDE}exec setpriv --reuid={USER} --regid={USER} --clear-groups -- \"$@\"");
    let hidden = |arguments: &[String]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&place.bake).args(arguments);
        place.prepare(&mut command);
        finish(&mut command)
    };
    let arguments = ["--root", &store, "doctor", "--format", "json"].map(str::to_owned);
    let finished = hidden(&arguments)?;
    equal(&finished.code, &Some(1), "exit code")?;
    let text = finished.text();
    let line = text.lines().find(|line| line.contains("\"Name\":\"/proc\"")).ok_or("nothing is said of /proc")?;
    check(line.contains("\"State\":\"missing\"") && line.contains("systempaths"), || line.to_owned())?;
    expect_failure(&hidden(&place.flags("type=cacheonly"))?, 1, &["hint:", "systempaths", "bake doctor"])
}

fn local_output(environment: &Environment) -> Outcome {
    let place = UsersPlace::new(environment)?;
    succeed(place.as_user(&place.bake).args(place.flags("type=local,dest=out")))?;
    equal(&place.scratch.read("out/made/file")?.as_str(), &"hello\n", "a file")?;
    check(!place.scratch.path().join("out/lower/a").exists(), || "a removed file is there".into())?;
    // They are the user's, to be removed without help.
    succeed(place.as_user(Path::new("/bin/rm")).args(["-rf", "out"])).map(drop)
}

fn default_store(environment: &Environment) -> Outcome {
    let place = UsersPlace::new(environment)?;
    let finished = succeed(place.as_user(&place.bake).arg("images"))?;
    check(finished.text().starts_with("REPOSITORY"), || finished.text())?;
    let store = place.scratch.path().join("home/.local/share/bake");
    check(store.is_dir(), || format!("no store at {}", store.display()))
}
