//! The messages of the FUSE protocol as bytes, after `linux/fuse.h`.
//!
//! ```text
//! request   length u32, opcode u32, unique u64, node u64, uid u32, gid u32, pid u32, extension u16, padding u16,
//!           then what the opcode adds
//! reply     length u32, error i32 (0 or a negative error number), unique u64, then the answer
//! ```
//!
//! All numbers are in the byte order of the machine. Nothing here acts: requests are taken apart, replies put together.

use rustix::io::Errno;

/// The version that this server speaks. A kernel with a later one of the same major version speaks this one too.
pub(crate) const MAJOR: u32 = 7;
/// The first minor version with all flags of [`INIT_FLAGS`] (Linux 5.4).
pub(crate) const MINOR: u32 = 31;

/// Bytes before what is particular to a request.
const REQUEST_HEADER_BYTES: usize = 40;
/// Bytes before the answer.
pub(crate) const REPLY_HEADER_BYTES: usize = 16;
/// Where requests are read to: the kernel wants room for a whole write of [`WRITE_BYTES_MAX`] with its headers, and never
/// less than 8 KiB (`FUSE_MIN_READ_BUFFER`).
pub(crate) const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Nothing is ever written, so this only has to be legal.
const WRITE_BYTES_MAX: u32 = 4096;
/// The most pages of one read: 1 MiB with pages of 4 KiB, the kernel's own limit.
const PAGES_MAX: u16 = 256;
/// The most bytes of one answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How far the kernel may read ahead, in bytes; it takes less where its own limit is lower.
const READ_AHEAD_BYTES_MAX: u32 = 1024 * 1024;
/// Reads ahead that may be under way at a time, and from how many on the kernel slows readers down.
const BACKGROUND_MAX: u16 = 64;
const CONGESTED_FROM: u16 = 48;

/// How long an answer stays valid, in seconds: longer than any step runs, since the tree does not change.
const FOREVER_S: u64 = 1_000_000_000;

/// The request numbers that are answered with more than `ENOSYS`.
pub(crate) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const READ: u32 = 15;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const READDIRPLUS: u32 = 44;
}

/// `FUSE_NOTIFY_STORE`: the kernel is to keep content that nobody asked for.
const NOTIFY_STORE: i32 = 4;

/// `FUSE_ASYNC_READ`: several reads of one file at a time.
const ASYNC_READ: u32 = 1;
/// `FUSE_DO_READDIRPLUS`: directories are listed with [`opcode::READDIRPLUS`].
const DO_READDIRPLUS: u32 = 1 << 13;
/// `FUSE_ASYNC_DIO`: direct reads need not wait for each other.
const ASYNC_DIO: u32 = 1 << 15;
/// `FUSE_NO_OPEN_SUPPORT`: after one `ENOSYS`, files are opened without asking.
const NO_OPEN: u32 = 1 << 17;
/// `FUSE_PARALLEL_DIROPS`: lookups in one directory need not wait for each other.
const PARALLEL_DIROPS: u32 = 1 << 18;
/// `FUSE_MAX_PAGES`: the reply to INIT says how long a read may be.
const MAX_PAGES: u32 = 1 << 22;
/// `FUSE_CACHE_SYMLINKS`: targets of links are asked for once.
const CACHE_SYMLINKS: u32 = 1 << 23;
/// `FUSE_NO_OPENDIR_SUPPORT`: as [`NO_OPEN`], for directories, whose listings are kept then too.
const NO_OPENDIR: u32 = 1 << 24;
/// What is asked for; all but [`REQUIRED_FLAGS`] only makes it faster.
const INIT_FLAGS: u32 = ASYNC_READ | DO_READDIRPLUS | ASYNC_DIO | PARALLEL_DIROPS | CACHE_SYMLINKS | REQUIRED_FLAGS;
/// Without these the kernel would not accept some answer of the server.
const REQUIRED_FLAGS: u32 = NO_OPEN | NO_OPENDIR | MAX_PAGES;

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) opcode: u32,
    /// Names the request in its reply.
    pub(crate) unique: u64,
    /// The node it is about.
    pub(crate) node: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes what one read of the device returned apart; `None` when that is no request.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let fields = Fields(bytes);
        if usize::try_from(fields.u32_at(0)?).ok()? != bytes.len() {
            return None;
        }
        Some(Self {
            opcode: fields.u32_at(4)?,
            unique: fields.u64_at(8)?,
            node: fields.u64_at(16)?,
            body: bytes.get(REQUEST_HEADER_BYTES..)?,
        })
    }

    /// The name of LOOKUP.
    pub(crate) fn name(&self) -> Option<&'a [u8]> {
        until_nul(self.body)
    }

    /// Offset and number of bytes of READ, READDIR and READDIRPLUS.
    pub(crate) fn range(&self) -> Option<(u64, usize)> {
        let fields = Fields(self.body);
        let wanted = usize::try_from(fields.u32_at(16)?).ok()?;
        Some((fields.u64_at(8)?, wanted.min(ANSWER_BYTES_MAX)))
    }

    /// The bytes that the asker of GETXATTR or LISTXATTR has room for, 0 to be told how many are needed, and the name.
    pub(crate) fn attribute(&self) -> Option<(usize, &'a [u8])> {
        let room = usize::try_from(Fields(self.body).u32_at(0)?).ok()?;
        Some((room, until_nul(self.body.get(8..)?).unwrap_or_default()))
    }

    /// Version and flags of INIT.
    pub(crate) fn init(&self) -> Option<Init> {
        let fields = Fields(self.body);
        Some(Init { major: fields.u32_at(0)?, minor: fields.u32_at(4)?, flags: fields.u32_at(12).unwrap_or(0) })
    }
}

/// What the kernel says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Init {
    major: u32,
    minor: u32,
    flags: u32,
}

impl Init {
    /// Whether this kernel can work with the server's answers.
    pub(crate) fn is_supported(self) -> bool {
        self.major == MAJOR && self.minor >= MINOR && self.flags & REQUIRED_FLAGS == REQUIRED_FLAGS
    }
}

/// Everything that the kernel is told about one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    /// In units of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) accessed: Time,
    /// Also told as the time of the last change of anything.
    pub(crate) modified: Time,
    /// Type and permission bits.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: (u32, u32),
}

/// Seconds since 1970, which may be negative, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// A reply being put together. The buffer is used again and again.
#[derive(Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    length: usize,
}

impl Reply {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; 8192], length: REPLY_HEADER_BYTES }
    }

    /// Forgets the answer so far.
    pub(crate) fn clear(&mut self) {
        self.length = REPLY_HEADER_BYTES;
    }

    /// Bytes of the answer so far.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.length - REPLY_HEADER_BYTES
    }

    /// Fills in the header of a reply; the result is what to write to the device.
    pub(crate) fn finish(&mut self, unique: u64, error: Option<Errno>) -> &[u8] {
        if error.is_some() {
            self.clear();
        }
        self.finish_as(unique, error.map_or(0, |errno| -errno.raw_os_error()))
    }

    /// The same for the notice that [`Self::content`] began.
    pub(crate) fn finish_content(&mut self) -> &[u8] {
        // Nobody asked, and in place of an error stands what kind of notice it is.
        self.finish_as(0, NOTIFY_STORE)
    }

    fn finish_as(&mut self, unique: u64, error: i32) -> &[u8] {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let header = [length.to_ne_bytes(), error.to_ne_bytes()];
        for (place, byte) in self.bytes.iter_mut().zip(header.iter().flatten().chain(&unique.to_ne_bytes())) {
            *place = *byte;
        }
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// `length` bytes at the end of the answer, to be filled in.
    pub(crate) fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.length;
        self.length += length;
        if self.bytes.len() < self.length {
            self.bytes.resize(self.length, 0);
        }
        self.bytes.get_mut(start..self.length).unwrap_or_default()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_ne_bytes());
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.bytes(&number.to_ne_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_ne_bytes());
    }

    /// The answer to INIT (`fuse_init_out`).
    pub(crate) fn init(&mut self, kernel: Init) {
        self.u32(MAJOR);
        self.u32(MINOR);
        self.u32(READ_AHEAD_BYTES_MAX);
        self.u32(INIT_FLAGS & kernel.flags);
        self.u16(BACKGROUND_MAX);
        self.u16(CONGESTED_FROM);
        self.u32(WRITE_BYTES_MAX);
        // Times are kept to the nanosecond.
        self.u32(1);
        self.u16(PAGES_MAX);
        self.u16(0);
        self.room(32).fill(0);
    }

    /// The answer to LOOKUP (`fuse_entry_out`), valid forever. `None`: there is no such file.
    pub(crate) fn entry(&mut self, found: Option<(u64, &Status)>) {
        self.u64(found.map_or(0, |(node, _)| node));
        self.u64(0);
        self.u64(FOREVER_S);
        self.u64(FOREVER_S);
        self.u64(0);
        match found {
            Some((_, status)) => self.status(status),
            None => self.room(STATUS_BYTES).fill(0),
        }
    }

    /// The answer to GETATTR (`fuse_attr_out`), valid forever.
    pub(crate) fn status_answer(&mut self, status: &Status) {
        self.u64(FOREVER_S);
        self.u64(0);
        self.status(status);
    }

    /// `fuse_attr`.
    fn status(&mut self, status: &Status) {
        let Status { inode, size_bytes, blocks, accessed, modified, mode, links, uid, gid, device } = *status;
        for number in [inode, size_bytes, blocks] {
            self.u64(number);
        }
        for time in [accessed, modified, modified] {
            self.u64(time.seconds.cast_unsigned());
        }
        for time in [accessed, modified, modified] {
            self.u32(time.nanoseconds);
        }
        for number in [mode, links, uid, gid, encode_device(device), BLOCK_BYTES, 0] {
            self.u32(number);
        }
    }

    /// Whether one more name of a listing fits into `room` bytes of answer, `with_status` or without.
    pub(crate) fn fits(&self, name: &Name<'_>, with_status: bool, room: usize) -> bool {
        self.answer_bytes() + if with_status { ENTRY_BYTES } else { 0 } + name_bytes(name) <= room
    }

    /// One name of READDIRPLUS (`fuse_direntplus`). Without `found` nothing is told about the file, and the kernel asks
    /// when somebody wants to know.
    pub(crate) fn name_with_status(&mut self, name: &Name<'_>, found: Option<(u64, &Status)>) {
        self.entry(found);
        self.name(name);
    }

    /// One name of READDIR (`fuse_dirent`).
    pub(crate) fn name(&mut self, name: &Name<'_>) {
        self.u64(name.inode);
        self.u64(name.offset);
        self.u32(u32::try_from(name.bytes.len()).unwrap_or(u32::MAX));
        self.u32(name.kind);
        self.bytes(name.bytes);
        let padding = name_bytes(name) - DIRENT_BYTES - name.bytes.len();
        self.room(padding).fill(0);
    }

    /// The answer to GETXATTR or LISTXATTR of who only asks for the size (`fuse_getxattr_out`).
    pub(crate) fn xattr_size(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
        self.u32(0);
    }

    /// The beginning of a notice with the first `length` bytes of a file (`fuse_notify_store_out`); they follow.
    pub(crate) fn content(&mut self, node: u64, length: usize) {
        self.u64(node);
        self.u64(0);
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
        self.u32(0);
    }

    /// The answer to STATFS (`fuse_statfs_out`): the same for every tree.
    pub(crate) fn file_system(&mut self) {
        self.room(40).fill(0);
        self.u32(BLOCK_BYTES);
        self.u32(u32::try_from(NAME_BYTES_MAX).unwrap_or(u32::MAX));
        self.u32(BLOCK_BYTES);
        self.room(28).fill(0);
    }
}

/// The longest name that files have on any file system a tree lies on.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// What files are told to be read in.
const BLOCK_BYTES: u32 = 4096;
/// `struct fuse_attr`.
const STATUS_BYTES: usize = 88;
/// `struct fuse_entry_out`.
const ENTRY_BYTES: usize = 40 + STATUS_BYTES;
/// `struct fuse_dirent` without the name.
const DIRENT_BYTES: usize = 24;

/// One name of a listing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) inode: u64,
    /// Where the next request for names goes on.
    pub(crate) offset: u64,
    /// A value of [`kind_of_mode`].
    pub(crate) kind: u32,
    pub(crate) bytes: &'a [u8],
}

/// The type of a file for [`Name`] (`DT_*`): the type bits of its mode, moved down.
pub(crate) fn kind_of_mode(mode: u32) -> u32 {
    (mode >> 12) & 0o17
}

/// With padding to the next multiple of 8.
fn name_bytes(name: &Name<'_>) -> usize {
    (DIRENT_BYTES + name.bytes.len()).next_multiple_of(8)
}

/// `new_encode_dev` of the kernel.
fn encode_device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split(|byte| *byte == 0).next().filter(|name| name.len() < bytes.len())
}

/// Numbers at places of a message.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32_at(&self, offset: usize) -> Option<u32> {
        self.0.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
    }

    fn u64_at(&self, offset: usize) -> Option<u64> {
        self.0.get(offset..)?.first_chunk().copied().map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(REQUEST_HEADER_BYTES + body.len()).unwrap().to_ne_bytes());
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(1_u64.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn requests_are_taken_apart() {
        let bytes = request(opcode::LOOKUP, b"name\0");
        let parsed = Request::parse(&bytes).unwrap();
        assert_eq!((parsed.opcode, parsed.unique, parsed.node), (opcode::LOOKUP, 7, 1));
        assert_eq!(parsed.name(), Some(&b"name"[..]));
        assert_eq!(parsed.range(), None);
        let bytes = request(opcode::LOOKUP, b"no end");
        assert_eq!(Request::parse(&bytes).unwrap().name(), None);
        for length in 0..bytes.len() {
            assert!(Request::parse(&bytes[..length]).is_none(), "{length}");
        }
        let bytes = request(opcode::GETXATTR, b"\x04\0\0\0\0\0\0\0user.a\0");
        assert_eq!(Request::parse(&bytes).unwrap().attribute().unwrap().1, b"user.a");
    }

    #[test]
    fn replies_have_the_sizes_of_the_kernel_structures() {
        let status = Status {
            inode: 1,
            size_bytes: 2,
            blocks: 3,
            accessed: Time { seconds: -1, nanoseconds: 5 },
            modified: Time { seconds: 4, nanoseconds: 5 },
            mode: 0o100_644,
            links: 1,
            uid: 0,
            gid: 0,
            device: (1, 3),
        };
        let mut reply = Reply::new();
        reply.entry(Some((9, &status)));
        assert_eq!(reply.answer_bytes(), 128);
        reply.clear();
        reply.status_answer(&status);
        assert_eq!(reply.answer_bytes(), 104);
        reply.clear();
        reply.file_system();
        assert_eq!(reply.answer_bytes(), 80);
        reply.clear();
        reply.init(Init { major: 7, minor: 31, flags: u32::MAX });
        assert_eq!(reply.answer_bytes(), 64);
        reply.clear();
        let name = Name { inode: 1, offset: 1, kind: kind_of_mode(0o100_644), bytes: b"ninebytes" };
        assert!(!reply.fits(&name, false, 39) && reply.fits(&name, false, 40));
        reply.name(&name);
        assert_eq!((reply.answer_bytes(), name.kind), (40, 8));
        assert!(!reply.fits(&name, true, 207) && reply.fits(&name, true, 208));
        reply.name_with_status(&name, None);
        assert_eq!(reply.finish(3, None).len(), 16 + 208);
        assert_eq!(reply.finish(3, Some(Errno::NOENT)).len(), 16);
        reply.clear();
        reply.content(9, 3);
        reply.bytes(b"abc");
        let notice = reply.finish_content();
        assert_eq!((notice.len(), &notice[4..8]), (16 + 24 + 3, &4_i32.to_ne_bytes()[..]));
        assert_eq!(encode_device((8, 0x1_23)), 0x10_0823);
    }
}
