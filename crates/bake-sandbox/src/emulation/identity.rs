//! Who the processes of a step believe to be.
//!
//! Children have their parent's identity, and the kernel tells nobody of a `fork`. So the identity of a process has a
//! number, and the number is kept where the kernel itself copies it from parent to child and leaves it alone at `execve`:
//! in the hard limit on real-time processor time, which no process of a step has, counted down from [`FIRST_LIMIT`].
//! A limit that falls can be set without privilege, and numbers only grow.

use std::os::unix::fs::MetadataExt;

use bake_sys::Errno;
use bake_sys::notification::{Answer, read_memory, real_time_limit, set_real_time_limit, write_memory};

use super::Request;
use super::calls::{IdentityCall, Of, Width};

/// The limit of a process with the identity number 1; in microseconds this is more than 100,000 years.
const FIRST_LIMIT: u64 = 1 << 62;
/// The most identities of one step, at about 100 bytes each. A step that changes more often keeps its last one.
const IDENTITIES_MAX: usize = 1 << 18;
/// The kernel's limit on supplementary groups (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65536;
/// What 16-bit calls return for IDs they cannot express.
const OVERFLOW_ID: u32 = 65534;
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// The user IDs or the group IDs of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    pub(super) file_system: u32,
}

/// Who a process believes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) user: Ids,
    pub(super) group: Ids,
    pub(super) groups: Vec<u32>,
    /// The set-user-id program whose owner the process has become by executing it.
    elevated_by: Option<(u64, u64)>,
}

impl Identity {
    /// The identity of a process that was started as this user.
    pub(crate) fn new(user: u32, group: u32, groups: &[u32]) -> Self {
        Self { user: Ids::all(user), group: Ids::all(group), groups: groups.to_vec(), elevated_by: None }
    }

    /// Whether it may become anybody and give files to anybody.
    pub(super) fn is_privileged(&self) -> bool {
        self.user.effective == 0
    }

    /// Whether it is a member of a group.
    pub(super) fn has_group(&self, group: u32) -> bool {
        self.group.file_system == group || self.groups.contains(&group)
    }

    fn ids(&mut self, of: Of) -> &mut Ids {
        match of {
            Of::User => &mut self.user,
            Of::Group => &mut self.group,
        }
    }
}

impl Ids {
    fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, file_system: id }
    }

    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }
}

/// All identities there have been in a step.
#[derive(Debug)]
pub(super) struct Identities {
    /// The first one is that of the command.
    known: Vec<Identity>,
}

impl Identities {
    pub(super) fn new(start: Identity) -> Self {
        Self { known: vec![start] }
    }

    /// Who a process believes to be.
    pub(super) fn of(&mut self, thread: u32) -> Identity {
        let limit = real_time_limit(thread).unwrap_or(u64::MAX);
        let number = FIRST_LIMIT.checked_sub(limit).and_then(|below| usize::try_from(below).ok()).map_or(0, |n| n + 1);
        let identity = self.known.get(number).or_else(|| self.known.first()).cloned();
        let identity = identity.unwrap_or_else(|| Identity::new(0, 0, &[]));
        if identity.is_privileged() && identity.elevated_by.is_none() {
            return identity;
        }
        self.elevate(thread, identity)
    }

    /// Does what executing a set-user-id or set-group-id program has done: the kernel has ignored these bits, because
    /// for it the process and the file's owner are the same.
    fn elevate(&mut self, thread: u32, mut identity: Identity) -> Identity {
        let path = format!("/proc/{thread}/exe");
        let Ok(program) = std::fs::metadata(&path) else { return identity };
        let elevated = program.mode() & SETUID != 0 || program.mode() & SETGID != 0 && program.mode() & 0o010 != 0;
        let this = elevated.then(|| (program.dev(), program.ino()));
        if identity.elevated_by == this {
            return identity;
        }
        identity.elevated_by = this;
        if this.is_some() {
            let owner = std::fs::File::open(&path)
                .ok()
                .and_then(|file| bake_sys::xattr::get_open(&file, bake_sys::owner_record::OWNER_XATTR).ok().flatten())
                .and_then(|value| bake_sys::owner_record::OwnerRecord::parse(&value))
                .unwrap_or_default();
            if program.mode() & SETUID != 0 {
                let real = identity.user.real;
                identity.user = Ids { real, ..Ids::all(owner.uid) };
            }
            if program.mode() & SETGID != 0 {
                let real = identity.group.real;
                identity.group = Ids { real, ..Ids::all(owner.gid) };
            }
        }
        self.become_(thread, identity.clone());
        identity
    }

    /// Makes a process, with the children it will have, somebody else.
    fn become_(&mut self, thread: u32, identity: Identity) {
        if self.known.len() >= IDENTITIES_MAX {
            return;
        }
        let below = (self.known.len() - 1) as u64;
        if set_real_time_limit(thread, FIRST_LIMIT - below).is_ok() {
            self.known.push(identity);
        }
    }

    pub(super) fn answer(&mut self, request: &Request<'_>, call: IdentityCall, width: Width) -> Result<Answer, Errno> {
        let mut identity = self.of(request.thread);
        let told = |id: u32| Answer::Return(i64::from(narrow(id, width)));
        let before = identity.clone();
        let privileged = identity.is_privileged();
        let result = match call {
            IdentityCall::Real(of) => return Ok(told(identity.ids(of).real)),
            IdentityCall::Effective(of) => return Ok(told(identity.ids(of).effective)),
            IdentityCall::All(of) => {
                let ids = *identity.ids(of);
                for (index, id) in [ids.real, ids.effective, ids.saved].into_iter().enumerate() {
                    write_ids(request, request.argument(index), &[id], width)?;
                }
                return Ok(Answer::Return(0));
            }
            IdentityCall::Groups => return tell_groups(request, &identity.groups, width),
            IdentityCall::SetGroups => {
                if !privileged {
                    return Err(Errno::PERM);
                }
                identity.groups = read_groups(request, width)?;
                0
            }
            IdentityCall::SetFileSystem(of) => {
                let wanted = request.id(0, width);
                let ids = identity.ids(of);
                let old = ids.file_system;
                if let Some(id) = wanted.filter(|id| privileged || ids.has(*id) || *id == old) {
                    ids.file_system = id;
                }
                i64::from(narrow(old, width))
            }
            IdentityCall::Set(of) => {
                let id = request.id(0, width).ok_or(Errno::INVAL)?;
                let ids = identity.ids(of);
                if privileged {
                    *ids = Ids::all(id);
                } else if id == ids.real || id == ids.saved {
                    (ids.effective, ids.file_system) = (id, id);
                } else {
                    return Err(Errno::PERM);
                }
                0
            }
            IdentityCall::SetRealEffective(of) => {
                let (real, effective) = (request.id(0, width), request.id(1, width));
                let ids = identity.ids(of);
                let old = *ids;
                let allowed = real.is_none_or(|id| id == old.real || id == old.effective)
                    && effective.is_none_or(|id| old.has(id));
                if !privileged && !allowed {
                    return Err(Errno::PERM);
                }
                ids.real = real.unwrap_or(old.real);
                ids.effective = effective.unwrap_or(old.effective);
                ids.file_system = ids.effective;
                if real.is_some() || effective.is_some_and(|id| id != old.real) {
                    ids.saved = ids.effective;
                }
                0
            }
            IdentityCall::SetAll(of) => {
                let wanted = [request.id(0, width), request.id(1, width), request.id(2, width)];
                let ids = identity.ids(of);
                if !privileged && wanted.iter().flatten().any(|id| !ids.has(*id)) {
                    return Err(Errno::PERM);
                }
                let [real, effective, saved] = wanted;
                ids.real = real.unwrap_or(ids.real);
                ids.effective = effective.unwrap_or(ids.effective);
                ids.saved = saved.unwrap_or(ids.saved);
                ids.file_system = ids.effective;
                0
            }
        };
        if identity != before {
            self.become_(request.thread, identity);
        }
        Ok(Answer::Return(result))
    }
}

fn narrow(id: u32, width: Width) -> u32 {
    if width == Width::Short && id > 0xffff { OVERFLOW_ID } else { id }
}

fn write_ids(request: &Request<'_>, address: u64, ids: &[u32], width: Width) -> Result<(), Errno> {
    let mut bytes = Vec::with_capacity(ids.len() * 4);
    for id in ids {
        let four = narrow(*id, width).to_le_bytes();
        bytes.extend_from_slice(if width == Width::Short { &four[..2] } else { &four });
    }
    write_memory(request.thread, address, &bytes)
}

fn tell_groups(request: &Request<'_>, groups: &[u32], width: Width) -> Result<Answer, Errno> {
    let room = usize::try_from(request.signed(0)).map_err(|_| Errno::INVAL)?;
    if room > 0 {
        if room < groups.len() {
            return Err(Errno::INVAL);
        }
        write_ids(request, request.argument(1), groups, width)?;
    }
    Ok(Answer::Return(i64::try_from(groups.len()).unwrap_or(0)))
}

fn read_groups(request: &Request<'_>, width: Width) -> Result<Vec<u32>, Errno> {
    let count = usize::try_from(request.short(0)).map_err(|_| Errno::INVAL)?;
    if count > GROUPS_MAX {
        return Err(Errno::INVAL);
    }
    let size = if width == Width::Short { 2 } else { 4 };
    let mut bytes = vec![0; count * size];
    if count > 0 && read_memory(request.thread, request.argument(1), &mut bytes)? < bytes.len() {
        return Err(Errno::FAULT);
    }
    let little = |chunk: &[u8]| chunk.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
    let mut groups: Vec<u32> = bytes.chunks(size).map(little).collect();
    groups.sort_unstable();
    Ok(groups)
}
