//! Steps by an OCI runtime (`runc`, `crun`, or what is called like them) instead of the built-in sandbox.
//!
//! The runtime runs below a helper (`runtime_init`) that is in the namespaces a built-in sandbox would be in, so it has no
//! right on the host, and nothing of it can outlive the helper. What the helper reports is what the built-in sandbox
//! reports; see `running`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::step::{SecurityMode, ThirtyTwoBit};
use crate::syscall_table::BLOCKED;

/// Where runtimes that are given by name are looked for: never in a search path, which the environment could set.
const PROGRAM_DIRECTORIES: &[&str] =
    &["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/run/current-system/sw/bin"];

/// An OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalRuntime {
    program: PathBuf,
}

impl ExternalRuntime {
    /// The runtime of this name, or at this path, which must then be absolute; `None` where there is none.
    pub fn find(name: &str) -> Option<Self> {
        let program = if name.contains('/') {
            Some(PathBuf::from(name)).filter(|path| path.is_absolute() && path.is_file())
        } else {
            let mut paths = PROGRAM_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
            paths.find(|path| !name.is_empty() && path.is_file())
        };
        program.map(|program| Self { program })
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether it is `crun`, which has to be told to leave cgroups alone.
    pub(crate) fn is_crun(&self) -> bool {
        self.program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"crun"))
    }
}

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;

/// Calls from the number on at which the built-in filter stops to know any: that filter denies all of them, this one what has
/// been named since.
const NEWER: &[&str] = &["open_tree_attr", "file_getattr", "file_setattr", "listns"];

/// The built-in filter in the form of the runtime specification, `None` when nothing is filtered.
///
/// It says what is denied, so calls that are newer than its lists are allowed, which the built-in filter denies.
pub(crate) fn seccomp(security: SecurityMode, thirty_two_bit: ThirtyTwoBit) -> Option<Value> {
    if security == SecurityMode::Insecure {
        return None;
    }
    let deny = |names: &[&str], errno: u16, arguments: Value| json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": arguments });
    let equal = |index: u8, value: u32| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let bits = |index: u8, mask: u32, value: u32| json!({ "index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" });
    let blocked: Vec<&str> = BLOCKED.iter().map(|call| call.name).chain(NEWER.iter().copied()).collect();
    // One error for all families: to the library that runtimes use, they are one rule of `socketcall` as well.
    let mut rules = vec![
        deny(&blocked, EPERM, json!([])),
        deny(&["clone3"], ENOSYS, json!([])),
        deny(&["socket"], EAFNOSUPPORT, json!([equal(0, family::ALG)])),
        deny(&["socket"], EAFNOSUPPORT, json!([equal(0, family::VSOCK)])),
        deny(&["socket"], EAFNOSUPPORT, json!([equal(0, family::PACKET)])),
        deny(&["socket"], EAFNOSUPPORT, json!([equal(0, family::NETLINK), equal(2, family::NETLINK_AUDIT)])),
    ];
    if thirty_two_bit == ThirtyTwoBit::Restricted {
        rules.push(deny(&["socketcall"], ENOSYS, json!([])));
    }
    // One rule for each bit, as a rule cannot say "any of these".
    for bit in (0..32).map(|bit| 1_u32 << bit).filter(|bit| CLONE_NEW_NAMESPACES & bit != 0) {
        rules.push(deny(&["clone"], EPERM, json!([bits(0, bit, bit)])));
    }
    // All bits at once ask which personality it is, and are no answer to that.
    for bit in (0..31).map(|bit| 1_u32 << bit).filter(|bit| PERSONALITY_BITS & bit == 0) {
        rules.push(deny(&["personality"], EPERM, json!([bits(0, bit | 1 << 31, bit)])));
    }
    let architectures = if cfg!(target_arch = "aarch64") {
        vec!["SCMP_ARCH_AARCH64"]
    } else {
        vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    };
    Some(json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls": rules }))
}

/// Every `CLONE_NEW*` bit that `clone` takes.
const CLONE_NEW_NAMESPACES: u32 = 0x7e02_0000;
/// The bits of 32-bit Linux, and of the uname of 2.6.
const PERSONALITY_BITS: u32 = 0x0002_0008;

/// The numbers of socket families, and of a protocol.
mod family {
    pub(super) const NETLINK: u32 = 16;
    pub(super) const PACKET: u32 = 17;
    pub(super) const ALG: u32 = 38;
    pub(super) const VSOCK: u32 = 40;
    pub(super) const NETLINK_AUDIT: u32 = 9;
}
