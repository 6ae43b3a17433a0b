//! The thread that answers the kernel's questions about one tree.
//!
//! 1. wait for a request, or for the word that nobody needs the tree any more;
//! 2. find out what the answer is;
//! 3. write down what the answer tells;
//! 4. give the answer.
//!
//! The order of 3 and 4 is the invariant of this crate. Whatever goes wrong is kept as the reason why the record is worth
//! nothing, while questions go on being answered as well as they can: the step that asks them is none the wiser.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bake_snapshot::{LayerTree, SnapshotError, TreeNode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::asked::{Asked, Known, Recorded, join};
use crate::error::{TraceError, display};
use crate::protocol::{NAME_BYTES_MAX, REQUEST_BYTES_MAX, Reply, Request, Status, opcode};
use crate::push::{Foresight, Pusher, SmallFile};
use crate::recent::Recent;
use crate::shown::{Attributes, Entry, ServeOptions, Shown, is_directory, is_regular};
use crate::signal::Signal;

/// Files that are kept open for the next read, and listings for the next piece: several readers take turns.
const FILES_MAX: usize = 16;
const LISTINGS_MAX: usize = 8;

/// A server before and while it runs.
#[derive(Debug)]
pub(crate) struct Server {
    tree: Arc<LayerTree>,
    shown: Shown,
    device: Arc<OwnedFd>,
    asked: Asked,
    foresight: Foresight,
    /// What is to be given when the answer is.
    foreseen: Vec<SmallFile>,
    /// Once there is something to be given that nobody asked for.
    pusher: Option<Pusher>,
    files: Recent<File, FILES_MAX>,
    listings: Recent<Arc<Vec<Entry>>, LISTINGS_MAX>,
    requests: u64,
    /// The first thing that went wrong.
    failure: Option<TraceError>,
}

/// Why a question gets an error for an answer.
enum Refused {
    /// That is the answer, and a function of what is recorded.
    Is(Errno),
    /// The answer is not known: the record is void.
    Failed(TraceError),
}

impl From<TraceError> for Refused {
    fn from(error: TraceError) -> Self {
        Self::Failed(error)
    }
}

impl From<SnapshotError> for Refused {
    fn from(error: SnapshotError) -> Self {
        Self::Failed(error.into())
    }
}

/// How the answer is in the reply's buffer.
type Answered = Result<(), Refused>;

impl Server {
    pub(crate) fn new(tree: Arc<LayerTree>, options: ServeOptions, device: OwnedFd) -> Self {
        Self {
            tree,
            shown: Shown::new(options),
            device: Arc::new(device),
            asked: Asked::new(),
            foresight: Foresight::default(),
            foreseen: Vec::new(),
            pusher: None,
            files: Recent::new(),
            listings: Recent::new(),
            requests: 0,
            failure: None,
        }
    }

    /// Answers until `stop` can be read, then closes the connection: who still waits for an answer gets `ENOTCONN`.
    ///
    /// # Errors
    /// Whatever voids the record.
    pub(crate) fn run(mut self, stop: &Signal) -> Result<Recorded, TraceError> {
        let mut ended = self.answer_all(stop);
        if let Some(pusher) = self.pusher.take() {
            let pusher_ended = pusher.end();
            ended = ended.and(self.answer_all(&pusher_ended));
        }
        let Self { device, asked, requests, failure, .. } = self;
        drop(device);
        if let Some(failure) = failure {
            return Err(failure);
        }
        ended?;
        asked.into_recorded(requests)
    }

    fn answer_all(&mut self, stop: &Signal) -> Result<(), TraceError> {
        let mut bytes = vec![0; REQUEST_BYTES_MAX];
        let mut reply = Reply::new();
        loop {
            if wait(&self.device, stop).map_err(TraceError::exchange("wait for"))? == Event::Stop {
                return Ok(());
            }
            let length = match rustix::io::read(&self.device, &mut bytes) {
                Ok(length) => length,
                // ENOENT: whoever asked was killed before the question was read.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
                Err(Errno::NODEV) => return Err(TraceError::Disconnected),
                Err(errno) => return Err(TraceError::exchange("read from")(errno)),
            };
            let request = bytes.get(..length).and_then(Request::parse);
            let request = request.ok_or(TraceError::Protocol { what: "its length is wrong" })?;
            self.requests += 1;
            self.answer(&request, &mut reply)?;
        }
    }

    /// Answers one request. An error here is one of the connection, after which there is no point in going on.
    fn answer(&mut self, request: &Request<'_>, reply: &mut Reply) -> Result<(), TraceError> {
        reply.clear();
        let answered = match request.opcode {
            opcode::LOOKUP => self.look_up(request, reply),
            opcode::READ => self.read(request, reply),
            opcode::READDIR => self.list(request, reply, Form::Names),
            opcode::READDIRPLUS => self.list(request, reply, Form::NamesAndStatus),
            opcode::GETATTR => self.status(request, reply),
            opcode::READLINK => self.read_link(request, reply),
            opcode::GETXATTR => self.xattr(request, reply),
            opcode::LISTXATTR => self.xattrs(request, reply),
            opcode::STATFS => {
                reply.file_system();
                Ok(())
            }
            opcode::INIT => {
                let kernel = request.init().ok_or(TraceError::Protocol { what: "INIT is too short" })?;
                if !kernel.is_supported() {
                    return Err(TraceError::TooOld);
                }
                reply.init(kernel);
                Ok(())
            }
            // These have no reply. Numbers of paths are kept for as long as the tree is served, and nothing takes long enough
            // to be interrupted.
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return Ok(()),
            // The kernel remembers it: opening, closing, seeking and the like are done without asking from then on.
            _ => Err(Refused::Is(Errno::NOSYS)),
        };
        let error = match answered {
            Ok(()) => None,
            Err(Refused::Is(errno)) => Some(errno),
            Err(Refused::Failed(failure)) => {
                tracing::debug!(%failure, "the record of a served tree is void");
                self.failure.get_or_insert(failure);
                Some(Errno::IO)
            }
        };
        match rustix::io::write(&self.device, reply.finish(request.unique, error)) {
            // ENOENT: whoever asked was killed meanwhile.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(Errno::NODEV) => return Err(TraceError::Disconnected),
            Err(errno) => return Err(TraceError::exchange("answer")(errno)),
        }
        let foreseen = std::mem::take(&mut self.foreseen);
        if !foreseen.is_empty() {
            self.push(foreseen);
        }
        Ok(())
    }

    fn known(&self, number: u64) -> Result<&Known, TraceError> {
        self.asked.known(number).ok_or(TraceError::Protocol { what: "it is about a file that was never told of" })
    }

    fn look_up(&mut self, request: &Request<'_>, reply: &mut Reply) -> Answered {
        let name = request.name().ok_or(TraceError::Protocol { what: "LOOKUP has no name" })?;
        if name.len() > NAME_BYTES_MAX {
            return Err(Refused::Is(Errno::NAMETOOLONG));
        }
        let directory = Arc::clone(&self.known(request.node)?.path);
        let path = join(&directory, name);
        let Some(node) = self.tree.node(&path)? else {
            self.asked.absent(&path)?;
            reply.entry(None);
            return Ok(());
        };
        let is_new = !self.asked.is_asked(&path);
        let (number, status) = self.record(&path, &node)?;
        if is_new && !is_directory(status.mode) {
            self.asked.storm().looked_up(&directory);
        }
        reply.entry(Some((number, &status)));
        Ok(())
    }

    /// Writes down that everything about `node` is told, which the caller then does.
    fn record(&mut self, path: &[u8], node: &TreeNode) -> Result<(u64, Status), TraceError> {
        let status = self.shown.status(path, node);
        let number = self.asked.exists(path, status.size_bytes)?;
        Ok((number, status))
    }

    fn status(&mut self, request: &Request<'_>, reply: &mut Reply) -> Answered {
        let path = Arc::clone(&self.known(request.node)?.path);
        let node = self.tree.node(&path)?.ok_or_else(|| TraceError::changed(&path))?;
        let (_, status) = self.record(&path, &node)?;
        reply.status_answer(&status);
        Ok(())
    }

    /// The target counts as told since the link was looked up.
    fn read_link(&mut self, request: &Request<'_>, reply: &mut Reply) -> Answered {
        let target = self.tree.read_link(&self.known(request.node)?.path)?;
        reply.bytes(&target);
        Ok(())
    }

    /// Content counts as told since the file was looked up.
    fn read(&mut self, request: &Request<'_>, reply: &mut Reply) -> Answered {
        let (offset, wanted) = request.range().ok_or(TraceError::Protocol { what: "READ is too short" })?;
        if offset == 0 {
            self.foreseen = self.foresight.read(request.node);
        }
        let Self { asked, files, tree, .. } = self;
        let known = asked.known(request.node).ok_or(TraceError::Protocol { what: "READ of an unknown file" })?;
        let rest = usize::try_from(known.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let file = files.get_or(request.node, || tree.open_file(&known.path))?;
        file.read_exact_at(reply.room(wanted.min(rest)), offset).map_err(|source| match source.kind() {
            // It was longer when its size was told.
            std::io::ErrorKind::UnexpectedEof => TraceError::changed(&known.path),
            _ => TraceError::Read { path: display(&known.path), source },
        })?;
        Ok(())
    }

    fn list(&mut self, request: &Request<'_>, reply: &mut Reply, form: Form) -> Answered {
        let (offset, room) = request.range().ok_or(TraceError::Protocol { what: "a listing is too short" })?;
        let path = Arc::clone(&self.known(request.node)?.path);
        let Self { tree, shown, listings, .. } = self;
        let listing = listings.get_or(request.node, || {
            let listing = shown.listing(tree, &path)?.ok_or_else(|| TraceError::changed(&path))?;
            Ok::<_, TraceError>(Arc::new(listing))
        })?;
        let listing = Arc::clone(listing);
        let with_status = form == Form::NamesAndStatus && self.asked.storm().covers(&path);
        if offset == 0 && !with_status {
            let files = listing.iter().filter(|entry| !entry.is_directory()).count();
            self.asked.storm().listed(&path, files);
        }
        self.asked.lists(request.node);
        let mut told = Vec::new();
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        for (entry, next) in listing.iter().skip(first).zip(offset.saturating_add(1)..) {
            let mut name = entry.as_name(next);
            if !reply.fits(&name, form == Form::NamesAndStatus, room) {
                break;
            }
            if form == Form::Names {
                reply.name(&name);
            } else if with_status && !entry.is_dots() {
                let child = join(&path, &entry.name);
                let node = self.tree.node(&child)?.ok_or_else(|| TraceError::changed(&child))?;
                let (number, status) = self.record(&child, &node)?;
                name.inode = status.inode;
                reply.name_with_status(&name, Some((number, &status)));
                if is_regular(status.mode) {
                    let path = Arc::clone(&self.known(number)?.path);
                    told.push(SmallFile { node: number, path, size_bytes: status.size_bytes });
                }
            } else {
                reply.name_with_status(&name, None);
            }
        }
        if !told.is_empty() {
            self.foreseen = self.foresight.listed(told);
        }
        Ok(())
    }

    /// Has files given that the kernel was told of.
    fn push(&mut self, files: Vec<SmallFile>) {
        if self.pusher.is_none() {
            match Pusher::start(Arc::clone(&self.tree), Arc::clone(&self.device)) {
                Ok(pusher) => self.pusher = Some(pusher),
                Err(error) => tracing::debug!(%error, "files are given only when asked for"),
            }
        }
        if let Some(pusher) = &self.pusher {
            pusher.push(files);
        }
    }

    /// Attributes count as told since the file was looked up.
    fn xattr(&mut self, request: &Request<'_>, reply: &mut Reply) -> Answered {
        if self.shown.attributes() == Attributes::Hidden {
            return Err(Refused::Is(Errno::NOSYS));
        }
        let (room, name) = request.attribute().ok_or(TraceError::Protocol { what: "GETXATTR is too short" })?;
        let value = self.tree.disk_attribute(&self.known(request.node)?.path, name)?;
        value_or_size(reply, room, &value.ok_or(Refused::Is(Errno::NODATA))?)
    }

    fn xattrs(&mut self, request: &Request<'_>, reply: &mut Reply) -> Answered {
        if self.shown.attributes() == Attributes::Hidden {
            return Err(Refused::Is(Errno::NOSYS));
        }
        let (room, _) = request.attribute().ok_or(TraceError::Protocol { what: "LISTXATTR is too short" })?;
        let mut list = Vec::new();
        for name in self.tree.disk_attributes(&self.known(request.node)?.path)? {
            list.extend(name);
            list.push(0);
        }
        value_or_size(reply, room, &list)
    }
}

/// What a listing is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// READDIR.
    Names,
    /// READDIRPLUS, which leaves it to the server about which files it tells more.
    NamesAndStatus,
}

/// The answer to GETXATTR and LISTXATTR for who has `room` bytes, or with 0 asks how many are needed.
fn value_or_size(reply: &mut Reply, room: usize, value: &[u8]) -> Answered {
    if room == 0 {
        reply.xattr_size(value.len());
    } else if room < value.len() {
        return Err(Refused::Is(Errno::RANGE));
    } else {
        reply.bytes(value);
    }
    Ok(())
}

/// What the server waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Request,
    Stop,
}

fn wait(device: &OwnedFd, stop: &Signal) -> Result<Event, Errno> {
    loop {
        let mut watched = [
            PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) if watched.get(1).is_some_and(|stop| !stop.revents().is_empty()) => return Ok(Event::Stop),
            Ok(_) => return Ok(Event::Request),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
