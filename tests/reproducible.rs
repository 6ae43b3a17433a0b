//! The same input gives the same digest wherever it is built, and `--verify-reproducible` tells what is not the same.

mod support;

use std::process::{Command, ExitCode};
use std::time::Duration;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("copies_are_the_same_everywhere", &[], copies),
    ("steps_are_the_same_everywhere_with_rewritten_times", &[], steps),
    ("what_is_cached_does_not_decide_the_time_of_a_working_directory", &[], working_directory),
    ("a_dockerfile_that_writes_the_date_is_found_out", &[], date),
    ("every_kind_of_difference_is_told", &[], kinds),
    ("a_clean_dockerfile_passes_and_is_exported", &[], clean),
    ("without_a_time_there_is_nothing_to_verify", &[], no_time),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

fn digest(environment: &Environment, scratch: &Scratch, store: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = environment.command(&scratch.path().join(store));
    command.args(["build", "--progress", "plain"]).args(environment.base_flags()).args(arguments);
    succeed(command.arg(scratch.at("context")).current_dir(scratch.path())).map(|finished| finished.text())
}

/// The digests of several stores, built at different times and with different numbers of steps at once.
fn same_everywhere(environment: &Environment, scratch: &Scratch, output: &str) -> Outcome {
    let first = digest(environment, scratch, "one", &["--output", output, "--jobs", "1"])?;
    std::thread::sleep(Duration::from_millis(1100));
    let second = digest(environment, scratch, "two", &["--output", output, "--jobs", "8"])?;
    equal(&second, &first, "digest of another store")?;
    let again = digest(environment, scratch, "two", &["--output", output, "--no-cache"])?;
    equal(&again, &first, "digest without the cache")
}

fn copies(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "content\n")?;
    scratch.write("context/dir/file", "content\n")?;
    succeed(Command::new("tar").args(["-C", &scratch.at("context"), "-cf", &scratch.at("context/a.tar"), "dir"]))?;
    scratch.write(
        "context/Dockerfile",
        "FROM layers AS base\nWORKDIR /made/deep\nCOPY file here/and/there/\nCOPY file /lower/new\n\
         COPY <<NAME /heredocs/one\ntext\nNAME\nADD a.tar /unpacked/\nCOPY --link dir /linked/dir\n\
         FROM base AS other\nCOPY --chown=7:8 dir /copied/\n\
         FROM base\nCOPY --from=other /copied /from/other\nLABEL a=b\n",
    )?;
    same_everywhere(environment, &scratch, "type=oci,dest=out.tar")
}

fn steps(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "content\n")?;
    let stages = |number: usize| format!("FROM busybox AS s{number}\nRUN echo {number} > /s{number}\n");
    let stages: String = (0..4).map(stages).collect();
    let copies: Vec<String> = (0..4).map(|number| format!("COPY --from=s{number} /s{number} /all/\n")).collect();
    let copies = copies.concat();
    let text = format!(
        "{stages}FROM busybox\n{copies}RUN mkdir /new && ln -s new /link && rm -rf /etc/group && chmod 700 /home\n"
    );
    scratch.write("context/Dockerfile", text)?;
    same_everywhere(environment, &scratch, "type=oci,dest=out.tar,rewrite-timestamp=true")
}

fn working_directory(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nWORKDIR /made\n")?;
    let mut without = environment.build(&scratch.path().join("one"));
    succeed(without.env_remove("SOURCE_DATE_EPOCH").arg(scratch.at("context")))?;
    let arguments = ["--output", "type=oci,dest=out.tar"];
    let cached = digest(environment, &scratch, "one", &arguments)?;
    equal(&digest(environment, &scratch, "two", &arguments)?, &cached, "digest")
}

fn verify(environment: &Environment, scratch: &Scratch, output: &str) -> Command {
    let mut command = environment.build(&scratch.store());
    command.args(["--verify-reproducible", "--output", output]).arg(scratch.at("context")).current_dir(scratch.path());
    command
}

fn date(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo same > /same\nRUN echo at $(date +%s) > /stamp\n")?;
    let finished = finish(&mut verify(environment, &scratch, "type=oci,dest=out.tar,rewrite-timestamp=true"))?;
    expect_failure(
        &finished,
        1,
        &["the two builds made different images: 1 layer differs", "RUN /bin/sh -c echo at $(date"],
    )?;
    // `at 17...`: the first digits of the time are the same.
    let line =
        finished.stderr.lines().find(|line| line.contains("stamp: content differs from byte ")).unwrap_or_default();
    check(line.ends_with("on (14 bytes)"), || finished.stderr.clone())?;
    check(!finished.stderr.contains("same: "), || finished.stderr.clone())?;
    check(scratch.read("out.tar").is_err(), || "the output was written".into())
}

fn kinds(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    // A cache mount is what tells the two builds apart.
    scratch.write(
        "context/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/cache if [ -e /cache/second ]; then \
             echo 1 > /a && chmod 600 /mode && chown 5:6 /owner && ln -s x /link && mkdir /kind && touch /second; \
         else echo 1234 > /a && touch /first /kind && ln -s y /link; fi 2>/dev/null; touch /cache/second; touch /time\n"
            .replace("chmod 600 /mode", "touch /mode && chmod 600 /mode")
            .replace("chown 5:6 /owner", "touch /owner && chown 5:6 /owner")
            .replace("touch /first /kind", "touch /first /kind /mode /owner"),
    )?;
    let finished = finish(&mut verify(environment, &scratch, "type=oci,dest=out.tar"))?;
    for words in [
        "a: content differs from byte 1 on (5 and 2 bytes)",
        "mode: mode 0644 and 0600",
        "owner: owner 0:0 and 5:6",
        "link: target `y` and `x`",
        "kind: file and directory",
        "first: only in the first build",
        "second: only in the second build",
        "time: time 20",
        "rewrite-timestamp=true",
    ] {
        expect_failure(&finished, 1, &[words])?;
    }
    Ok(())
}

fn clean(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo same > /same && mkdir /dir\nCOPY Dockerfile /to/\n")?;
    let output = "type=oci,dest=out.tar,rewrite-timestamp=true";
    let finished = succeed(&mut verify(environment, &scratch, output))?;
    check(finished.stderr.contains("both builds made the same image"), || finished.stderr.clone())?;
    check(finished.text().starts_with("sha256:") && !finished.text().contains('\n'), || finished.text())?;
    check(scratch.path().join("out.tar").exists(), || "the output is missing".into())?;
    equal(&digest(environment, &scratch, "other", &["--output", output])?, &finished.text(), "digest")
}

fn no_time(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\n")?;
    let mut command = verify(environment, &scratch, "type=oci,dest=out.tar");
    expect_failure(&finish(command.env_remove("SOURCE_DATE_EPOCH"))?, 2, &["SOURCE_DATE_EPOCH"])
}
