//! Users and groups of a root file system, from its `/etc/passwd` and `/etc/group`.
//!
//! A number is never looked up as a name, and one that does not fit is an error: an image could otherwise map it to root.

use bake_graph::{Owner, OwnerId};
use bake_solver::StepError;

/// The files that say who users and groups are, in the root of an image.
pub const ACCOUNT_FILES: [&str; 2] = ["etc/passwd", "etc/group"];

/// A line of `/etc/passwd` or `/etc/group` beyond this length is skipped.
const LINE_MAX: usize = 4096;
/// The largest user or group ID, as the runtimes agree on.
const ID_MAX: u32 = i32::MAX.unsigned_abs();

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User ID.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, the primary one included.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// The account files of a root file system; missing files are empty.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// Content of `/etc/passwd`.
    pub passwd: String,
    /// Content of `/etc/group`.
    pub group: String,
}

/// Why a user cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No line of `/etc/passwd` names it.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// No line of `/etc/group` names it.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// A number that is too large.
    #[error("the ID {0} is too large: at most {ID_MAX}")]
    TooLarge(String),
}

/// The failure of a step whose user or group the image lacks, with the cure.
pub(crate) fn user_failed(error: &UserError) -> StepError {
    let failed = StepError::input(error.to_string());
    match error {
        UserError::UnknownUser(_) => {
            failed.hint("add the user in an earlier step, or give a number, which needs no entry")
        }
        UserError::UnknownGroup(_) => {
            failed.hint("add the group in an earlier step, or give a number, which needs no entry")
        }
        UserError::TooLarge(_) => failed,
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = PasswdEntry<'_>> {
        self.passwd.lines().map(str::trim).filter(|line| line.len() <= LINE_MAX).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let home = fields.nth(1).unwrap_or("");
            Some(PasswdEntry { name, uid, gid, home })
        })
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().map(str::trim).filter(|line| line.len() <= LINE_MAX).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some((name, gid, fields.next().unwrap_or("")))
        })
    }

    fn group_id(&self, group: &str) -> Result<u32, UserError> {
        if let Some(id) = number(group)? {
            return Ok(id);
        }
        let found = self.groups().find(|(name, _, _)| *name == group).map(|(_, gid, _)| gid);
        found.ok_or_else(|| UserError::UnknownGroup(group.to_owned()))
    }

    /// Who `USER` text means: `user[:group]`, each a name or a number; empty is root.
    pub fn identity(&self, text: &str) -> Result<Identity, UserError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let by_number = if user.is_empty() { Some(0) } else { number(user)? };
        let entry = match by_number {
            Some(uid) => self.users().find(|entry| entry.uid == uid),
            None => self.users().find(|entry| entry.name == user),
        };
        let (uid, primary, home) = match (&entry, by_number) {
            (Some(entry), _) => (entry.uid, entry.gid, entry.home),
            (None, Some(uid)) => (uid, 0, ""),
            (None, None) => return Err(UserError::UnknownUser(user.to_owned())),
        };
        let gid = group.map(|group| self.group_id(group)).transpose()?.unwrap_or(primary);
        let mut groups = vec![gid];
        // An explicit group is the only one.
        if let (Some(entry), None) = (&entry, group) {
            let member = |members: &str| members.split(',').any(|member| member == entry.name);
            groups.extend(self.groups().filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
        }
        groups.sort_unstable();
        groups.dedup();
        let home = if home.is_empty() { if uid == 0 { "/root" } else { "/" } } else { home };
        Ok(Identity { uid, gid, groups, home: home.to_owned() })
    }

    /// The user and group that an owner means.
    pub fn owner(&self, owner: &Owner) -> Result<(u32, u32), UserError> {
        let (uid, own_group) = match &owner.user {
            OwnerId::Id(id) => (*id, *id),
            OwnerId::Name(name) => {
                let entry = self.users().find(|entry| entry.name == name);
                let entry = entry.ok_or_else(|| UserError::UnknownUser(name.clone()))?;
                (entry.uid, entry.gid)
            }
        };
        let gid = match &owner.group {
            None => own_group,
            Some(OwnerId::Id(id)) => *id,
            Some(OwnerId::Name(name)) => self.group_id(name)?,
        };
        Ok((uid, gid))
    }
}

/// The number that `text` is, if it is one.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(UserError::TooLarge(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n\talice:x:1500:1600::/home/alice:/bin/sh\nbroken\n".into(),
            group: "root:x:0:\nalice:x:1600:\nstaff:x:50:bob,alice\n".into(),
        }
    }

    fn identity(text: &str) -> Result<(u32, u32, Vec<u32>, String), UserError> {
        accounts().identity(text).map(|i| (i.uid, i.gid, i.groups, i.home))
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(identity(""), Ok((0, 0, vec![0], "/root".into())));
        assert_eq!(identity("alice"), Ok((1500, 1600, vec![50, 1600], "/home/alice".into())));
        assert_eq!(identity("1500"), Ok((1500, 1600, vec![50, 1600], "/home/alice".into())));
        assert_eq!(identity("alice:staff"), Ok((1500, 50, vec![50], "/home/alice".into())));
        assert_eq!(identity("4242"), Ok((4242, 0, vec![0], "/".into())));
        assert_eq!(identity("4242:7"), Ok((4242, 7, vec![7], "/".into())));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(identity("4294967296"), Err(UserError::TooLarge("4294967296".into())));
        assert_eq!(identity("ghost"), Err(UserError::UnknownUser("ghost".into())));
        assert_eq!(identity("alice:ghost"), Err(UserError::UnknownGroup("ghost".into())));
    }

    #[test]
    fn owners() {
        let owner = |user: OwnerId, group| accounts().owner(&Owner { user, group });
        assert_eq!(owner(OwnerId::Id(7), None), Ok((7, 7)));
        assert_eq!(owner(OwnerId::Name("alice".into()), None), Ok((1500, 1600)));
        assert_eq!(owner(OwnerId::Id(7), Some(OwnerId::Name("staff".into()))), Ok((7, 50)));
    }
}
