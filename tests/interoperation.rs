//! Other programs take every kind of image that bake writes, and bake takes theirs.

mod support;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bake_testkit::busybox;
use libtest_mimic::Arguments;

use support::debian_registry::{PASSWORD, log_in, start_debians};
use support::engines::{Buildah, Docker, Podman, credentials, no_docker};
use support::{Environment, Outcome, Scratch, Test, check, equal, succeed, trial};

const TESTS: &[Test] = &[
    ("skopeo_takes_every_kind_of_output", &["skopeo"], skopeo),
    ("umoci_unpacks_layouts_and_podmans_images_of_all_platforms", &["root", "umoci", "skopeo"], umoci),
    ("podman_runs_every_kind_of_output", &["root", "podman", "runc"], podman),
    ("podman_builds_on_images_of_bake", &["root", "podman", "runc"], podman_builds),
    ("buildah_builds_on_images_of_bake", &["root", "buildah"], buildah_builds),
    ("images_of_buildah_are_read", &["root", "buildah"], buildah_made),
    (
        "a_registry_stands_between",
        &["root", "docker-registry", "htpasswd", "podman", "buildah", "skopeo", "runc"],
        registry,
    ),
];

const DOCKER_TESTS: &[Test] = &[
    ("docker_runs_every_kind_of_archive", &[], docker),
    ("images_of_buildkit_are_read", &["docker-registry", "htpasswd"], buildkit_made),
];

fn main() -> ExitCode {
    let environment = match Environment::new() {
        Ok(environment) => Arc::new(environment),
        Err(problem) => return support::failed_to_start(&problem),
    };
    let mut trials = support::trials(TESTS, &environment);
    let docker = no_docker();
    for (name, needs, test) in DOCKER_TESTS {
        let obstacle = docker.clone().or_else(|| environment.obstacle(needs));
        let environment = Arc::clone(&environment);
        trials.push(trial(name, obstacle, move || test(&environment)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What the images of these tests say when they run.
const SAID: &str = "made by a step";

/// An image with a layer of each kind: files of the context, files of a step with odd owners and modes, a deletion.
const DOCKERFILE: &str = "FROM busybox\n\
    COPY file /copied\n\
    RUN echo made by a step > /made && chown 7:8 /made && chmod 4755 /made && ln /made /linked && rm /copied && mkdir -m 1777 /d\n\
    ENV WHO=bake\n\
    LABEL made.by=bake\n\
    CMD [\"cat\", \"/linked\"]\n";

/// What is built once: `docker.tar`, `oci.tar`, `layout`, and archives with layers in other compressions.
const OUTPUTS: [&str; 8] = [
    "type=docker,dest=docker.tar",
    "type=oci,dest=oci.tar",
    "type=oci,tar=false,dest=layout",
    "type=oci,dest=zstd.tar,compression=zstd",
    "type=oci,dest=plain.tar,compression=uncompressed",
    "type=docker,dest=docker-plain.tar,compression=uncompressed",
    "type=oci,dest=estargz.tar,compression=estargz,force-compression=true",
    "type=docker,dest=docker-estargz.tar,compression=estargz,force-compression=true",
];

/// A scratch directory with an image as `app:1` in the store, and in every kind of output.
fn image(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    scratch.write("context/file", "copied\n")?;
    let mut command = environment.build(&scratch.store());
    command.args(OUTPUTS.iter().flat_map(|output| ["--output", *output])).args([
        "--output",
        "type=image",
        "--tag",
        "app:1",
    ]);
    succeed(command.arg(scratch.at("context")).current_dir(scratch.path()))?;
    Ok(scratch)
}

/// What `bake` says when it succeeds.
fn said(environment: &Environment, scratch: &Scratch, words: &[&str]) -> Result<String, String> {
    let mut command = environment.command(&scratch.store());
    command.args(words).current_dir(scratch.path()).env("DOCKER_CONFIG", scratch.path());
    succeed(&mut command).map(|finished| finished.text()).map_err(|error| format!("{words:?}: {error}"))
}

/// An index over two platforms as `both.tar` and in `both`.
fn two_platforms(environment: &Environment, scratch: &Scratch) -> Outcome {
    scratch.write("both/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n")?;
    scratch.write("both/file", "content\n")?;
    let mut command = environment.build(&scratch.store());
    command.args(["--platform", "linux/amd64,linux/arm64", "--tag", "both:1", "--output", "type=oci,dest=both.tar"]);
    command.args(["--output", "type=oci,tar=false,dest=both-layout", "--output", "type=image"]);
    succeed(command.arg(scratch.at("both")).current_dir(scratch.path())).map(drop)
}

fn skopeo_copy(scratch: &Scratch, words: &[&str]) -> Outcome {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "-q"]).args(words).current_dir(scratch.path());
    credentials(&mut command, scratch);
    succeed(&mut command).map(drop)
}

fn skopeo(environment: &Environment) -> Outcome {
    let scratch = image(environment)?;
    two_platforms(environment, &scratch)?;
    said(environment, &scratch, &["save", "-o", "saved.tar", "app:1"])?;
    said(environment, &scratch, &["save", "--format", "oci-dir", "-o", "saved", "app:1", "both:1"])?;
    for source in [
        "docker-archive:docker.tar",
        "docker-archive:docker-plain.tar",
        "docker-archive:saved.tar",
        "oci-archive:docker.tar",
        "oci-archive:oci.tar",
        "oci-archive:zstd.tar",
        "oci-archive:plain.tar",
        "oci-archive:estargz.tar",
        "docker-archive:docker-estargz.tar",
        "oci:layout",
    ] {
        skopeo_copy(&scratch, &[source, "dir:copy"]).map_err(|error| format!("{source}: {error}"))?;
    }
    for source in ["oci-archive:both.tar", "oci:both-layout"] {
        skopeo_copy(&scratch, &["--all", source, "dir:copy"]).map_err(|error| format!("{source}: {error}"))?;
    }
    // And back: what skopeo writes is read.
    for (target, words) in [
        ("docker-archive:theirs.tar:app:2", &["load", "-i", "theirs.tar"][..]),
        ("oci-archive:theirs-oci.tar:app:3", &["load", "-i", "theirs-oci.tar"]),
        ("oci:theirs:app:4", &["load", "-i", "theirs"]),
    ] {
        skopeo_copy(&scratch, &["oci:layout", target])?;
        let loaded = said(environment, &scratch, words)?;
        check(loaded.starts_with("Loaded image: app:"), || format!("{target}: {loaded}"))?;
    }
    for tag in ["app:2", "app:3", "app:4"] {
        equal(&said(environment, &scratch, &["run", "--rm", tag])?.as_str(), &SAID, tag)?;
    }
    // An archive that names one platform of two, and all of them.
    skopeo_copy(&scratch, &["--all", "oci:both-layout", "oci:back:both:5"])?;
    said(environment, &scratch, &["load", "-i", "back"])?;
    let tree = said(environment, &scratch, &["images", "--tree", "both:5"])?;
    check(tree.contains("linux/arm64") && tree.contains("linux/amd64"), || tree.clone())
}

fn umoci(environment: &Environment) -> Outcome {
    let scratch = image(environment)?;
    two_platforms(environment, &scratch)?;
    for (image, file) in [("layout:1", "linked"), ("one:arm", "arm64")] {
        if image == "one:arm" {
            said(environment, &scratch, &["copy", "-q", "--platform", "linux/arm64", "store:both:1", "oci:one:arm"])?;
        }
        let mut unpack = Command::new("umoci");
        unpack.args(["unpack", "--image", image, "bundle"]).current_dir(scratch.path());
        succeed(&mut unpack)?;
        check(scratch.path().join("bundle/rootfs").join(file).exists(), || format!("{image} has no {file}"))?;
        check(!scratch.path().join("bundle/rootfs/copied").exists(), || "a deleted file is there".into())?;
        std::fs::remove_dir_all(scratch.path().join("bundle")).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn podman(environment: &Environment) -> Outcome {
    let scratch = image(environment)?;
    two_platforms(environment, &scratch)?;
    let podman = Podman(&scratch);
    for words in [
        &["load", "-q", "-i", "docker.tar"][..],
        &["load", "-q", "-i", "docker-plain.tar"],
        &["load", "-q", "-i", "oci.tar"],
        &["load", "-q", "-i", "zstd.tar"],
        &["load", "-q", "-i", "plain.tar"],
        &["load", "-q", "-i", "estargz.tar"],
        &["pull", "-q", "oci:layout"],
        &["pull", "-q", "docker-archive:docker.tar"],
    ] {
        let name = podman.load(words).map_err(|error| format!("{words:?}: {error}"))?;
        let text = podman.run(&name).map_err(|error| format!("{words:?}, {name}: {error}"))?;
        equal(&text.as_str(), &SAID, &format!("{words:?}"))?;
        succeed(&mut podman.command(&["rmi", "--all", "--force"]))?;
    }
    let name = podman.load(&["pull", "-q", "oci:both-layout"])?;
    succeed(&mut podman.command(&["image", "inspect", &name])).map(drop)
}

fn podman_builds(environment: &Environment) -> Outcome {
    let scratch = image(environment)?;
    let podman = Podman(&scratch);
    let name = podman.load(&["load", "-q", "-i", "docker.tar"])?;
    scratch.write("child/Dockerfile", format!("FROM {name}\nRUN cat /made > /child && stat -c %u:%g:%a /made > /owner\nCMD [\"cat\", \"/child\", \"/owner\"]\n"))?;
    let words = ["build", "-q", "--pull=never", "--isolation", "chroot", "-t", "child", "child"];
    succeed(&mut podman.command(&words))?;
    equal(&podman.run("child")?.as_str(), &"made by a step\n7:8:4755", "what the child says")?;
    // What podman built on it comes back.
    succeed(&mut podman.command(&["save", "-q", "--format", "oci-archive", "-o", "child.tar", "child"]))?;
    succeed(&mut podman.command(&["save", "-q", "-o", "child-docker.tar", "child"]))?;
    for archive in ["child.tar", "child-docker.tar"] {
        let loaded = said(environment, &scratch, &["load", "-q", "-i", archive])?;
        let name = loaded.rsplit(' ').next().unwrap_or_default().to_owned();
        equal(&said(environment, &scratch, &["run", "--rm", &name])?.as_str(), &"made by a step\n7:8:4755", archive)?;
    }
    Ok(())
}

fn buildah_builds(environment: &Environment) -> Outcome {
    let scratch = image(environment)?;
    let buildah = Buildah(&scratch);
    for source in [
        "oci:layout",
        "oci-archive:oci.tar",
        "oci-archive:zstd.tar",
        "oci-archive:estargz.tar",
        "docker-archive:docker.tar",
    ] {
        let container = buildah.said(&["from", "-q", source]).map_err(|error| format!("{source}: {error}"))?;
        equal(&buildah.said(&["run", &container, "cat", "/linked"])?.as_str(), &SAID, source)?;
        let labels =
            buildah.said(&["inspect", "--format", "{{index .OCIv1.Config.Labels \"made.by\"}}", &container])?;
        equal(&labels.as_str(), &"bake", "label")?;
    }
    buildah.said(&["rm", "-a"]).map(drop)
}

/// Makes an image with buildah, from nothing.
fn make_with_buildah(scratch: &Scratch, targets: &[(&str, &str)]) -> Outcome {
    let program = busybox::find(Path::new(env!("CARGO_TARGET_TMPDIR"))).map_err(|error| error.to_string())?;
    std::fs::copy(program, scratch.path().join("busybox")).map_err(|error| error.to_string())?;
    let buildah = Buildah(scratch);
    let container = buildah.said(&["from", "scratch"])?;
    buildah.said(&["copy", "-q", &container, "busybox", "/bin/busybox"])?;
    buildah.said(&["run", &container, "/bin/busybox", "--install", "-s", "/bin"])?;
    buildah.said(&[
        "run",
        &container,
        "sh",
        "-c",
        "echo made by a step > /made && chown 7:8 /made && ln /made /linked",
    ])?;
    buildah.said(&["config", "--cmd", "cat /linked", "--env", "WHO=buildah", &container])?;
    for (format, target) in targets {
        buildah.said(&["commit", "-q", "--tls-verify=false", "-f", format, &container, target])?;
    }
    buildah.said(&["rm", "-a"]).map(drop)
}

fn buildah_made(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_with_buildah(
        &scratch,
        &[
            ("oci", "oci:made:1"),
            ("oci", "oci-archive:made.tar:made:2"),
            ("docker", "docker-archive:made-docker.tar:made:3"),
            ("docker", "oci:made-v2:4"),
        ],
    )?;
    for words in
        [&["load", "-q", "-i", "made.tar"][..], &["load", "-q", "-i", "made-docker.tar"], &["load", "-q", "-i", "made"]]
    {
        let loaded = said(environment, &scratch, words)?;
        let name = loaded.rsplit(' ').next().unwrap_or_default().to_owned();
        let text =
            said(environment, &scratch, &["run", "--rm", &name]).map_err(|error| format!("{words:?}: {error}"))?;
        equal(&text.as_str(), &SAID, &format!("{words:?}"))?;
        equal(
            &said(environment, &scratch, &["inspect", "-f", "{{join .Config.Env \" \"}}", &name])?
                .contains("WHO=buildah"),
            &true,
            "variable",
        )?;
    }
    // As a base image.
    scratch.write(
        "child/Dockerfile",
        "FROM base\nRUN stat -c %u:%g /made > /owner\nCMD [\"cat\", \"/made\", \"/owner\"]\n",
    )?;
    for layout in ["made:1", "made-v2:4"] {
        let mut command = environment.build(&scratch.store());
        command.args(["--build-context", &format!("base=oci-layout://{}", scratch.at(layout)), "--tag", "child"]);
        succeed(command.arg(scratch.at("child")))?;
        equal(&said(environment, &scratch, &["run", "--rm", "child"])?.as_str(), &"made by a step\n7:8", layout)?;
    }
    Ok(())
}

fn registry(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let registry = start_debians(&place)?;
    let scratch = image(environment)?;
    two_platforms(environment, &scratch)?;
    log_in(&scratch, &registry.host, PASSWORD)?;
    let at = |name: &str| format!("{}/{name}", registry.host);
    // bake pushes, the others pull.
    for (name, target) in [("app:1", at("team/app:1")), ("both:1", at("team/both:1"))] {
        said(environment, &scratch, &["tag", name, &target])?;
        said(environment, &scratch, &["push", "-q", &target])?;
    }
    let mut build = environment.build(&scratch.store());
    let output = format!("type=image,name={},push=true,compression=zstd,force-compression=true", at("team/app:zstd"));
    build.args(["--output", &output]).env("DOCKER_CONFIG", scratch.path());
    succeed(build.arg(scratch.at("context")).current_dir(scratch.path()))?;
    let podman = Podman(&scratch);
    for name in ["team/app:1", "team/app:zstd"] {
        let pulled = podman.load(&["pull", "-q", "--tls-verify=false", &at(name)])?;
        equal(&podman.run(&pulled)?.as_str(), &SAID, name)?;
    }
    let docker = |name: &str| format!("docker://{}", at(name));
    skopeo_copy(&scratch, &["--all", "--src-tls-verify=false", &docker("team/both:1"), "dir:copy"])?;
    let buildah = Buildah(&scratch);
    let container = buildah.said(&["from", "-q", "--tls-verify=false", &at("team/app:1")])?;
    equal(&buildah.said(&["run", &container, "cat", "/linked"])?.as_str(), &SAID, "buildah")?;
    // The others push, bake pulls.
    for (format, tag) in [("oci", "oci"), ("docker", "docker")] {
        let target = docker(&format!("theirs/app:{tag}"));
        make_with_buildah(&scratch, &[(format, &target)])?;
        let name = at(&format!("theirs/app:{tag}"));
        said(environment, &scratch, &["pull", "-q", &name])?;
        equal(&said(environment, &scratch, &["run", "--rm", &name])?.as_str(), &SAID, tag)?;
        // From registry to registry both manifests stay what they are.
        let copied = said(environment, &scratch, &["copy", "-q", &name, &at(&format!("copies/app:{tag}"))])?;
        equal(
            &copied,
            &said(environment, &scratch, &["imagetools", "inspect", "-f", "{{.Manifest.Digest}}", &name])?,
            "digest",
        )?;
    }
    let joined = at("joined:1");
    said(
        environment,
        &scratch,
        &["imagetools", "create", "-q", "-t", &joined, &at("theirs/app:docker"), &at("team/app:1")],
    )?;
    skopeo_copy(&scratch, &["--all", "--src-tls-verify=false", &docker("joined:1"), "dir:joined"])
}

fn docker(environment: &Environment) -> Outcome {
    let scratch = image(environment)?;
    let docker = Docker::start(&scratch)?;
    said(environment, &scratch, &["save", "-o", "saved.tar", "app:1"])?;
    // Without containerd's image store, which version 28 does not use unless told to, it takes no other archives.
    for archive in ["docker.tar", "docker-plain.tar", "docker-estargz.tar", "saved.tar"] {
        let loaded = docker.said(&["load", "-i", archive]).map_err(|error| format!("{archive}: {error}"))?;
        equal(&loaded.as_str(), &"Loaded image: app:1", archive)?;
        equal(&docker.run("app:1")?.as_str(), &SAID, archive)?;
        docker.said(&["rmi", "app:1"])?;
    }
    Ok(())
}

fn buildkit_made(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let registry = start_debians(&place)?;
    let scratch = image(environment)?;
    log_in(&scratch, &registry.host, PASSWORD)?;
    let docker = Docker::start(&scratch)?;
    docker.said(&["load", "-i", "docker.tar"])?;
    // Built by BuildKit, on an image of bake.
    let child = "FROM app:1\nRUN stat -c %u:%g:%a /made > /owner && rm /d -r\nCMD [\"cat\", \"/made\", \"/owner\"]\n";
    scratch.write("child/Dockerfile", child)?;
    let name = format!("{}/child:1", registry.host);
    docker.said(&["build", "--network", "none", "-q", "-t", "child:1", "-t", &name, "child"])?;
    docker.said(&["save", "-o", "child.tar", "child:1"])?;
    docker.said(&["push", "-q", &name])?;
    drop(docker);
    let loaded = said(environment, &scratch, &["load", "-q", "-i", "child.tar"])?;
    equal(&loaded.as_str(), &"Loaded image: child:1", "loaded")?;
    said(environment, &scratch, &["pull", "-q", &name])?;
    for image in ["child:1", &name] {
        equal(&said(environment, &scratch, &["run", "--rm", image])?.as_str(), &"made by a step\n7:8:4755", image)?;
    }
    // bake builds on it, and makes the same of the same instructions.
    scratch.write("again/Dockerfile", child.replace("FROM app:1", "FROM app:1\n# again"))?;
    said(environment, &scratch, &["build", "-q", "-t", "again:1", "again"])?;
    let diff = said(environment, &scratch, &["diff", "child:1", "again:1"])?;
    check(!diff.lines().any(|line| line.starts_with(['A', 'C', 'D']) && line.contains("  /")), || diff.clone())
}
