//! What is typed and what comes back: exit codes, standard streams, contexts from standard input, files of results.

mod support;

use std::process::{Command, ExitCode};

use bake_testkit::program;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("help_and_version_go_to_standard_output", &[], help_and_version),
    ("mistakes_on_the_command_line_are_code_2", &[], usage),
    ("shells_get_completions_that_they_can_read", &["bash"], completions),
    ("every_command_has_a_manual_page", &[], manual_pages),
    ("help_comes_in_two_lengths_and_any_width", &[], help_texts),
    ("the_digest_is_all_of_standard_output", &[], digest),
    ("results_are_written_to_files", &[], result_files),
    ("build_arguments_that_the_build_itself_obeys", &[], own_arguments),
    ("the_dockerfile_from_standard_input", &[], dockerfile_from_input),
    ("a_dockerfile_alone_from_standard_input", &[], context_is_a_dockerfile),
    ("the_context_from_standard_input", &["tar"], context_from_input),
    ("a_compressed_context_from_standard_input", &["tar"], compressed_context),
    ("a_broken_context_from_standard_input", &[], broken_context),
    ("contexts_that_cannot_be_read", &[], unreadable_contexts),
    ("a_named_pipe_is_not_waited_for", &[], named_pipes),
    ("a_dockerfile_outside_of_the_context", &[], dockerfile_elsewhere),
    ("an_ignore_file_of_its_own", &[], own_ignore_file),
    ("a_named_context_is_a_directory", &[], named_context),
    ("secrets_come_from_files_and_variables", &[], secrets),
    ("progress_can_be_told_apart", &[], progress),
    ("linting_needs_no_store", &[], lint),
    ("linting_knows_images_of_the_store", &[], lint_with_store),
    ("formatting_says_what_it_changes", &[], formatting),
    ("hooks_for_pre_commit_are_commands", &[], hooks),
    ("pipelines_in_the_documentation_are_commands", &[], documented_commands),
    ("findings_of_checks_go_where_progress_goes", &[], findings),
    ("calls_answer_programs_in_json", &[], calls),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// `bake build` of `context` below a scratch directory.
fn build(environment: &Environment, scratch: &Scratch, context: &str) -> Command {
    let mut command = environment.build(&scratch.store());
    command.arg(scratch.at(context)).current_dir(scratch.path());
    command
}

fn help_and_version(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for arguments in [&["--help"][..], &["build", "--help"], &["--version"], &["version"]] {
        let finished = succeed(environment.command(&scratch.store()).args(arguments))?;
        check(finished.text().contains("bake"), || format!("{arguments:?}: {}", finished.text()))?;
        equal(&finished.stderr.as_str(), &"", "standard error")?;
    }
    check(!scratch.store().exists(), || "a store was made for nothing".into())
}

fn usage(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\n")?;
    let context = scratch.at("context");
    for (arguments, word) in [
        (&[][..], "Usage"),
        (&["bulid"], "build"),
        (&["build"], "CONTEXT"),
        (&["build", "--taget", "x", &context], "--target"),
        (&["build", "--output", "type=oic,dest=x", &context], "type=oic"),
        (&["build", "--tag", "Not A Name", &context], "Not A Name"),
        (&["build", "--platform", "windows/amd64", &context], "windows"),
        (&["build", "--secret", "src=x", &context], "id"),
        (&["build", "--file", "-", "-"], "standard input"),
        (&["build", "--push", &context], "--tag"),
        (&["build", "--file", "nowhere", &context], "nowhere"),
    ] {
        let finished = finish(environment.command(&scratch.store()).args(arguments).current_dir(scratch.path()))?;
        expect_failure(&finished, 2, &[word]).map_err(|problem| format!("{arguments:?}: {problem}"))?;
        check(finished.stdout.is_empty(), || format!("{arguments:?} wrote to standard output: {}", finished.text()))?;
    }
    Ok(())
}

fn completions(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let script = |shell: &str| finish(environment.command(&scratch.store()).args(["completion", shell]));
    scratch.write("completion.bash", script("bash")?.success()?.stdout)?;
    // What bash would offer after `bake li` and `bake build --no-cache-f`.
    let ask = "source completion.bash; offer() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); \
               _bake bake \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; echo \"${COMPREPLY[@]}\"; }; \
               offer bake lin; offer bake build --no-cache-f";
    let offered = succeed(Command::new("bash").args(["-c", ask]).current_dir(scratch.path()))?;
    equal(&offered.text().as_str(), &"lint\n--no-cache-filter", "what bash offers")?;
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let text = script(shell)?.success()?.text();
        check(text.contains("no-cache-filter"), || format!("{shell} does not know `--no-cache-filter`"))?;
    }
    expect_failure(&script("csh")?, 2, &["csh", "zsh"])
}

fn manual_pages(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    succeed(environment.command(&scratch.store()).args(["man", &scratch.at("man/man1")]))?;
    let help = succeed(environment.command(&scratch.store()).arg("--help"))?.text();
    let (_, commands) = help.split_once("\nBuild:\n").ok_or("the help lists no commands")?;
    let (commands, _) = commands.split_once("\nOptions:").ok_or("the list of commands has no end")?;
    let listed: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    check(listed.len() > 35, || format!("commands in the help: {listed:?}"))?;
    for name in listed.into_iter().chain(["imagetools-create"]) {
        let page = scratch.read(&format!("man/man1/bake-{name}.1"))?;
        check(page.contains(".TH BAKE") && page.contains(".SH SYNOPSIS"), || format!("the page of {name}: {page}"))?;
        let holds_others = page.contains(".SH SUBCOMMANDS");
        check(holds_others || page.contains(".SH EXAMPLES\n.PP\n.nf\n"), || format!("the page of {name}: {page}"))?;
    }
    let page = scratch.read("man/man1/bake.1")?;
    check(page.contains("SOURCE_DATE_EPOCH") && page.contains(".SH EXAMPLES"), || page.clone())?;
    check(!scratch.store().exists(), || "a store was made for nothing".into())
}

fn help_texts(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let shown = |arguments: &[&str], columns: &str| {
        succeed(environment.command(&scratch.store()).args(arguments).env("COLUMNS", columns))
    };
    let (narrow, wide) = (shown(&["-h"], "50")?.text(), shown(&["-h"], "500")?.text());
    for (help, width) in [(&narrow, 50), (&wide, 120)] {
        check(help.contains("\nRegistries:\n  login "), || help.clone())?;
        check(help.contains("\nExamples:\n  bake build -t"), || help.clone())?;
        let (groups, _) = help.split_once("\nOptions:").ok_or("the help has no options")?;
        let longest = groups.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
        check(longest.chars().count() <= width, || format!("longer than {width}: {longest}"))?;
    }
    check(narrow.lines().count() > wide.lines().count(), || narrow.clone())?;
    check(!narrow.contains("Exit codes"), || "the short help is long".into())?;
    check(shown(&["--help"], "80")?.text().contains("\nExit codes: 0 success"), || "no exit codes".into())?;
    let long = shown(&["build", "--help"], "80")?.text();
    equal(&shown(&["help", "build"], "80")?.text(), &long, "bake help build")?;
    let short = shown(&["build", "-h"], "80")?.text();
    check(short.lines().count() * 3 / 2 < long.lines().count(), || short.clone())?;
    let finished = finish(environment.command(&scratch.store()).arg("bulid"))?;
    expect_failure(&finished, 2, &["similar", "'build'"])
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn digest(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo hello\n")?;
    let finished = succeed(&mut build(environment, &scratch, "context"))?;
    check(is_digest(&finished.text()), || format!("standard output: {}", finished.text()))?;
    check(finished.stderr.contains("hello"), || finished.stderr.clone())?;
    let quiet = succeed(build(environment, &scratch, "context").arg("--quiet"))?;
    equal(&quiet.text(), &finished.text(), "digest of a quiet build")?;
    equal(&quiet.stderr.as_str(), &"", "standard error of a quiet build")
}

fn result_files(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo hello > /hello\n")?;
    let (id, metadata) = (scratch.at("id"), scratch.at("metadata.json"));
    let arguments = ["--iidfile", &id, "--metadata-file", &metadata, "--tag", "app:1"];
    let finished = succeed(build(environment, &scratch, "context").args(arguments))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&scratch.read("metadata.json")?).map_err(|error| error.to_string())?;
    equal(&metadata["containerimage.digest"].as_str(), &Some(finished.text().as_str()), "digest")?;
    let id = scratch.read("id")?;
    check(is_digest(&id), || format!("image ID: {id}"))?;
    equal(&metadata["containerimage.config.digest"].as_str(), &Some(id.as_str()), "image ID")?;
    equal(&metadata["image.name"].as_str(), &Some("docker.io/library/app:1"), "name")
}

fn own_arguments(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN hostname\n")?;
    let metadata = scratch.at("metadata.json");
    let with = |argument: &str| {
        let mut command = build(environment, &scratch, "context");
        command.args(["--metadata-file", &metadata, "--build-arg", argument]);
        command
    };
    let media_type = || -> Result<String, String> {
        let metadata: serde_json::Value =
            serde_json::from_str(&scratch.read("metadata.json")?).map_err(|error| error.to_string())?;
        Ok(metadata["containerimage.descriptor"]["mediaType"].as_str().unwrap_or_default().to_owned())
    };
    succeed(&mut with("BUILDKIT_MULTI_PLATFORM=0"))?;
    equal(&media_type()?.as_str(), &"application/vnd.oci.image.manifest.v1+json", "media type")?;
    let index = succeed(&mut with("BUILDKIT_MULTI_PLATFORM=1"))?;
    equal(&media_type()?.as_str(), &"application/vnd.oci.image.index.v1+json", "media type of an index of one")?;
    check(!index.stderr.contains("is not used"), || index.stderr.clone())?;
    let named = succeed(&mut with("BUILDKIT_SANDBOX_HOSTNAME=kitchen"))?;
    check(named.stderr.contains("kitchen"), || named.stderr.clone())?;
    succeed(&mut with("BUILDKIT_SYNTAX=docker/dockerfile:1.7"))?;
    expect_failure(&finish(&mut with("BUILDKIT_SYNTAX=tonistiigi/other"))?, 2, &["tonistiigi/other", "built in"])?;
    expect_failure(&finish(&mut with("BUILDKIT_MULTI_PLATFORM=perhaps"))?, 2, &["perhaps", "neither"])?;
    // What is not obeyed is said to be of no use.
    let unknown = succeed(&mut with("BUILDKIT_NOTHING=1"))?;
    check(unknown.stderr.contains("`BUILDKIT_NOTHING` is not used"), || unknown.stderr.clone())
}

fn with_input(command: &mut Command, input: impl Into<Vec<u8>>) -> Result<program::Finished, String> {
    program::run_with_input(command, input.into()).map_err(|error| error.to_string())
}

fn dockerfile_from_input(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "from the context\n")?;
    let text = "FROM busybox\nCOPY file /file\nRUN cat /file\n";
    let finished = with_input(build(environment, &scratch, "context").args(["--file", "-"]), text)?.success()?;
    check(finished.stderr.contains("from the context"), || finished.stderr.clone())
}

fn context_is_a_dockerfile(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM busybox\nRUN echo without a context\n";
    let finished = with_input(environment.build(&scratch.store()).arg("-"), text)?.success()?;
    check(finished.stderr.contains("without a context"), || finished.stderr.clone())?;
    // There is nothing to copy from.
    let finished = with_input(environment.build(&scratch.store()).arg("-"), "FROM busybox\nCOPY file /file\n")?;
    check(matches!(finished.code, Some(1 | 2)), || format!("{:?}: {}", finished.code, finished.stderr))
}

fn packed(scratch: &Scratch, flags: &[&str]) -> Result<Vec<u8>, String> {
    scratch.write("packed/Dockerfile", "FROM busybox\nCOPY . /all/\nRUN cat /all/directory/file\n")?;
    scratch.write("packed/directory/file", "from the archive\n")?;
    scratch.write("packed/ignored", "x")?;
    scratch.write("packed/.dockerignore", "ignored\n")?;
    let directory = scratch.at("packed");
    Ok(succeed(Command::new("tar").args(["-C", &directory]).args(flags).args(["-cf", "-", "."]))?.stdout)
}

fn context_from_input(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let archive = packed(&scratch, &[])?;
    let finished = with_input(environment.build(&scratch.store()).arg("-"), archive)?.success()?;
    check(finished.stderr.contains("from the archive"), || finished.stderr.clone())
}

fn compressed_context(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let archive = packed(&scratch, &["-z"])?;
    let finished = with_input(environment.build(&scratch.store()).arg("-"), archive)?.success()?;
    check(finished.stderr.contains("from the archive"), || finished.stderr.clone())
}

fn broken_context(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for input in [b"\x1f\x8b\x08\0 broken".to_vec(), Vec::new()] {
        let finished = with_input(environment.build(&scratch.store()).arg("-"), input)?;
        check(finished.code == Some(2), || format!("{:?}: {}", finished.code, finished.stderr))?;
    }
    Ok(())
}

fn unreadable_contexts(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    expect_failure(&finish(&mut build(environment, &scratch, "nowhere"))?, 2, &["nowhere"])?;
    scratch.write("file", "x")?;
    expect_failure(&finish(&mut build(environment, &scratch, "file"))?, 2, &["is not a directory"])?;
    scratch.write("empty/other", "x")?;
    expect_failure(&finish(&mut build(environment, &scratch, "empty"))?, 2, &["Dockerfile", "--file"])?;
    scratch.write("comment/Dockerfile", b"FROM busybox\n# Andr\xe9\n")?;
    succeed(&mut build(environment, &scratch, "comment"))?;
    scratch.write("binary/Dockerfile", b"# Andr\xe9\nRUN \xff\n")?;
    expect_failure(&finish(&mut build(environment, &scratch, "binary"))?, 2, &["not UTF-8", "line 2"])?;
    std::fs::create_dir_all(scratch.path().join("strange/Dockerfile")).map_err(|error| error.to_string())?;
    expect_failure(&finish(&mut build(environment, &scratch, "strange"))?, 2, &["Dockerfile"])
}

fn named_pipes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY . /all/\nRUN test -p /all/pipe\n")?;
    succeed(Command::new("mkfifo").arg(scratch.at("context/pipe")))?;
    succeed(&mut build(environment, &scratch, "context"))?;
    scratch.write("other/file", "x")?;
    succeed(Command::new("mkfifo").arg(scratch.at("other/Dockerfile")))?;
    expect_failure(&finish(&mut build(environment, &scratch, "other"))?, 2, &["not a regular file"])
}

fn dockerfile_elsewhere(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "x")?;
    scratch.write("elsewhere/Other.Dockerfile", "FROM busybox\nCOPY file /file\n")?;
    let file = scratch.at("elsewhere/Other.Dockerfile");
    succeed(build(environment, &scratch, "context").args(["--file", &file])).map(drop)
}

fn own_ignore_file(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/a", "x")?;
    scratch.write("context/b", "x")?;
    scratch.write("context/.dockerignore", "a\n")?;
    scratch.write("context/Own.Dockerfile", "FROM busybox\nCOPY . /all/\nRUN test -e /all/a && test ! -e /all/b\n")?;
    scratch.write("context/Own.Dockerfile.dockerignore", "b\n")?;
    let file = scratch.at("context/Own.Dockerfile");
    succeed(build(environment, &scratch, "context").args(["--file", &file])).map(drop)
}

fn named_context(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY --from=assets file /file\nRUN cat /file\n")?;
    scratch.write("assets/file", "from the other context\n")?;
    let named = format!("assets={}", scratch.at("assets"));
    let finished = succeed(build(environment, &scratch, "context").args(["--build-context", &named]))?;
    check(finished.stderr.contains("from the other context"), || finished.stderr.clone())
}

fn secrets(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM busybox\nRUN --mount=type=secret,id=a --mount=type=secret,id=b \
                test $(cat /run/secrets/a /run/secrets/b | wc -c) = 12 && rev=$(cat /run/secrets/b) && echo ${#rev}\n";
    scratch.write("context/Dockerfile", text)?;
    scratch.write("secret", "sesame")?;
    let file = format!("id=a,src={}", scratch.at("secret"));
    let mut command = build(environment, &scratch, "context");
    let finished = succeed(command.env("PASTE", "tahini").args(["--secret", &file, "--secret", "id=b,env=PASTE"]))?;
    check(!finished.stderr.contains("sesame"), || finished.stderr.clone())?;
    let store = succeed(Command::new("grep").args(["-rlE", "sesame|tahini"]).arg(scratch.store()));
    check(store.is_err(), || format!("the store holds a secret: {store:?}"))
}

fn progress(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo hello\n")?;
    let finished = succeed(build(environment, &scratch, "context").args(["--progress", "rawjson"]));
    // The last of two `--progress` counts, or it is refused: both are better than a mixture.
    match finished {
        Ok(finished) => finished.stderr.lines().filter(|line| line.starts_with('{')).try_for_each(|line| {
            serde_json::from_str::<serde_json::Value>(line).map(drop).map_err(|error| format!("{error}: {line}"))
        }),
        Err(problem) => check(problem.contains("--progress"), || problem.clone()),
    }
}

fn lint(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", "FROM busybox\nRNU echo\n")?;
    let run = |arguments: &[&str]| {
        finish(environment.command(&scratch.store()).arg("lint").args(arguments).current_dir(scratch.path()))
    };
    let text = run(&[])?;
    equal(&text.code, &Some(1), "exit code with findings")?;
    check(text.text().contains("unknown-instruction"), || text.text())?;
    for format in ["json", "sarif"] {
        let findings = run(&["--format", format])?;
        serde_json::from_slice::<serde_json::Value>(&findings.stdout).map_err(|error| format!("{format}: {error}"))?;
    }
    equal(&run(&["nowhere"])?.code, &Some(2), "exit code of a missing file")?;
    let explained = run(&["--explain", "unknown-instruction"])?.success()?;
    check(explained.text().contains("unknown-instruction"), || explained.text())?;
    check(!scratch.store().exists(), || "linting made a store".into())
}

fn lint_with_store(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let base = "FROM scratch\nWORKDIR /srv\nENV APP_HOME=/srv\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\n\
                HEALTHCHECK CMD [\"/x\"]\nUSER app\n";
    scratch.write("context/Dockerfile", base)?;
    scratch.write("Dockerfile", "FROM acme/app:1\nWORKDIR sub\nENV A=$APP_HOME B=$NOTHING\nRUN a | b\nEXPOSE 80\n")?;
    let found = || -> Result<Vec<String>, String> {
        let mut command = environment.command(&scratch.store());
        let finished =
            finish(command.args(["lint", "--select", "all", "--format", "json"]).current_dir(scratch.path()))?;
        let findings: Vec<serde_json::Value> = serde_json::from_slice(&finished.stdout).map_err(|e| e.to_string())?;
        Ok(findings.iter().filter_map(|finding| Some(finding["rule"].as_str()?.to_owned())).collect())
    };
    let unknown = ["healthcheck-missing", "image-digest-missing", "user-root", "workdir-relative", "pipefail-missing"];
    equal(&found()?, &unknown.map(str::to_owned).to_vec(), "findings without the image")?;
    succeed(build(environment, &scratch, "context").args(["--tag", "acme/app:1"]))?;
    // What the base has is not missing; that all of its variables are known shows that one is not there.
    let known = ["image-digest-missing", "workdir-relative", "undefined-var"];
    equal(&found()?, &known.map(str::to_owned).to_vec(), "findings with the image")
}

fn formatting(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", "from a\nRUN  b\n")?;
    scratch.write("good.Dockerfile", "FROM a\n")?;
    scratch.write("other.Dockerfile", "# syntax=a/b\nfrom a\n")?;
    let run = |arguments: &[&str], input: &str| {
        let mut command = environment.command(&scratch.store());
        command.arg("fmt").args(arguments).current_dir(scratch.path());
        program::run_with_input(&mut command, input.as_bytes().to_vec()).map_err(|error| error.to_string())
    };
    let checked = run(&["--check", "Dockerfile", "good.Dockerfile"], "")?;
    equal(&checked.code, &Some(1), "exit code of --check")?;
    equal(&checked.stderr.as_str(), &"`Dockerfile` would be formatted\n", "what would change")?;
    let shown = run(&["--diff"], "")?;
    equal(&shown.code, &Some(1), "exit code of --diff")?;
    check(shown.text().contains("-from a\n-RUN  b\n+FROM a\n+RUN b"), || shown.text())?;
    equal(&scratch.read("Dockerfile")?.as_str(), &"from a\nRUN  b\n", "the file, before")?;
    run(&[], "")?.success()?;
    equal(&scratch.read("Dockerfile")?.as_str(), &"FROM a\nRUN b\n", "the file, after")?;
    run(&["--check"], "")?.success()?;
    let other = run(&["other.Dockerfile"], "")?.success()?;
    check(other.stderr.contains("another frontend"), || other.stderr.clone())?;
    equal(&scratch.read("other.Dockerfile")?.as_str(), &"# syntax=a/b\nfrom a\n", "a file for another frontend")?;
    // Directories are searched, and one file that cannot be read does not keep the others from being laid out.
    scratch.write("tree/a/Dockerfile", "from a\n")?;
    scratch.write("tree/b/x.Dockerfile", "from a\n")?;
    scratch.write("tree/vendor/Dockerfile", "from a\n")?;
    scratch.write("tree/bake.toml", "[lint]\nexclude = [\"vendor/**\"]\n")?;
    equal(&run(&["nowhere", "tree"], "")?.code, &Some(2), "exit code of a missing file among others")?;
    equal(&scratch.read("tree/a/Dockerfile")?.as_str(), &"FROM a\n", "a file in a directory")?;
    equal(&scratch.read("tree/b/x.Dockerfile")?.as_str(), &"FROM a\n", "a file of another name")?;
    equal(&scratch.read("tree/vendor/Dockerfile")?.as_str(), &"from a\n", "a file that is excluded")?;
    let piped = run(&["-"], "from a")?.success()?;
    equal(&piped.stdout.as_slice(), &b"FROM a\n".as_slice(), "standard output")?;
    let named = run(&["--diff", "--stdin-filename", "x/Dockerfile", "-"], "from a\n")?;
    check(named.text().contains("+++ b/x/Dockerfile"), || named.text())?;
    equal(&run(&["nowhere"], "")?.code, &Some(2), "exit code of a missing file")
}

fn hooks(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.pre-commit-hooks.yaml");
    let hooks = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let entries: Vec<&str> = hooks.lines().filter_map(|line| line.trim().strip_prefix("entry: ")).collect();
    equal(&entries.len(), &hooks.matches("- id: ").count(), "entries")?;
    for entry in entries {
        scratch.write("good/Dockerfile", "FROM debian:12-slim\nUSER 10001\n")?;
        scratch.write("bad/Dockerfile", "from debian:12-slim\nADD x.txt /\nUSER 10001\n")?;
        let words: Vec<&str> = entry.split(' ').collect();
        equal(&words.first(), &Some(&"bake"), "the program of a hook")?;
        let mut command = environment.command(&scratch.store());
        command.args(&words[1..]).args(["good/Dockerfile", "bad/Dockerfile"]).current_dir(scratch.path());
        let finished = finish(&mut command)?;
        let changed = scratch.read("bad/Dockerfile")? != "from debian:12-slim\nADD x.txt /\nUSER 10001\n";
        // A hook complains by its exit code, or by changing a file.
        check(finished.code == Some(1) || changed, || format!("{entry}: nothing happened"))?;
        check(finished.code.is_some_and(|code| code < 2), || format!("{entry}: {}", finished.stderr))?;
        equal(&scratch.read("good/Dockerfile")?.as_str(), &"FROM debian:12-slim\nUSER 10001\n", entry)?;
    }
    Ok(())
}

fn documented_commands(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("a/Dockerfile", "FROM debian:12-slim\nUSER 10001\n")?;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ci-lint.md");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.lines().map(|line| line.trim().trim_start_matches("- ").trim_start_matches("run: "));
    let commands: Vec<&str> = lines.filter_map(|line| line.strip_prefix("bake ")).collect();
    check(commands.len() >= 5, || format!("{commands:?}"))?;
    for command in commands {
        let mut started = environment.command(&scratch.store());
        succeed(started.args(command.split(' ')).current_dir(scratch.path()))?;
    }
    for report in ["findings.sarif", "gl-code-quality-report.json"] {
        let text = scratch.read(report)?;
        serde_json::from_str::<serde_json::Value>(&text).map_err(|error| format!("{report}: {error}"))?;
    }
    Ok(())
}

fn findings(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox as base\n")?;
    let line = "warning[FromAsCasing]: 'as' and 'FROM' keywords' casing do not match (Dockerfile:1)";
    let finished = succeed(&mut build(environment, &scratch, "context"))?;
    equal(&finished.stderr.lines().filter(|shown| *shown == line).count(), &1, "findings of a build")?;
    let finished = succeed(build(environment, &scratch, "context").arg("--quiet"))?;
    equal(&finished.stderr.as_str(), &"", "standard error of a quiet build")?;
    scratch.write("context/Dockerfile", "FROM scratch as base\n")?;
    let mut raw = environment.command(&scratch.store());
    raw.args(["build", "--progress", "rawjson", "context"]).current_dir(scratch.path());
    let finished = succeed(&mut raw)?;
    let statuses = finished.stderr.lines().map(serde_json::from_str::<serde_json::Value>);
    let warnings: Vec<serde_json::Value> =
        statuses.filter_map(Result::ok).filter_map(|mut status| Some(status.get_mut("warnings")?.take())).collect();
    equal(&warnings.len(), &1, "statuses with warnings")?;
    let warning = &warnings[0][0];
    equal(&warning["url"], &"https://docs.docker.com/go/dockerfile/rule/from-as-casing/".into(), "address")?;
    equal(&warning["range"][0]["start"]["line"], &1.into(), "line")?;
    equal(&warning["sourceInfo"]["filename"], &"Dockerfile".into(), "file")
}

fn calls(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    // Nothing is carried out, so it does not matter that this step cannot succeed.
    scratch
        .write("context/Dockerfile", "ARG V=1\nFROM busybox as base\nARG V\nRUN --mount=type=secret,id=s false\n")?;
    let call = |arguments: &[&str]| finish(build(environment, &scratch, "context").args(arguments));
    let json = |arguments: &[&str]| -> Result<serde_json::Value, String> {
        serde_json::from_str(&call(arguments)?.text()).map_err(|error| format!("{arguments:?}: {error}"))
    };
    let checked = json(&["--call=check,format=json"])?;
    equal(&checked["warnings"][0]["ruleName"], &"FromAsCasing".into(), "rule")?;
    equal(&checked["warnings"][0]["location"]["ranges"][0]["end"]["line"], &2.into(), "line")?;
    equal(&checked["sources"][0]["filename"], &"Dockerfile".into(), "file")?;
    let outline = json(&["--call=outline,format=json"])?;
    equal(&outline["args"][0]["value"], &"1".into(), "value of the argument")?;
    equal(&outline["secrets"][0]["name"], &"s".into(), "secret")?;
    let targets = json(&["--call=targets,format=json"])?;
    equal(&targets["targets"][0]["base"], &"busybox".into(), "base")?;
    equal(&call(&["--check"])?.code, &Some(1), "exit code with findings")?;
    equal(&call(&["--call=check,ignorestatus=true"])?.code, &Some(0), "exit code that is to be ignored")?;
    equal(&call(&["--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"])?.code, &Some(0), "exit code")?;
    expect_failure(&call(&["--call=outlin"])?, 2, &["outline", "targets"])?;
    expect_failure(&call(&["--print=outline"])?, 2, &["--print"])
}
