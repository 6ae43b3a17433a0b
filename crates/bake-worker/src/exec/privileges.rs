//! What a command may do beyond, or short of, what a RUN may: Docker's flags about capabilities.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, Spec};

/// What a command may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// Its capabilities; they hold in a user namespace, so none of them reaches beyond the container.
    pub capabilities: HashSet<Capability>,
    /// Whether set-user-id programs have no effect.
    pub no_new_privileges: bool,
    /// Which system calls it may make.
    pub system_calls: SystemCalls,
    /// Whether nothing of this holds: all capabilities, no filter, nothing hidden.
    pub insecure: bool,
}

/// Which system calls a command may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCalls {
    /// Those that are usual in containers.
    Usual,
    /// All.
    All,
}

impl Default for Privileges {
    /// Those of a RUN.
    fn default() -> Self {
        Self { capabilities: usual(), no_new_privileges: false, system_calls: SystemCalls::Usual, insecure: false }
    }
}

/// A capability that cannot be given or taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// There is none of this name.
    #[error("there is no capability `{0}`")]
    Unknown(String),
    /// The kernel asks for it outside of user namespaces only.
    #[error("the capability `{0}` means nothing here: the kernel asks for it outside of user namespaces only")]
    Meaningless(String),
}

/// Capabilities that no user namespace makes effective.
const MEANINGLESS: &[Capability] = &[
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::NetBroadcast,
    Capability::Perfmon,
    Capability::SysBoot,
    Capability::SysModule,
    Capability::SysPacct,
    Capability::SysRawio,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Syslog,
    Capability::WakeAlarm,
];

/// The rest of them, beside those that every RUN has.
const MEANINGFUL: &[Capability] = &[
    Capability::AuditWrite,
    Capability::CheckpointRestore,
    Capability::DacReadSearch,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::SysAdmin,
    Capability::SysNice,
    Capability::SysPtrace,
    Capability::SysResource,
];

/// The capabilities of a RUN with some added and some dropped, by Docker's rules: names with or without `CAP_`, in any
/// case; `ALL` for all; what is added by name stays when all are dropped, and the other way round.
///
/// # Errors
/// A name that is unknown, or (added) without meaning in a user namespace.
pub fn capabilities(add: &[String], drop: &[String]) -> Result<HashSet<Capability>, CapabilityError> {
    let is_all = |name: &String| bare(name) == "ALL";
    let parse = |names: &[String]| names.iter().filter(|name| !is_all(name)).map(|name| named(name)).collect();
    let added: Result<Vec<Capability>, _> = parse(add);
    let dropped: Result<Vec<Capability>, _> = parse(drop);
    let (added, dropped) = (added?, dropped?);
    if let Some(useless) = added.iter().find(|capability| MEANINGLESS.contains(capability)) {
        return Err(CapabilityError::Meaningless(useless.to_string()));
    }
    let mut kept = if add.iter().any(is_all) {
        usual().into_iter().chain(MEANINGFUL.iter().copied()).collect()
    } else if drop.iter().any(is_all) {
        HashSet::new()
    } else {
        usual()
    };
    kept.extend(added.iter().copied());
    kept.retain(|capability| !dropped.contains(capability) || added.contains(capability));
    Ok(kept)
}

fn bare(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

fn named(name: &str) -> Result<Capability, CapabilityError> {
    bare(name).parse().map_err(|_| CapabilityError::Unknown(name.to_owned()))
}

fn usual() -> HashSet<Capability> {
    let spec = bake_sandbox::default_spec();
    let bounding = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    bounding.and_then(|capabilities| capabilities.bounding().clone()).unwrap_or_default()
}

/// Puts privileges into the description of a process.
pub(super) fn apply(privileges: &Privileges, spec: &mut Spec) {
    let Some(mut process) = spec.process().clone() else { return };
    if let Some(mut capabilities) = process.capabilities().clone() {
        capabilities.set_bounding(Some(privileges.capabilities.clone()));
        process.set_capabilities(Some(capabilities));
    }
    process.set_no_new_privileges(Some(privileges.no_new_privileges));
    spec.set_process(Some(process));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    fn after(add: &[&str], drop: &[&str]) -> Result<HashSet<Capability>, CapabilityError> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        capabilities(&owned(add), &owned(drop))
    }

    #[test]
    fn capabilities_follow_dockers_rules() {
        assert_eq!(after(&[], &[]).unwrap().len(), 11);
        assert_eq!(after(&[], &["all"]).unwrap().len(), 0);
        assert_eq!(after(&["cap_net_raw"], &["ALL"]).unwrap(), HashSet::from([Capability::NetRaw]));
        assert!(!after(&[], &["CAP_CHOWN"]).unwrap().contains(&Capability::Chown));
        let all_but_one = after(&["ALL"], &["SYS_ADMIN"]).unwrap();
        assert!(all_but_one.contains(&Capability::NetAdmin) && !all_but_one.contains(&Capability::SysAdmin));
        assert_eq!(after(&["SYS_TIM"], &[]), Err(CapabilityError::Unknown("SYS_TIM".into())));
        assert_eq!(after(&["SYS_TIME"], &[]), Err(CapabilityError::Meaningless("SYS_TIME".into())));
        assert!(after(&[], &["SYS_TIME"]).is_ok());
    }

    #[test]
    fn every_capability_is_of_one_kind() {
        let usual = usual();
        let kinds = usual.len() + MEANINGFUL.len() + MEANINGLESS.len();
        assert_eq!(kinds, 41);
        let all: HashSet<Capability> = usual.into_iter().chain(MEANINGFUL.iter().chain(MEANINGLESS).copied()).collect();
        assert_eq!(all.len(), kinds);
    }
}
