//! What hovers and completions say about the Dockerfile language itself.

/// An instruction.
#[derive(Debug)]
pub(crate) struct InstructionHelp {
    pub(crate) name: &'static str,
    /// How it is written.
    pub(crate) syntax: &'static str,
    /// What it does.
    pub(crate) text: &'static str,
}

/// A flag of some instructions.
#[derive(Debug)]
pub(crate) struct FlagHelp {
    /// The name without dashes.
    pub(crate) name: &'static str,
    /// The instructions that take it.
    pub(crate) of: &'static [&'static str],
    /// What stands after `=`; empty for a flag that is on when it is there.
    pub(crate) value: &'static str,
    pub(crate) text: &'static str,
}

/// A key of `RUN --mount`.
#[derive(Debug)]
pub(crate) struct MountKeyHelp {
    pub(crate) name: &'static str,
    /// The types of mounts that take it.
    pub(crate) of: &'static [&'static str],
    /// Whether a value follows.
    pub(crate) takes_value: bool,
    pub(crate) text: &'static str,
}

/// The types of mounts with what they are.
pub(crate) const MOUNT_TYPES: [(&str, &str); 5] = [
    (
        "bind",
        "Files of the build context, a stage or an image, without copying them. What is written there is dropped.",
    ),
    ("cache", "A directory that is kept between builds, for package managers and compilers. It is in no layer."),
    ("tmpfs", "An empty directory in memory, gone after the step."),
    ("secret", "A secret of `bake build --secret`, as a file or an environment variable of this step only."),
    ("ssh", "The SSH agent of `bake build --ssh`, for this step only."),
];

/// All instructions.
pub(crate) const INSTRUCTIONS: [InstructionHelp; 18] = [
    InstructionHelp {
        name: "ADD",
        syntax: "ADD [--chown=USER] [--chmod=MODE] [--checksum=DIGEST] SOURCE... DESTINATION",
        text: "Copies files like `COPY`, unpacks local archives, and fetches URLs and git repositories.",
    },
    InstructionHelp {
        name: "ARG",
        syntax: "ARG NAME[=DEFAULT] ...",
        text: "Declares build arguments, set by `--build-arg NAME=VALUE`. Before the first `FROM` they are known in `FROM` only, until a stage declares them again. They are not in the image's environment, but their values can be read from its history: no secrets here.",
    },
    InstructionHelp {
        name: "CMD",
        syntax: "CMD [\"PROGRAM\", \"ARGUMENT\"...]",
        text: "What a container runs when its user names nothing else, or the arguments of `ENTRYPOINT`. The last one counts. Without brackets a shell runs it, which passes no signals on.",
    },
    InstructionHelp {
        name: "COPY",
        syntax: "COPY [--from=STAGE|IMAGE] [--chown=USER] [--chmod=MODE] SOURCE... DESTINATION",
        text: "Copies files and directories from the build context, or with `--from` from a stage or image. Several sources need a destination that ends with `/`.",
    },
    InstructionHelp {
        name: "ENTRYPOINT",
        syntax: "ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\"...]",
        text: "The program of the image; what its user types are arguments. The last one counts.",
    },
    InstructionHelp {
        name: "ENV",
        syntax: "ENV NAME=VALUE ...",
        text: "Sets environment variables, for the steps that follow and for containers. All values of a line see the variables as they were before it.",
    },
    InstructionHelp {
        name: "EXPOSE",
        syntax: "EXPOSE PORT[/tcp|/udp] ...",
        text: "Says on which ports the program listens. It publishes none.",
    },
    InstructionHelp {
        name: "FROM",
        syntax: "FROM [--platform=PLATFORM] IMAGE|STAGE|scratch [AS NAME]",
        text: "Begins a stage from an image, from an earlier stage, or from nothing. The last stage is built unless `--target` names another one; stages that it does not need are not built.",
    },
    InstructionHelp {
        name: "HEALTHCHECK",
        syntax: "HEALTHCHECK [--interval=30s] [--timeout=30s] [--retries=3] CMD COMMAND | NONE",
        text: "A command that tells whether a container is healthy: exit code 0 if it is, 1 if not. `NONE` switches that of the base image off.",
    },
    InstructionHelp {
        name: "LABEL",
        syntax: "LABEL KEY=VALUE ...",
        text: "Adds metadata to the image, such as `org.opencontainers.image.source`.",
    },
    InstructionHelp {
        name: "MAINTAINER",
        syntax: "MAINTAINER NAME",
        text: "Deprecated: use `LABEL org.opencontainers.image.authors=NAME`.",
    },
    InstructionHelp {
        name: "ONBUILD",
        syntax: "ONBUILD INSTRUCTION",
        text: "Keeps an instruction for builds that begin from this image; it runs there, right after `FROM`.",
    },
    InstructionHelp {
        name: "RUN",
        syntax: "RUN [--mount=...] [--network=...] COMMAND",
        text: "Runs a command and keeps what it changed as a layer. Without brackets a shell runs it; `RUN <<EOF` takes a whole script.",
    },
    InstructionHelp {
        name: "SHELL",
        syntax: "SHELL [\"PROGRAM\", \"ARGUMENT\"...]",
        text: "The shell of the shell forms that follow, `[\"/bin/sh\", \"-c\"]` without it.",
    },
    InstructionHelp {
        name: "STOPSIGNAL",
        syntax: "STOPSIGNAL SIGNAL",
        text: "The signal that asks the program to end, by name or number; `SIGTERM` without it.",
    },
    InstructionHelp {
        name: "USER",
        syntax: "USER NAME|ID[:GROUP]",
        text: "Who runs the steps that follow, and containers. A number works also where `/etc/passwd` cannot be read, as in Kubernetes' `runAsNonRoot`.",
    },
    InstructionHelp {
        name: "VOLUME",
        syntax: "VOLUME [\"PATH\"...]",
        text: "Directories that hold data outside of the container's layer.",
    },
    InstructionHelp {
        name: "WORKDIR",
        syntax: "WORKDIR PATH",
        text: "The directory of the steps that follow, and of containers; it is made if it does not exist. A relative path continues the one before.",
    },
];

const COPIES: &[&str] = &["ADD", "COPY"];
const ADD: &[&str] = &["ADD"];
const COPY: &[&str] = &["COPY"];
const RUN: &[&str] = &["RUN"];
const HEALTHCHECK: &[&str] = &["HEALTHCHECK"];

/// All flags.
pub(crate) const FLAGS: [FlagHelp; 19] = [
    flag(
        "platform",
        &["FROM"],
        "PLATFORM",
        "The platform of the base image, such as `linux/arm64`. `$BUILDPLATFORM` is that of the machine that builds; without the flag it is that of the image.",
    ),
    flag("mount", RUN, "type=TYPE,...", "Files that are there while the step runs, and in no layer."),
    flag(
        "network",
        RUN,
        "none|default|host",
        "`none`: no network but the loopback device. `host` has to be allowed with `--allow network.host`.",
    ),
    flag(
        "security",
        RUN,
        "sandbox|insecure",
        "`insecure`: without the protection of the sandbox; it has to be allowed with `--allow security.insecure`.",
    ),
    flag("device", RUN, "NAME", "A device of the machine, by its CDI name."),
    flag("from", COPY, "STAGE|IMAGE", "Copy from a stage, an image or a named context instead of the build context."),
    flag("chown", COPIES, "USER[:GROUP]", "The owner of the copies, 0:0 without it. Names are looked up in the image."),
    flag("chmod", COPIES, "MODE", "The mode of the copies, such as `755` or `u=rwX,go=rX`."),
    flag(
        "link",
        COPIES,
        "",
        "Make a layer that does not depend on those below: it stays valid when they change. Links at the destination are not followed.",
    ),
    flag("parents", COPY, "", "Keep the directories of the sources' paths. What stands before `/./` is left out."),
    flag("exclude", COPIES, "PATTERN", "Leave out what matches the pattern. May stand several times."),
    flag("keep-git-dir", ADD, "", "Keep the directory `.git` of a git repository."),
    flag(
        "checksum",
        ADD,
        "sha256:DIGEST",
        "The digest that the fetched file, or the commit that the repository, must have.",
    ),
    flag(
        "unpack",
        ADD,
        "true|false",
        "Whether archives are unpacked. Without it local ones are, fetched ones are not.",
    ),
    flag("interval", HEALTHCHECK, "30s", "The time between two checks."),
    flag("timeout", HEALTHCHECK, "30s", "After this time a check has failed."),
    flag(
        "start-period",
        HEALTHCHECK,
        "0s",
        "The time that the program needs to start; checks that fail in it do not count.",
    ),
    flag("start-interval", HEALTHCHECK, "5s", "The time between two checks while the program starts."),
    flag("retries", HEALTHCHECK, "3", "So many checks must fail, one after another."),
];

/// The keys of mounts.
pub(crate) const MOUNT_KEYS: [MountKeyHelp; 14] = [
    key(
        "type",
        &["bind", "cache", "tmpfs", "secret", "ssh"],
        true,
        "What is mounted: `bind` (without it), `cache`, `tmpfs`, `secret` or `ssh`.",
    ),
    key(
        "target",
        &["bind", "cache", "tmpfs", "secret", "ssh"],
        true,
        "Where it is mounted, relative to `WORKDIR`. Also `dst` and `destination`.",
    ),
    key("source", &["bind", "cache"], true, "The path that is mounted, in the context, stage or image. Also `src`."),
    key("from", &["bind", "cache"], true, "The stage, image or named context that the files come from."),
    key("readonly", &["bind", "cache"], false, "The step cannot write there."),
    key("readwrite", &["bind", "cache"], false, "The step can write there; of a bind mount it is dropped afterwards."),
    key(
        "id",
        &["cache", "secret", "ssh"],
        true,
        "Its name: of a cache, to share it between steps; of a secret or agent as given on the command line.",
    ),
    key(
        "sharing",
        &["cache"],
        true,
        "Whether several steps may use the cache at the same time: `shared` (without it), `private` or `locked`.",
    ),
    key("required", &["secret", "ssh"], false, "Fail when it was not given."),
    key("env", &["secret"], true, "The environment variable that holds the secret, instead of a file."),
    key("size", &["tmpfs"], true, "The most it may hold, such as `64m`."),
    key("mode", &["cache", "secret", "ssh"], true, "Its mode, in octal."),
    key("uid", &["cache", "secret", "ssh"], true, "The ID of its owner."),
    key("gid", &["cache", "secret", "ssh"], true, "The ID of its group."),
];

/// Parser directives, which stand on the first lines.
pub(crate) const DIRECTIVES: [(&str, &str, &str); 3] = [
    (
        "syntax",
        "docker/dockerfile:1",
        "The language of the file. The frontend is built in; no image is fetched for it.",
    ),
    ("escape", "`", "The character that continues lines, `\\` without it; a back quote for Windows paths."),
    (
        "check",
        "skip=RULE",
        "Which checks are skipped (`skip=A,B` or `skip=all`), and whether findings are errors (`error=true`).",
    ),
];

/// The arguments that a build sets by itself, in stages after they were declared.
pub(crate) const PLATFORM_ARGUMENTS: [(&str, &str); 11] = [
    ("BUILDPLATFORM", "The platform of the machine that builds, such as `linux/amd64`."),
    ("BUILDOS", "The operating system of `BUILDPLATFORM`."),
    ("BUILDOSVERSION", "The version of the operating system of `BUILDPLATFORM`."),
    ("BUILDARCH", "The architecture of `BUILDPLATFORM`."),
    ("BUILDVARIANT", "The variant of `BUILDPLATFORM`, such as `v7`."),
    ("TARGETPLATFORM", "The platform of the image, such as `linux/arm64`."),
    ("TARGETOS", "The operating system of `TARGETPLATFORM`."),
    ("TARGETOSVERSION", "The version of the operating system of `TARGETPLATFORM`."),
    ("TARGETARCH", "The architecture of `TARGETPLATFORM`."),
    ("TARGETVARIANT", "The variant of `TARGETPLATFORM`, such as `v7`."),
    ("TARGETSTAGE", "The name of the stage that is built."),
];

/// Signals that programs are asked to end with.
pub(crate) const SIGNALS: [&str; 6] = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGKILL", "SIGHUP", "SIGWINCH"];

const fn flag(name: &'static str, of: &'static [&'static str], value: &'static str, text: &'static str) -> FlagHelp {
    FlagHelp { name, of, value, text }
}

const fn key(name: &'static str, of: &'static [&'static str], takes_value: bool, text: &'static str) -> MountKeyHelp {
    MountKeyHelp { name, of, takes_value, text }
}

/// What there is to say about an instruction.
pub(crate) fn instruction(name: &str) -> Option<&'static InstructionHelp> {
    INSTRUCTIONS.iter().find(|help| help.name.eq_ignore_ascii_case(name))
}

/// The flags of an instruction.
pub(crate) fn flags_of(instruction: &str) -> impl Iterator<Item = &'static FlagHelp> {
    let name = instruction.to_ascii_uppercase();
    FLAGS.iter().filter(move |flag| flag.of.contains(&name.as_str()))
}

/// The keys that a type of mounts takes.
pub(crate) fn mount_keys_of(kind: &str) -> impl Iterator<Item = &'static MountKeyHelp> {
    MOUNT_KEYS.iter().filter(move |key| key.of.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bake_dockerfile::{SourceText, flag_names, instruction_names, parse};

    #[test]
    fn all_instructions_and_flags_are_explained() {
        let names: Vec<&str> = INSTRUCTIONS.iter().map(|help| help.name).collect();
        assert_eq!(names, instruction_names().collect::<Vec<_>>());
        for name in names {
            let mut explained: Vec<&str> = flags_of(name).map(|flag| flag.name).collect();
            let mut known: Vec<&str> = flag_names(name).collect();
            explained.sort_unstable();
            known.sort_unstable();
            assert_eq!(explained, known, "{name}");
        }
    }

    #[test]
    fn keys_fit_their_types() {
        for (kind, _) in MOUNT_TYPES {
            for key in mount_keys_of(kind).filter(|key| key.name != "type") {
                let value = match key.name {
                    "sharing" => "locked",
                    "size" => "64m",
                    "mode" => "0400",
                    "uid" | "gid" => "1",
                    _ => "/x",
                };
                let field = if key.takes_value { format!("{}={value}", key.name) } else { key.name.to_owned() };
                let target = if key.name == "target" || kind == "ssh" { "" } else { ",target=/y" };
                let text = format!("FROM a\nRUN --mount=type={kind}{target},{field} x\n");
                let tree = parse(SourceText::new("x", text.as_str()));
                assert!(!tree.has_errors(), "{text}: {:?}", tree.diagnostics);
            }
        }
    }
}
