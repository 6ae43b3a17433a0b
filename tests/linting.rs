//! `bake lint` on files, directories and standard input: where its settings come from, what it writes, how it ends.

mod support;

use std::process::ExitCode;

use bake_testkit::program::{Finished, run_with_input};
use serde_json::Value;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish};

const TESTS: &[Test] = &[
    ("directories_are_searched_and_files_named", &[], files),
    ("a_broken_file_does_not_hide_the_others", &[], broken_files),
    ("the_nearest_settings_hold_for_each_file", &[], nearest_settings),
    ("the_file_of_hadolint_holds_where_there_is_no_other", &[], hadolint_settings),
    ("variables_stand_for_options", &[], variables),
    ("levels_decide_the_exit_code", &[], levels),
    ("standard_input_has_a_name", &[], standard_input),
    ("profiles_choose_rules_and_severities", &[], profiles),
    ("rules_are_listed_and_counted", &[], lists),
    ("shellcheck_is_run_when_it_is_asked_for", &["shellcheck"], shellcheck),
    ("findings_are_written_in_every_form", &[], forms),
    ("mistakes_on_the_command_line_are_code_2", &[], mistakes),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// `bake lint` in a scratch directory, with these variables.
fn lint_with(
    environment: &Environment,
    scratch: &Scratch,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Finished, String> {
    let mut command = environment.command(&scratch.store());
    command.arg("lint").args(arguments).current_dir(scratch.path()).env("HOME", scratch.path().join("home"));
    finish(command.envs(variables.iter().copied()))
}

fn lint(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<Finished, String> {
    lint_with(environment, scratch, &[], arguments)
}

/// File, line and rule of each finding of `bake lint --format json`.
fn found(finished: &Finished) -> Result<Vec<(String, u64, String)>, String> {
    let list: Vec<Value> = serde_json::from_slice(&finished.stdout)
        .map_err(|error| format!("{error}: {}\n{}", String::from_utf8_lossy(&finished.stdout), finished.stderr))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(list.iter().map(|one| (text(&one["file"]), one["line"].as_u64().unwrap_or(0), text(&one["rule"]))).collect())
}

/// The files with a finding of `sudo`.
fn with_sudo(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<Vec<String>, String> {
    let all = [&["--format", "json"], arguments].concat();
    let found = found(&lint(environment, scratch, &all)?)?;
    Ok(found.into_iter().filter(|(_, _, rule)| rule == "sudo").map(|(file, _, _)| file).collect())
}

const SUDO: &str = "FROM debian:12\nRUN sudo make\nUSER 1000\n";

fn files(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for path in
        ["Dockerfile", "b/Dockerfile.dev", "a/api.Dockerfile", "a/Dockerfile.dockerignore", "old/Dockerfile", "notes"]
    {
        scratch.write(path, SUDO)?;
    }
    scratch.write(".gitignore", "old\n")?;
    let of = |arguments: &[&str]| with_sudo(environment, &scratch, arguments);
    equal(&of(&[])?, &vec!["Dockerfile".to_owned()], "without a name")?;
    equal(&of(&["."])?.join(" ").as_str(), &"Dockerfile a/api.Dockerfile b/Dockerfile.dev", "a directory")?;
    equal(
        &of(&["notes", "old/Dockerfile", "a", "a/api.Dockerfile"])?.join(" ").as_str(),
        &"notes old/Dockerfile a/api.Dockerfile",
        "names",
    )?;
    equal(
        &of(&["*/*ocker*"])?.join(" ").as_str(),
        &"a/Dockerfile.dockerignore a/api.Dockerfile b/Dockerfile.dev",
        "a pattern",
    )?;
    equal(
        &of(&[".", "--exclude", "a,Dockerfile"])?.join(" ").as_str(),
        &"b/Dockerfile.dev",
        "without what is excluded",
    )?;
    equal(&of(&["a/api.Dockerfile", "--exclude", "a"])?.len(), &1, "files named although they are excluded")?;
    // Many files, on several threads, in order.
    let mut names = Vec::new();
    for number in 0..40 {
        let name = format!("many/{number:02}.Dockerfile");
        scratch.write(&name, SUDO)?;
        names.push(name);
    }
    equal(&of(&["many"])?, &names, "many files")
}

fn broken_files(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("a/Dockerfile", SUDO)?;
    scratch.write("c/Dockerfile", SUDO)?;
    scratch.write("b/Dockerfile", "")?;
    std::fs::write(scratch.path().join("b/Dockerfile"), b"FROM x\n\xff\n").map_err(|error| error.to_string())?;
    let finished = lint(environment, &scratch, &["--format", "json", "--select", "sudo", "."])?;
    expect_failure(&finished, 2, &["b/Dockerfile", "not UTF-8 (line 2)"])?;
    let files: Vec<String> = found(&finished)?.into_iter().map(|(file, _, _)| file).collect();
    equal(&files.join(" ").as_str(), &"a/Dockerfile c/Dockerfile", "files with findings")?;
    expect_failure(&lint(environment, &scratch, &["nowhere", "a"])?, 2, &["nowhere"])
}

fn nearest_settings(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for path in ["Dockerfile", "quiet/x/Dockerfile", "tests/Dockerfile"] {
        scratch.write(path, SUDO)?;
    }
    scratch.write("bake.toml", "[lint]\nexclude = [\"gone\"]\n[lint.per-file-ignores]\n\"tests/**\" = [\"sudo\"]\n")?;
    scratch.write("gone/Dockerfile", SUDO)?;
    scratch.write("quiet/.bake-lint.toml", "ignore = [\"DL3004\"]\n")?;
    equal(&with_sudo(environment, &scratch, &["."])?.join(" ").as_str(), &"Dockerfile", "files with findings")?;
    let all = "Dockerfile gone/Dockerfile quiet/x/Dockerfile tests/Dockerfile";
    equal(&with_sudo(environment, &scratch, &["--no-config", "."])?.join(" ").as_str(), &all, "without settings")?;
    let one = with_sudo(environment, &scratch, &["--config", "quiet/.bake-lint.toml", "tests"])?;
    equal(&one.len(), &0, "findings by the file that was named")?;
    scratch.write("quiet/.bake-lint.toml", "ingore = []\n")?;
    let broken = lint(environment, &scratch, &["."])?;
    expect_failure(&broken, 2, &["quiet/.bake-lint.toml", "`ingore`", "did you mean `ignore`?"])?;
    scratch.write("bake.toml", "[lint]\nextend-select = [\"sudoo\"]\n")?;
    expect_failure(&lint(environment, &scratch, &[])?, 2, &["bake.toml", "no rule `sudoo`", "did you mean `sudo`?"])
}

fn hadolint_settings(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("a/Dockerfile", "FROM debian\nRUN sudo make\nUSER 1000\n")?;
    scratch.write(
        ".hadolint.yaml",
        "ignored: [DL3006]\noverride:\n  style: [DL3004]\nfailure-threshold: style\nnew-key: 1\n",
    )?;
    let finished = lint(environment, &scratch, &["--format", "json", "a"])?;
    equal(&finished.code, &Some(1), "exit code by its threshold")?;
    check(finished.stderr.contains("the key `new-key` is not known"), || finished.stderr.clone())?;
    let findings = String::from_utf8_lossy(&finished.stdout).into_owned();
    check(findings.contains("\"severity\": \"style\"") && !findings.contains("image-tag-missing"), || {
        findings.clone()
    })?;
    scratch.write("a/bake.toml", "[lint]\n")?;
    let own = lint(environment, &scratch, &["--format", "json", "a"])?;
    let findings = String::from_utf8_lossy(&own.stdout).into_owned();
    check(findings.contains("image-tag-missing"), || findings.clone())?;
    // In the directory of the user, as the last place.
    std::fs::remove_file(scratch.path().join(".hadolint.yaml")).map_err(|error| error.to_string())?;
    std::fs::remove_file(scratch.path().join("a/bake.toml")).map_err(|error| error.to_string())?;
    scratch.write("home/.config/hadolint.yml", "ignored:\n- DL3004\n")?;
    equal(&with_sudo(environment, &scratch, &["a"])?.len(), &0, "findings by the user's file")
}

fn variables(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", SUDO)?;
    let run = |variables: &[(&str, &str)], arguments: &[&str]| lint_with(environment, &scratch, variables, arguments);
    let ignored = [("BAKE_LINT_IGNORE", "sudo"), ("BAKE_LINT_FORMAT", "json"), ("BAKE_LINT_SELECT", "")];
    let rules: Vec<String> = found(&run(&ignored, &[])?)?.into_iter().map(|(_, _, rule)| rule).collect();
    check(!rules.contains(&"sudo".to_owned()), || format!("{rules:?}"))?;
    equal(
        &found(&run(&ignored, &["--ignore", "maintainer", "--select", "sudo"])?)?.len(),
        &1,
        "findings of what was typed",
    )?;
    equal(&run(&[("BAKE_LINT_NO_FAIL", "true")], &[])?.code, &Some(0), "exit code without failing")?;
    expect_failure(&run(&[("BAKE_LINT_NO_FAIL", "perhaps")], &[])?, 2, &["BAKE_LINT_NO_FAIL", "perhaps"])?;
    expect_failure(&run(&[("BAKE_LINT_PROFILE", "hard")], &[])?, 2, &["hard", "strict"])
}

fn levels(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", SUDO)?;
    for (arguments, code) in [
        (&["--severity", "sudo=style"][..], 0),
        (&["--severity", "sudo=style", "--fail-level", "style"], 1),
        (&["--severity", "sudo=error", "--fail-level", "error"], 1),
        (&["--severity", "sudo=error", "--failure-threshold", "none"], 0),
        (&["--severity", "sudo=error", "--no-fail"], 0),
        (&["--fail-level", "error"], 0),
        (&[], 1),
    ] {
        let all = [&["--select", "DL3004"], arguments].concat();
        equal(&lint(environment, &scratch, &all)?.code, &Some(code), &format!("exit code of {arguments:?}"))?;
    }
    scratch.write("Dockerfile", "FROM debian:12\nRNU x\n")?;
    equal(
        &lint(environment, &scratch, &["--fail-level", "none"])?.code,
        &Some(0),
        "exit code of a mistake that is let pass",
    )
}

fn standard_input(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("a/.bake-lint.toml", "ignore = [\"user-root\"]\n")?;
    let run = |arguments: &[&str]| -> Result<Finished, String> {
        let mut command = environment.command(&scratch.store());
        command.args(["lint", "--format", "json"]).args(arguments).current_dir(scratch.path());
        let input = b"FROM debian:12\nRUN sudo make\n".to_vec();
        run_with_input(&mut command, input).map_err(|error| error.to_string())
    };
    let plain = found(&run(&["-"])?)?;
    check(plain.iter().any(|(file, _, rule)| file == "<stdin>" && rule == "user-root"), || format!("{plain:?}"))?;
    let named = found(&run(&["-", "--stdin-filename", "a/Dockerfile"])?)?;
    check(named.iter().all(|(file, _, _)| file == "a/Dockerfile"), || format!("{named:?}"))?;
    check(!named.iter().any(|(_, _, rule)| rule == "user-root"), || format!("{named:?}"))?;
    scratch.write("Dockerfile", SUDO)?;
    expect_failure(&run(&["--stdin-filename", "a/Dockerfile"])?, 2, &["--stdin-filename"])
}

fn profiles(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write(
        "Dockerfile",
        "FROM ubuntu:14.04\nRUN apt-get update && apt-get install -y --no-install-recommends make\nUSER 1000\n",
    )?;
    let severities = |profile: &str| -> Result<Vec<(String, String)>, String> {
        let finished = lint(environment, &scratch, &["--format", "json", "--profile", profile])?;
        let list: Vec<Value> = serde_json::from_slice(&finished.stdout).map_err(|error| error.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(list.iter().map(|one| (text(&one["rule"]), text(&one["severity"]))).collect())
    };
    let has =
        |list: &[(String, String)], rule: &str, severity: &str| list.contains(&(rule.to_owned(), severity.to_owned()));
    let default = severities("default")?;
    check(has(&default, "eol-base-image", "warning") && !has(&default, "pkg-version-unpinned", "warning"), || {
        format!("{default:?}")
    })?;
    let strict = severities("strict")?;
    check(
        has(&strict, "eol-base-image", "error") && strict.iter().any(|(rule, _)| rule == "image-digest-missing"),
        || format!("{strict:?}"),
    )?;
    let hadolint = severities("hadolint")?;
    check(
        has(&hadolint, "pkg-version-unpinned", "warning") && !hadolint.iter().any(|(rule, _)| rule == "eol-base-image"),
        || format!("{hadolint:?}"),
    )?;
    let old = lint(environment, &scratch, &["--format", "json", "--edition", "2025"])?;
    equal(&found(&old)?.len(), &0, "findings of rules older than all")
}

fn lists(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", "FROM debian:12\nRUN sudo make\nRUN sudo make install\nUSER 1000\n")?;
    let text = lint(environment, &scratch, &["--list-rules", "--ignore", "sudo"])?.success()?.text();
    let sudo = text.lines().find(|line| line.starts_with("sudo ")).unwrap_or_default();
    check(sudo.contains(" off "), || sudo.to_owned())?;
    let listed = lint(environment, &scratch, &["--list-rules", "--format", "json"])?.success()?;
    let rules: Vec<Value> = serde_json::from_slice(&listed.stdout).map_err(|error| error.to_string())?;
    check(rules.iter().any(|rule| rule["rule"] == "sudo" && rule["enabled"] == true), || text.clone())?;
    expect_failure(&lint(environment, &scratch, &["--list-rules", "--format", "sarif"])?, 2, &["json"])?;
    let counts = lint(environment, &scratch, &["--statistics", "--select", "sudo"])?.text();
    check(counts.contains("2  warning  sudo"), || counts.clone())?;
    let counts = lint(environment, &scratch, &["--statistics", "--select", "sudo", "--format", "json"])?;
    let counts: Value = serde_json::from_slice(&counts.stdout).map_err(|error| error.to_string())?;
    equal(&counts[0]["count"].as_u64(), &Some(2), "count")
}

/// The remarks of the real program, with their places, hidden by comments and by options, and not beside a rule of the same number.
fn shellcheck(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM debian:12\nARG given\nRUN true && \\\n  # comment\n  ls | grep \"$given\"\nRUN <<E\nset -e\nls | grep y\nE\n\
                RUN [\"bash\", \"-c\", \"ls | grep y\"]\n# hadolint ignore=SC2010\nRUN ls | grep x\nRUN cd /x; make\nUSER 1\n";
    scratch.write("Dockerfile", text)?;
    let lines = |arguments: &[&str]| {
        let all = [&["--format", "json", "--shellcheck"], arguments].concat();
        let finished = lint(environment, &scratch, &all)?;
        let found = found(&finished)?;
        Ok::<_, String>(
            found.into_iter().filter(|(_, _, rule)| rule == "shellcheck").map(|(_, line, _)| line).collect::<Vec<_>>(),
        )
    };
    equal(&lines(&[])?, &vec![5, 8, 10], "lines")?;
    equal(&lines(&["--ignore", "SC2010"])?, &vec![], "ignored")?;
    let without = found(&lint(environment, &scratch, &["--format", "json"])?)?;
    check(without.iter().all(|(_, _, rule)| rule != "shellcheck"), || "ShellCheck ran unasked".to_owned())
}

fn forms(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", SUDO)?;
    for (format, part) in [
        ("text", "^^^^"),
        ("json", "\"rule\": \"sudo\""),
        ("sarif", "\"ruleId\": \"sudo\""),
        ("github", "::warning file=Dockerfile,line=2,"),
        ("gitlab", "\"check_name\": \"sudo\""),
        ("gnu", "Dockerfile:2:5: warning: "),
        ("checkstyle", "source=\"bake.sudo\""),
        ("junit", "name=\"sudo (2:5)\""),
        ("codeclimate", "\"check_name\":\"sudo\""),
        ("sonarqube", "\"ruleId\": \"sudo\""),
        ("codacy", "\"patternId\":\"sudo\""),
    ] {
        let shown = lint(environment, &scratch, &["--format", format, "--select", "sudo"])?;
        equal(&shown.code, &Some(1), format)?;
        check(shown.text().contains(part), || format!("{format}: {}", shown.text()))?;
        let file = scratch.at("out");
        let written = lint(environment, &scratch, &["--format", format, "--select", "sudo", "--output", &file])?;
        equal(&written.text().as_str(), &"", "standard output of what goes to a file")?;
        let text = std::fs::read(scratch.path().join("out")).map_err(|error| error.to_string())?;
        equal(&String::from_utf8_lossy(&text), &String::from_utf8_lossy(&shown.stdout), format)?;
    }
    let workflow = |arguments: &[&str]| lint_with(environment, &scratch, &[("GITHUB_ACTIONS", "true")], arguments);
    check(workflow(&[])?.text().starts_with("::"), || "a workflow of GitHub gets no annotations".into())?;
    check(workflow(&["--format", "text"])?.text().contains("^^^^"), || "text that was asked for".into())?;
    check(workflow(&["--list-rules"])?.text().contains("sudo"), || "rules in a workflow".into())
}

fn mistakes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", SUDO)?;
    scratch.write("empty/readme", "")?;
    for (arguments, words) in [
        (&["--select", "sudoo"][..], &["no rule `sudoo`", "did you mean `sudo`?"][..]),
        (&["--select", "CKV_DOCKER_99"], &["no rule `CKV_DOCKER_99`", "Checkov"]),
        (&["--severity", "sudo"], &["RULE=LEVEL"]),
        (&["--severity", "sudo=fatal"], &["fatal"]),
        (&["--profile", "hard"], &["hard"]),
        (&["--config", "nowhere.toml"], &["nowhere.toml", "no such file"]),
        (&["--config", "nowhere.toml", "--no-config"], &["--no-config"]),
        (&["--require-label", "a:number"], &["number", "semver"]),
        (&["--exclude", "a["], &["a["]),
        (&["--explain", "sudoo"], &["did you mean `sudo`?"]),
        (&["--shellcheck=./nowhere"], &["./nowhere", "--shellcheck", "package `shellcheck`"]),
        (&["--shellcheck=/bin/true"], &["/bin/true", "does not say that it is ShellCheck"]),
        (&["empty"], &["no Dockerfile in `empty`"]),
        (&["*.none"], &["nothing matches `*.none`"]),
        (&["--statistics", "--format", "sarif"], &["--statistics"]),
    ] {
        let finished = lint(environment, &scratch, arguments)?;
        expect_failure(&finished, 2, words).map_err(|problem| format!("{arguments:?}: {problem}"))?;
    }
    Ok(())
}
