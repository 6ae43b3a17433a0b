//! `bake version`.

use bake::cli::{ListFormat, VersionArguments};
use bake::error::CommandError;
use bake_oci::Platform;
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    version: &'static str,
    platform: String,
    kernel: String,
    rust_version: &'static str,
    debug_build: bool,
}

pub(crate) fn run(arguments: &VersionArguments) -> Result<(), CommandError> {
    let system = rustix::system::uname();
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        platform: Platform::host().to_string(),
        kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
        rust_version: env!("CARGO_PKG_RUST_VERSION"),
        debug_build: cfg!(debug_assertions),
    };
    if arguments.format == ListFormat::Json {
        return crate::print(&super::table::json_lines(&[about])?);
    }
    let build = if about.debug_build { " (debug build)" } else { "" };
    crate::print(&format!(
        "bake {}{build}\n Platform:   {}\n Kernel:     {}\n Rust:       {} or later\n",
        about.version, about.platform, about.kernel, about.rust_version
    ))
}
