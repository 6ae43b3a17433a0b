//! What is given to users besides the program: the image of bake, and its Debian package.

mod support;

use std::path::Path;
use std::process::{Command, ExitCode};

use support::{Environment, Outcome, SOURCE_DATE_EPOCH, Scratch, Test, check, equal, finish, succeed};

const TESTS: &[Test] = &[
    ("the_dockerfile_of_bake_has_no_findings", &[], dockerfile),
    ("the_image_of_bake_runs_it_as_an_ordinary_user", &["ldd"], image),
    ("the_context_of_bakes_image_is_what_cargo_needs", &[], context),
    ("the_package_is_installed_builds_and_is_removed", &["root", "dpkg"], package),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// The root of the repository.
fn repository() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

fn dockerfile(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let finished = succeed(environment.command(&scratch.store()).arg("lint").current_dir(repository()))?;
    equal(&finished.text().as_str(), &"", "findings")?;
    check(!finished.stderr.contains("warning"), || finished.stderr.clone())
}

/// The files of the final stage: the program, which may need libraries when it was compiled for tests, and certificates.
fn files(environment: &Environment, scratch: &Scratch) -> Outcome {
    let libraries = succeed(Command::new("ldd").arg(&environment.bake))?.text();
    let words = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for library in words {
        let bytes = std::fs::read(library).map_err(|error| format!("{library}: {error}"))?;
        let name = format!("files{library}");
        scratch.write(&name, bytes)?;
        succeed(Command::new("chmod").arg("755").arg(scratch.at(&name)))?;
    }
    scratch.write("files/etc/ssl/certs/ca-certificates.crt", "# none\n")?;
    scratch.write("files/usr/bin/bake", std::fs::read(&environment.bake).map_err(|error| error.to_string())?)?;
    succeed(Command::new("chmod").arg("755").arg(scratch.at("files/usr/bin/bake"))).map(drop)
}

fn image(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    files(environment, &scratch)?;
    let context = format!("files={}", scratch.at("files"));
    let arguments = ["--tag", "bake:test", "--build-context", &context, "."];
    succeed(environment.build(&scratch.store()).args(arguments).current_dir(repository()))?;
    let run = |arguments: &[&str]| {
        let mut command = environment.command(&scratch.store());
        finish(command.args(["run", "--rm"]).args(arguments))
    };
    let version = run(&["bake:test", "--version"])?.success()?.text();
    equal(&version.trim(), &concat!("bake ", env!("CARGO_PKG_VERSION")), "what the program in the image says")?;
    check(run(&["bake:test"])?.success()?.text().contains("Supply chain:"), || "without arguments, no help".into())?;

    let inspected = succeed(environment.command(&scratch.store()).args(["inspect", "bake:test"]))?.text();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).map_err(|error| error.to_string())?;
    let config = &inspected[0]["Config"];
    equal(&config["User"].as_str(), &Some("1000:1000"), "user")?;
    equal(&config["Labels"]["org.opencontainers.image.licenses"].as_str(), &Some("Apache-2.0"), "licence")?;
    check(config["Volumes"]["/var/lib/bake"].is_object(), || format!("volumes: {}", config["Volumes"]))?;

    // Its directories belong to its user, who has to write there.
    let listing = succeed(
        environment
            .build(&scratch.store())
            .args(["--quiet", "--output", "-"])
            .args(arguments)
            .current_dir(repository()),
    )?;
    let owner = |name: &str| header_of(&listing.stdout, name).ok_or_else(|| format!("{name} is not in the image"));
    for directory in ["tmp/", "var/lib/bake/", "home/bake/"] {
        equal(&owner(directory)?, &1000, directory)?;
    }
    equal(&owner("usr/bin/bake")?, &0, "the program")
}

/// The owner of an entry of a tar archive.
fn header_of(archive: &[u8], name: &str) -> Option<u32> {
    let header = archive.chunks(512).find(|block| {
        block.starts_with(name.as_bytes()) && block.get(name.len()) == Some(&0) && block.get(257..262) == Some(b"ustar")
    })?;
    u32::from_str_radix(std::str::from_utf8(header.get(108..115)?).ok()?.trim_end_matches('\0'), 8).ok()
}

fn context(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("Dockerfile", "FROM scratch\nCOPY . /\n")?;
    let ignored = std::fs::read(repository().join(".dockerignore")).map_err(|error| error.to_string())?;
    scratch.write("Dockerfile.dockerignore", ignored)?;
    let copied = scratch.at("copied");
    let arguments = ["--quiet", "--file", &scratch.at("Dockerfile"), "--output", &copied, "."];
    succeed(environment.build(&scratch.store()).args(arguments).current_dir(repository()))?;
    // Manifests name files of benchmarks and tests, and cargo looks for all of them.
    let metadata = ["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"];
    succeed(Command::new(env!("CARGO")).args(metadata).current_dir(&copied))?;
    for (name, there) in [(".dockerignore.example", true), ("README.md", false), ("target", false), ("testdata", false)]
    {
        equal(&scratch.path().join("copied").join(name).exists(), &there, name)?;
    }
    Ok(())
}

fn package(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let (program, output) = (environment.bake.display().to_string(), scratch.at("dist"));
    let arguments = ["run", "--quiet", "--package", "xtask", "--", "dist", "--only", "deb", "--program", &program];
    let mut dist = Command::new(env!("CARGO"));
    // What this cargo tells its tests, some crates take for a reason to be compiled again.
    let told = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_BIN_")
    });
    for name in told {
        dist.env_remove(name);
    }
    dist.args(arguments).args(["--output", &output]).env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH);
    succeed(dist.current_dir(repository()))?;
    succeed(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&output))?;
    let sums = scratch.read("dist/SHA256SUMS")?;
    let (_, package) = sums.trim_end().split_once("  ").ok_or("there is no checksum")?;
    let package = format!("{output}/{package}");

    // A system with nothing in it. It has no libraries either, so what the program of tests needs is not looked for.
    for directory in ["updates", "info", "triggers"] {
        std::fs::create_dir_all(scratch.path().join("system/var/lib/dpkg").join(directory))
            .map_err(|error| error.to_string())?;
    }
    scratch.write("system/var/lib/dpkg/status", "")?;
    let system = format!("--root={}", scratch.at("system"));
    let dpkg = |arguments: &[&str]| {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        finish(Command::new("dpkg").args([&system, "--force-depends"]).args(arguments).env("PATH", path))
    };
    dpkg(&["--install", &package])?.success()?;
    let status = dpkg(&["--status", "bake"])?.success()?.text();
    check(
        status.contains("Status: install ok installed")
            && status.contains("Recommends: ca-certificates, passt, uidmap"),
        || status.clone(),
    )?;
    let installed = scratch.path().join("system/usr");
    for name in [
        "share/bash-completion/completions/bake",
        "share/doc/bake/changelog.Debian.gz",
        "share/doc/bake/copyright",
        "share/doc/bake/licenses-third-party.gz",
        "share/fish/vendor_completions.d/bake.fish",
        "share/man/man1/bake-build.1.gz",
        "share/zsh/vendor-completions/_bake",
    ] {
        check(installed.join(name).is_file(), || format!("/usr/{name} is not there"))?;
    }

    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo hello > /hello\n")?;
    let mut build = Command::new(installed.join("bin/bake"));
    build.arg("--root").arg(scratch.store()).args(["build", "--tag", "hello:1"]).args(environment.base_flags());
    let finished = succeed(build.arg(scratch.at("context")))?;
    check(finished.text().starts_with("sha256:"), || finished.text())?;

    dpkg(&["--remove", "bake"])?.success()?;
    check(!installed.exists(), || "removing the package leaves files in /usr".into())
}
