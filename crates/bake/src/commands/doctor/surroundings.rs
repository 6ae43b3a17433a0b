//! Programs that bake uses where they are installed, the place of the store, and credentials.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bake::ui::measure::size;
use bake_sandbox::probe;
use rustix::process::Uid;

use super::Finding;
use crate::settings::variable;

/// Below this much room builds of ordinary images fail soon.
const SPACE_MIN_BYTES: u64 = 2 << 30;
const FILES_MIN: u64 = 100_000;

pub(super) fn findings(store: &Path, user: Uid) -> Vec<Finding> {
    let mut findings = vec![store_access(store, user), space(store)];
    if user.is_root() {
        findings.push(id_mapped_mounts(store));
    }
    findings.extend([pasta(), runtimes(), foreign_platforms(), credentials()]);
    findings
}

/// The directory, or the one above it that exists.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().find(|ancestor| ancestor.exists()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

fn store_access(store: &Path, user: Uid) -> Finding {
    const NAME: &str = "store";
    let shown = store.display();
    let Ok(metadata) = fs::metadata(store) else {
        let above = existing(store);
        if rustix::fs::access(&above, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok() {
            return Finding::ok(NAME, format!("`{shown}` will be made by the first build")).required();
        }
        let meaning = format!("`{shown}` is not there, and this user may not write to `{}`", above.display());
        return Finding::missing(NAME, meaning, "name another directory by `--root DIR` or `$BAKE_ROOT`").required();
    };
    if metadata.uid() != user.as_raw() {
        let meaning = format!("`{shown}` belongs to user {}, who alone may use it", metadata.uid());
        return Finding::missing(NAME, meaning, "name another directory by `--root DIR` or `$BAKE_ROOT`").required();
    }
    if metadata.mode() & 0o077 != 0 {
        let meaning = format!("others may look into `{shown}`, which holds set-user-ID programs of images");
        return Finding::limited(NAME, meaning, format!("`chmod 700 {shown}`"));
    }
    Finding::ok(NAME, format!("`{shown}`")).required()
}

fn space(store: &Path) -> Finding {
    const NAME: &str = "disk space";
    let place = existing(store);
    let Ok(status) = rustix::fs::statvfs(&place) else {
        return Finding::limited(NAME, format!("`{}` cannot be examined", place.display()), "check its file system");
    };
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    // File systems that make inodes as they need them say 0.
    let few_files = status.f_files > 0 && status.f_favail < FILES_MIN;
    let meaning = format!("{} free at `{}`", size(free), place.display());
    if free < SPACE_MIN_BYTES || few_files {
        let meaning = if few_files { format!("{meaning}, for {} files", status.f_favail) } else { meaning };
        return Finding::limited(NAME, meaning, "`bake prune` frees space in the store, or use `--root DIR`");
    }
    Finding::ok(NAME, meaning)
}

fn id_mapped_mounts(store: &Path) -> Finding {
    const NAME: &str = "id-mapped mounts";
    let place = existing(store);
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let mapped = rustix::fs::open(&place, flags, rustix::fs::Mode::empty())
        .is_ok_and(|directory| probe::id_mapped_mounts(directory.as_fd()));
    if mapped {
        return Finding::ok(NAME, "root in a step is nobody on the host");
    }
    Finding::limited(
        NAME,
        format!("the file system of `{}` has none: root in a step has the host's IDs", place.display()),
        "put the store on ext4, XFS, btrfs or tmpfs by `--root DIR`",
    )
}

/// Whether a program is in the search path.
fn find(program: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok() && candidate.is_file())
}

fn pasta() -> Finding {
    const NAME: &str = "pasta";
    match find("pasta") {
        Some(path) => Finding::ok(NAME, format!("`{}`: steps can have a network of their own", path.display())),
        None => Finding::limited(NAME, "not installed: steps share the host's network", "install `passt`"),
    }
}

fn runtimes() -> Finding {
    let found: Vec<&str> =
        ["runc", "crun", "runsc", "kata-runtime"].into_iter().filter(|program| find(program).is_some()).collect();
    let meaning = if found.is_empty() { "none; steps need none".to_owned() } else { found.join(", ") };
    Finding::ok("OCI runtimes", meaning)
}

fn foreign_platforms() -> Finding {
    const NAME: &str = "other platforms";
    let entries = fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().filter_map(Result::ok);
    let mut emulated: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_prefix("qemu-")?.to_owned();
            // The first line says whether it is in use.
            fs::read_to_string(entry.path()).ok()?.starts_with("enabled").then_some(name)
        })
        .collect();
    emulated.sort_unstable();
    if emulated.is_empty() {
        let meaning = "only this machine's programs can run in steps";
        return Finding::limited(NAME, meaning, "install `qemu-user-static` to build for others");
    }
    Finding::ok(NAME, format!("emulated: {}", emulated.join(", ")))
}

fn credentials() -> Finding {
    const NAME: &str = "credentials";
    let Some(path) = crate::registries::docker_config_path() else {
        return Finding::limited(NAME, "neither `$DOCKER_CONFIG` nor `$HOME` is set", "set one for private images");
    };
    let shown = path.display();
    match fs::read_to_string(&path) {
        Ok(text) if serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object()) => {
            Finding::ok(NAME, format!("`{shown}`"))
        }
        Ok(_) => Finding::limited(
            NAME,
            format!("`{shown}` is no JSON object"),
            "mend it, or move it away and `bake login` again",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok(NAME, format!("no `{shown}`: registries are asked without"))
        }
        Err(error) => {
            Finding::limited(NAME, format!("`{shown}` cannot be read: {error}"), "make it readable for this user")
        }
    }
}
