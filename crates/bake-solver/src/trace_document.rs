//! The form in which traces are kept: about ten bytes for a missing path, eighty for a file.
//!
//! ```text
//! document = "bakett1\n" count entry*
//! entry    = slot shared length suffix tag body
//! tag      = 0 no node | 1 node | 2 no directory | 3 names
//! body     = tag 1: kind (byte) mode uid gid size links marks [attributes 32] [content 32];  tag 3: digest (32 bytes)
//! marks    = 1 if attributes follow, plus 2 if content follows (byte)
//! ```
//!
//! Numbers are LEB128; `shared` is how many bytes the path has in common with the one before, `length` that of the rest.

use crate::trace::{Answer, Asked, NodeAnswer, QUESTIONS_MAX, Question, SLOTS_MAX, Trace};

const MAGIC: &[u8] = b"bakett1\n";

/// The longest path that is believed (`PATH_MAX` of the kernel).
const PATH_BYTES_MAX: usize = 4096;

const HAS_ATTRIBUTES: u8 = 1;
const HAS_CONTENT: u8 = 2;

impl Trace {
    /// The form in which it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        number(&mut bytes, self.len() as u64);
        let mut last: &[u8] = b"";
        for (question, answer) in self.entries() {
            let path = question.path.as_slice();
            let shared = last.iter().zip(path).take_while(|(one, other)| one == other).count();
            number(&mut bytes, u64::from(question.slot));
            number(&mut bytes, shared as u64);
            number(&mut bytes, (path.len() - shared) as u64);
            bytes.extend_from_slice(path.get(shared..).unwrap_or_default());
            last = path;
            match (question.asked, answer) {
                (Asked::Node, Answer::Node(node)) => {
                    bytes.push(1);
                    put_node(&mut bytes, node);
                }
                (Asked::Node, _) => bytes.push(0),
                (Asked::Names, Answer::Names(digest)) => {
                    bytes.push(3);
                    bytes.extend_from_slice(digest);
                }
                (Asked::Names, _) => bytes.push(2),
            }
        }
        bytes
    }

    /// The trace of which `bytes` are the form; `None` if they are none, or are of another version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let count = take_count(&mut rest, QUESTIONS_MAX)?;
        let mut entries: Vec<(Question, Answer)> = Vec::with_capacity(count.min(rest.len()));
        let mut path: Vec<u8> = Vec::new();
        for _ in 0..count {
            let slot = u16::try_from(take_count(&mut rest, SLOTS_MAX - 1)?).ok()?;
            let shared = take_count(&mut rest, path.len())?;
            let length = take_count(&mut rest, PATH_BYTES_MAX.checked_sub(shared)?)?;
            path.truncate(shared);
            path.extend_from_slice(take(&mut rest, length)?);
            let (asked, answer) = match take(&mut rest, 1)? {
                [0] => (Asked::Node, Answer::Absent),
                [1] => (Asked::Node, Answer::Node(take_node(&mut rest)?)),
                [2] => (Asked::Names, Answer::Absent),
                [3] => (Asked::Names, Answer::Names(take_digest(&mut rest)?)),
                _ => return None,
            };
            let question = Question { slot, path: path.clone(), asked };
            // Sorted and each only once, as they were written: the key depends on it.
            if !is_path(&question.path) || entries.last().is_some_and(|(before, _)| *before >= question) {
                return None;
            }
            entries.push((question, answer));
        }
        rest.is_empty().then(|| Self::new(entries))
    }
}

/// Whether a path is one that a step can have asked for: relative, without empty names, `.` and `..`.
fn is_path(path: &[u8]) -> bool {
    path.is_empty()
        || !path.contains(&0)
            && path.split(|byte| *byte == b'/').all(|name| !name.is_empty() && name != b"." && name != b"..")
}

fn put_node(bytes: &mut Vec<u8>, node: &NodeAnswer) {
    bytes.push(node.kind);
    for value in [node.mode, node.uid, node.gid] {
        number(bytes, u64::from(value));
    }
    number(bytes, node.size);
    number(bytes, u64::from(node.links));
    let (attributes, content) = (node.attributes != [0; 32], node.content != [0; 32]);
    bytes.push(u8::from(attributes) * HAS_ATTRIBUTES + u8::from(content) * HAS_CONTENT);
    for (is_there, digest) in [(attributes, &node.attributes), (content, &node.content)] {
        if is_there {
            bytes.extend_from_slice(digest);
        }
    }
}

fn take_node(rest: &mut &[u8]) -> Option<NodeAnswer> {
    let kind = *take(rest, 1)?.first()?;
    let mut small = || u32::try_from(take_number(rest)?).ok();
    let (mode, uid, gid) = (small()?, small()?, small()?);
    let size = take_number(rest)?;
    let links = u32::try_from(take_number(rest)?).ok()?;
    let marks = *take(rest, 1)?.first()?;
    let attributes = if marks & HAS_ATTRIBUTES == 0 { [0; 32] } else { take_digest(rest)? };
    let content = if marks & HAS_CONTENT == 0 { [0; 32] } else { take_digest(rest)? };
    (marks <= HAS_ATTRIBUTES + HAS_CONTENT).then_some(NodeAnswer {
        kind,
        mode,
        uid,
        gid,
        size,
        links,
        attributes,
        content,
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_digest(rest: &mut &[u8]) -> Option<[u8; 32]> {
    take(rest, 32)?.try_into().ok()
}

fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        let part = u64::from(byte & 0x7f);
        if part.leading_zeros() < shift {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_count(rest: &mut &[u8], limit: usize) -> Option<usize> {
    usize::try_from(take_number(rest)?).ok().filter(|count| *count <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: u8, size: u64, content: u8) -> Answer {
        Answer::Node(NodeAnswer {
            kind,
            mode: 0o644,
            uid: 70_000,
            gid: u32::MAX,
            size,
            links: 2,
            attributes: [0; 32],
            content: [content; 32],
        })
    }

    fn sample() -> Trace {
        let question = |slot, path: &str, asked| Question { slot, path: path.into(), asked };
        Trace::new(vec![
            (question(1, "usr", Asked::Node), Answer::Absent),
            (question(0, "", Asked::Node), node(b'd', 0, 0)),
            (question(0, "app/package.json", Asked::Node), node(b'f', u64::MAX, 7)),
            (question(0, "app", Asked::Names), Answer::Names([3; 32])),
            (question(0, "app", Asked::Node), node(b'd', 0, 0)),
            (question(0, "app/package.json", Asked::Names), Answer::Absent),
            (question(0, "app", Asked::Node), node(b'd', 0, 0)),
        ])
    }

    #[test]
    fn a_trace_is_read_as_it_was_written() {
        let trace = sample();
        assert_eq!((trace.len(), trace.paths()), (6, 4));
        assert_eq!(Trace::from_bytes(&trace.to_bytes()), Some(trace));
        assert_eq!(Trace::from_bytes(&Trace::default().to_bytes()), Some(Trace::default()));
    }

    #[test]
    fn damaged_traces_are_none() {
        let bytes = sample().to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Trace::from_bytes(&bytes[..length]), None, "{length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Trace::from_bytes(&longer), None);
        for position in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[position] = value;
                // Whatever comes out can be written and read again.
                if let Some(trace) = Trace::from_bytes(&changed) {
                    assert_eq!(Trace::from_bytes(&trace.to_bytes()), Some(trace));
                }
            }
        }
    }

    #[test]
    fn paths_that_leave_the_slot_are_refused() {
        for path in ["/etc", "a//b", "a/../b", "..", ".", "a/", "a\0b"] {
            let question = Question { slot: 0, path: path.into(), asked: Asked::Node };
            assert_eq!(Trace::from_bytes(&Trace::new(vec![(question, Answer::Absent)]).to_bytes()), None, "{path:?}");
        }
    }

    #[test]
    fn keys_depend_on_every_question_and_answer() {
        let outer = bake_oci::CacheKey([1; 32]);
        let trace = sample();
        let mut keys = vec![trace.key(&outer), trace.key(&bake_oci::CacheKey([2; 32]))];
        for index in 0..trace.len() {
            let mut fewer = trace.entries().to_vec();
            let removed = fewer.remove(index);
            keys.push(Trace::new(fewer.clone()).key(&outer));
            fewer.push((removed.0, node(b'l', 1, 1)));
            keys.push(Trace::new(fewer).key(&outer));
        }
        let count = keys.len();
        keys.sort_unstable_by_key(|key| key.0);
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert_eq!(trace.questions(), sample().questions());
    }
}
