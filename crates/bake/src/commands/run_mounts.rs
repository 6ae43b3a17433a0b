//! What `bake run` mounts: `--volume`, `--mount` and `--tmpfs`, with docker's spellings.

use std::path::Path;

use bake::cli::{RunArguments, size_bytes};
use bake::error::CommandError;
use bake_worker::{Bind, TmpfsMount};

/// Permission bits of a file system in memory, as docker's.
const TMPFS_MODE: u32 = 0o1777;

/// Everything that is mounted.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) binds: Vec<Bind>,
    pub(super) tmpfs: Vec<TmpfsMount>,
}

/// Reads all flags about mounts.
pub(super) fn mounts(arguments: &RunArguments) -> Result<Mounts, CommandError> {
    let mut mounts = Mounts::default();
    for text in &arguments.volume {
        mounts.binds.push(volume(text)?);
    }
    for text in &arguments.mount {
        mount(text, &mut mounts)?;
    }
    for text in &arguments.tmpfs {
        mounts.tmpfs.push(tmpfs(text)?);
    }
    Ok(mounts)
}

/// `SOURCE:TARGET[:OPTIONS]`.
fn volume(text: &str) -> Result<Bind, CommandError> {
    let invalid = |problem: &str| {
        CommandError::usage(format!("the volume `{text}` cannot be used: {problem}"))
            .hint("it is written SOURCE:TARGET or SOURCE:TARGET:ro")
    };
    let mut fields = text.split(':');
    let (Some(source), Some(target), options, None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(invalid("it needs a source and a target; there are no volumes without a name"));
    };
    if !source.starts_with(['/', '.']) {
        return Err(invalid(
            "only directories and files of this machine can be shown, by paths beginning with `/` or `.`",
        ));
    }
    let mut read_only = false;
    for option in options.unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // The last three say how fast changes must show on other systems than Linux.
            "rw" | "consistent" | "cached" | "delegated" => {}
            other => return Err(invalid(&format!("the option `{other}` is not supported"))),
        }
    }
    bind(source, target, read_only).map_err(|problem| invalid(&problem))
}

fn bind(source: &str, target: &str, read_only: bool) -> Result<Bind, String> {
    let target = absolute(target)?;
    let source =
        std::fs::canonicalize(Path::new(source)).map_err(|error| format!("cannot find `{source}`: {error}"))?;
    Ok(Bind { source, target, read_only })
}

fn absolute(target: &str) -> Result<String, String> {
    if !target.starts_with('/') || target.trim_matches('/').is_empty() {
        return Err(format!("its target `{target}` is not an absolute path below `/`"));
    }
    Ok(target.to_owned())
}

/// `type=bind,...` or `type=tmpfs,...`.
fn mount(text: &str, mounts: &mut Mounts) -> Result<(), CommandError> {
    let invalid = |problem: &str| CommandError::usage(format!("the mount `{text}` cannot be used: {problem}"));
    let (mut kind, mut source, mut target) = (None, None, None);
    let (mut read_only, mut size, mut mode) = (false, None, None);
    for field in text.split(',') {
        let (name, value) = field.split_once('=').map_or((field, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("type", Some(value)) => kind = Some(value),
            ("source" | "src", Some(value)) => source = Some(value),
            ("target" | "destination" | "dst", Some(value)) => target = Some(value),
            ("readonly" | "ro", value) => {
                read_only = value
                    .is_none_or(str::is_empty)
                    .then_some(true)
                    .or_else(|| bake_dockerfile::parse_boolean(value?))
                    .ok_or_else(|| invalid(&format!("`{field}` is neither true nor false")))?;
            }
            // Changes of other systems than Linux.
            ("consistency", Some(_)) => {}
            ("tmpfs-size", Some(value)) => size = Some(size_bytes(value).map_err(|problem| invalid(&problem))?),
            ("tmpfs-mode", Some(value)) => mode = Some(permissions(value).map_err(|problem| invalid(&problem))?),
            _ => return Err(invalid(&format!("the option `{field}` is not supported"))),
        }
    }
    let target = target.ok_or_else(|| invalid("it has no target"))?;
    match (kind, source) {
        (Some("bind"), Some(source)) if size.is_none() && mode.is_none() => {
            mounts.binds.push(bind(source, target, read_only).map_err(|problem| invalid(&problem))?);
        }
        (Some("bind"), Some(_)) => return Err(invalid("size and mode are those of what is bound")),
        (Some("bind"), None) => return Err(invalid("it has no source")),
        (Some("tmpfs"), None) => mounts.tmpfs.push(TmpfsMount {
            target: absolute(target).map_err(|problem| invalid(&problem))?,
            size_bytes: size,
            mode: mode.unwrap_or(TMPFS_MODE),
            read_only,
        }),
        (Some("tmpfs"), Some(_)) => return Err(invalid("a file system in memory has no source")),
        (kind, _) => {
            let kind = kind.unwrap_or("volume");
            return Err(invalid(&format!("the type `{kind}` is not supported")).hint("the types are bind and tmpfs"));
        }
    }
    Ok(())
}

/// `TARGET[:OPTIONS]`.
fn tmpfs(text: &str) -> Result<TmpfsMount, CommandError> {
    let invalid = |problem: &str| CommandError::usage(format!("`--tmpfs {text}` cannot be used: {problem}"));
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = absolute(target).map_err(|problem| invalid(&problem))?;
    let mut tmpfs = TmpfsMount { target, size_bytes: None, mode: TMPFS_MODE, read_only: false };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => {
                tmpfs.size_bytes = Some(size_bytes(value).map_err(|problem| invalid(&problem))?);
            }
            Some(("mode", value)) => tmpfs.mode = permissions(value).map_err(|problem| invalid(&problem))?,
            None if option == "ro" => tmpfs.read_only = true,
            // Neither devices nor set-user-id programs ever work there.
            None if matches!(option, "rw" | "exec" | "nosuid" | "nodev") => {}
            _ => return Err(invalid(&format!("the option `{option}` is not supported"))),
        }
    }
    Ok(tmpfs)
}

/// Permission bits in octal.
fn permissions(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("`{text}` are no permission bits in octal"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_binds_of_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().to_str().unwrap();
        let found = volume(&format!("{source}:/src:ro")).unwrap();
        assert!(found.read_only && found.target == "/src");
        assert!(!volume(&format!("{source}:/src:rw,cached")).unwrap().read_only);
        for wrong in ["/data", "data:/src", "/nowhere-at-all:/src", ".:src", ".:/", ".:/src:z", "/:/a:ro:b"] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mounts_are_binds_and_file_systems_in_memory() {
        let mut mounts = Mounts::default();
        mount("type=bind,source=/,dst=/host,readonly", &mut mounts).unwrap();
        mount("type=tmpfs,target=/run,tmpfs-size=1m,tmpfs-mode=755", &mut mounts).unwrap();
        assert!(mounts.binds[0].read_only && mounts.binds[0].target == "/host");
        let expected = TmpfsMount { target: "/run".into(), size_bytes: Some(1 << 20), mode: 0o755, read_only: false };
        assert_eq!(mounts.tmpfs.as_slice(), std::slice::from_ref(&expected));
        assert_eq!(tmpfs("/run:size=1m,mode=755,nosuid").unwrap(), expected);
        for wrong in [
            "type=volume,dst=/a",
            "dst=/a",
            "type=bind,dst=/a",
            "type=bind,src=/",
            "type=bind,src=/,dst=/a,tmpfs-size=1m",
            "type=tmpfs,src=/,dst=/a",
            "type=tmpfs,dst=/a,x=y",
            "type=tmpfs,dst=/a,ro=perhaps",
            "type=tmpfs,dst=/a,tmpfs-mode=9",
        ] {
            assert!(mount(wrong, &mut Mounts::default()).is_err(), "{wrong}");
        }
        assert!(tmpfs("run").is_err() && tmpfs("/run:noexec").is_err() && tmpfs("/run:uid=1").is_err());
    }
}
