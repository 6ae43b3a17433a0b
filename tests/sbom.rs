//! `bake sbom` from the outside: what is listed is what the image's files say, all layers together.

mod support;

use std::process::ExitCode;

use serde_json::Value;
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("packages_of_all_layers_are_listed", &[], listed),
    ("documents_are_the_same_each_time", &[], reproducible),
    ("what_cannot_be_listed_is_told", &[], told),
];

/// Two layers with packages of two databases; what a later layer removed is not there.
const DOCKERFILE: &str = "FROM busybox\n\
    COPY one/ /\n\
    COPY two/ /\n\
    RUN rm -r /lib/apk && ln -s / /var/loop\n";
const STATUS: &str = "Package: first\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n";

fn main() -> ExitCode {
    support::run(TESTS)
}

/// A store with the image `app:1`.
fn built(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    scratch.write("context/one/etc/os-release", "ID=debian\nVERSION_ID=12\n")?;
    scratch.write("context/one/var/lib/dpkg/status", STATUS)?;
    scratch.write("context/one/var/lib/dpkg/info/first.list", "")?;
    scratch.write("context/one/lib/apk/db/installed", "P:removed\nV:1\n")?;
    let second = STATUS.replace("first", "second");
    scratch.write("context/two/var/lib/dpkg/status", format!("{STATUS}\n{second}"))?;
    scratch.write("context/two/var/lib/dpkg/info/second.list", "")?;
    let mut command = environment.build(&scratch.store());
    command.args(["--tag", "app:1"]).arg(scratch.at("context"));
    succeed(&mut command)?;
    Ok(scratch)
}

fn sbom(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    succeed(environment.command(&scratch.store()).arg("sbom").args(arguments)).map(|finished| finished.text())
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

fn listed(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let table = sbom(environment, &scratch, &["app:1"])?;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected =
        vec![vec!["NAME", "VERSION", "TYPE", "LICENCE"], vec!["first", "1", "deb"], vec!["second", "1", "deb"]];
    equal(&rows, &expected, "the table")?;

    let document = json(&sbom(environment, &scratch, &["--format", "cyclonedx-json", "app:1"])?)?;
    let inspected = json(&succeed(environment.command(&scratch.store()).args(["inspect", "app:1"]))?.text())?;
    let layers = inspected[0]["RootFS"]["Layers"].as_array().ok_or("no layers")?.clone();
    let layer_of = |name: &str| {
        let components = document["components"].as_array().into_iter().flatten();
        let found = components.filter(|component| component["name"] == name).flat_map(|component| {
            component["properties"].as_array().into_iter().flatten().filter(|property| property["name"] == "bake:layer")
        });
        found.map(|property| property["value"].clone()).next().unwrap_or_default()
    };
    // The status file is of the upper layer, but the first package came with the lower one.
    let below = layers.len().checked_sub(3).ok_or("too few layers")?;
    equal(&layer_of("first"), &layers[below], "the layer of the first")?;
    equal(&layer_of("second"), &layers[below + 1], "the layer of the second")
}

fn reproducible(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    for format in ["spdx-json", "cyclonedx-json"] {
        let printed = sbom(environment, &scratch, &["--format", format, "app:1"])?;
        let path = scratch.at("document.json");
        let nothing = sbom(environment, &scratch, &["--format", format, "--output", &path, "app:1"])?;
        equal(&nothing, &String::new(), "standard output")?;
        let written = scratch.read("document.json")?;
        check(written.trim_end() == printed.trim_end(), || format!("the file differs: {written}"))?;
        check(printed.contains("2023-11-14T22:13:20Z"), || {
            format!("another time than that of the environment: {printed}")
        })?;
    }
    let mut other = environment.command(&scratch.store());
    other.env("SOURCE_DATE_EPOCH", "86400").args(["sbom", "-f", "spdx", "app:1"]);
    let document = json(&succeed(&mut other)?.text())?;
    equal(&document["creationInfo"]["created"], &Value::from("1970-01-02T00:00:00Z"), "the time")
}

fn told(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let run = |arguments: &[&str]| finish(environment.command(&scratch.store()).arg("sbom").args(arguments));
    expect_failure(&run(&["nothing:1"])?, 2, &["no such image: nothing:1", "bake pull nothing:1"])?;
    expect_failure(&run(&["--format", "xml", "app:1"])?, 2, &["xml", "spdx-json"])?;
    expect_failure(&run(&["--platform", "linux/s390x", "app:1"])?, 2, &["not in the store for linux/s390x"])?;
    scratch.write("damaged/Dockerfile", "FROM app:1\nCOPY status /var/lib/dpkg/status\n")?;
    scratch.write("damaged/status", format!("Package: x\nStatus: install ok installed\n\n{STATUS}"))?;
    succeed(environment.command(&scratch.store()).args(["build", "-q", "-t", "damaged"]).arg(scratch.at("damaged")))?;
    let finished = run(&["damaged"])?;
    check(finished.stderr.contains("`/var/lib/dpkg/status` is left out"), || finished.stderr.clone())?;
    check(finished.text().contains("first"), || finished.text())
}
