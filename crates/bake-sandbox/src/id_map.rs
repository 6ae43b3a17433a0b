//! Which user and group ids of a step are which ids of the caller.

use std::fmt::Write;
use std::io;

use serde::{Deserialize, Serialize};

/// The most lines the kernel takes in one map (`user_namespaces(7)`).
const RANGES_MAX: usize = 340;

/// `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id in the step.
    pub inside: u32,
    /// The same id in the caller's user namespace.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    fn outside_of(&self, inside: u32) -> Option<u32> {
        let offset = inside.checked_sub(self.inside)?;
        if offset < self.count { self.outside.checked_add(offset) } else { None }
    }
}

/// The id maps of a user namespace. Id 0 must be mapped in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

impl IdMap {
    /// Id 0 and nothing else: it is `uid` and `gid` of the caller's user namespace.
    pub fn single(uid: u32, gid: u32) -> Self {
        Self {
            users: vec![IdRange { inside: 0, outside: uid, count: 1 }],
            groups: vec![IdRange { inside: 0, outside: gid, count: 1 }],
        }
    }

    /// Users and groups 0 to `count - 1` are those from `outside` on.
    pub fn range(outside: u32, count: u32) -> Self {
        let ranges = vec![IdRange { inside: 0, outside, count }];
        Self { users: ranges.clone(), groups: ranges }
    }

    /// Every id that is mapped in the calling process's own user namespace, as itself.
    ///
    /// # Errors
    /// When `/proc/self/uid_map` or `gid_map` cannot be read.
    pub fn identity() -> io::Result<Self> {
        let read = |path: &str| -> io::Result<Vec<IdRange>> {
            Ok(std::fs::read_to_string(path)?
                .lines()
                .filter_map(|line| {
                    let mut fields = line.split_ascii_whitespace().map(str::parse);
                    let (Some(Ok(inside)), Some(_), Some(Ok(count))) = (fields.next(), fields.next(), fields.next())
                    else {
                        return None;
                    };
                    Some(IdRange { inside, outside: inside, count })
                })
                .collect())
        };
        Ok(Self { users: read("/proc/self/uid_map")?, groups: read("/proc/self/gid_map")? })
    }

    /// The caller's id of the step's user `inside`.
    pub fn outside_user(&self, inside: u32) -> Option<u32> {
        self.users.iter().find_map(|range| range.outside_of(inside))
    }

    /// The caller's id of the step's group `inside`.
    pub fn outside_group(&self, inside: u32) -> Option<u32> {
        self.groups.iter().find_map(|range| range.outside_of(inside))
    }

    /// What is wrong with the map, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.users.len() > RANGES_MAX || self.groups.len() > RANGES_MAX {
            Some("an id map has more than 340 ranges")
        } else if self.outside_user(0).is_none() || self.outside_group(0).is_none() {
            Some("id 0 is not mapped")
        } else {
            None
        }
    }

    /// The text of `/proc/PID/uid_map`.
    pub(crate) fn users_text(&self) -> String {
        text(&self.users)
    }

    /// The text of `/proc/PID/gid_map`.
    pub(crate) fn groups_text(&self) -> String {
        text(&self.groups)
    }
}

fn text(ranges: &[IdRange]) -> String {
    let mut text = String::new();
    for range in ranges {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_translated_inside_the_ranges_only() {
        let mut map = IdMap::range(100_000, 1000);
        map.users.push(IdRange { inside: 65534, outside: 65534, count: 1 });
        assert_eq!(map.outside_user(999), Some(100_999));
        assert_eq!(map.outside_user(1000), None);
        assert_eq!(map.outside_user(65534), Some(65534));
        assert_eq!(map.outside_group(65534), None);
        assert_eq!(map.users_text(), "0 100000 1000\n65534 65534 1\n");
        assert_eq!(map.problem(), None);
        assert!(IdMap { users: vec![], groups: vec![] }.problem().is_some());
    }
}
