//! Users and owners where only ID 0 exists: what a process is told is kept here, the kernel knows nothing of it.
//!
//! The filter of such a step hands the calls of [`calls::EMULATED`] to the sandbox's first process, which answers them
//! one after the other between its other duties:
//!
//! - changes of identity and questions about it ([`identity`]);
//! - changes of owner, which are recorded beside the file as [`bake_sys::owner_record`] describes ([`files`]);
//! - `stat` and its relatives, where a file has such a record ([`status`]);
//! - calls that may create a file, which then belongs to the emulated user ([`created`]).
//!
//! None of this is a security boundary. The kernel goes on enforcing the one real ID, and whatever is done for a step
//! here the step could do to its own files itself. So a call may be let through after a look at memory that changes.

mod calls;
mod created;
mod files;
mod handover;
mod identity;
mod status;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bake_sys::Errno;
use bake_sys::notification::{Answer, Notification, answer, receive};
use bake_sys::seccomp::ARCHITECTURE_I386;

pub(crate) use calls::{EMULATED, verdict};
pub(crate) use handover::Handover;
pub(crate) use identity::Identity;

use calls::Operation;

/// Answers the calls of one step.
#[derive(Debug)]
pub(crate) struct Emulation {
    listener: OwnedFd,
    identities: identity::Identities,
    created: created::Created,
    /// A process of the step has changed its root directory, so paths may mean something else than here.
    roots_differ: bool,
}

/// A call that is being answered.
struct Request<'a> {
    thread: u32,
    architecture: u32,
    arguments: &'a [u64; 6],
}

impl Request<'_> {
    fn argument(&self, index: usize) -> u64 {
        let value = self.arguments.get(index).copied().unwrap_or_default();
        if self.architecture == ARCHITECTURE_I386 { value & 0xffff_ffff } else { value }
    }

    /// An argument that is an `int` or an ID.
    fn short(&self, index: usize) -> u32 {
        (self.argument(index) & 0xffff_ffff) as u32
    }

    fn signed(&self, index: usize) -> i32 {
        self.short(index).cast_signed()
    }

    /// An ID argument; `None` for "as it is". The old calls of 32-bit x86 have IDs of 16 bits.
    fn id(&self, index: usize, width: calls::Width) -> Option<u32> {
        match (width, self.short(index)) {
            (calls::Width::Full, u32::MAX) => None,
            (calls::Width::Full, id) => Some(id),
            (calls::Width::Short, id) if id & 0xffff == 0xffff => None,
            (calls::Width::Short, id) => Some(id & 0xffff),
        }
    }
}

impl Emulation {
    /// Begins with the identity the command has.
    pub(crate) fn new(listener: OwnedFd, start: Identity) -> Self {
        // Before Linux 6.6 it is only a little slower.
        let _ = bake_sys::notification::wake_up_synchronously(&listener);
        Self {
            listener,
            identities: identity::Identities::new(start),
            created: created::Created::default(),
            roots_differ: false,
        }
    }

    /// Becomes readable when a call waits.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers one call.
    pub(crate) fn answer_next(&mut self) {
        let Ok(Some(notification)) = receive(&self.listener) else { return };
        let answered = self.decide(&notification).unwrap_or_else(Answer::Fail);
        // The process may have been killed in the meantime.
        let _ = answer(&self.listener, notification.id, answered);
    }

    /// Gives what was created last to its owners. To be called when no process of the step is left.
    pub(crate) fn finish(&mut self) {
        self.created.settle();
    }

    fn decide(&mut self, notification: &Notification) -> Result<Answer, Errno> {
        // Whatever was created before this call is there now.
        self.created.settle();
        let Some(operation) = calls::operation(notification.architecture, notification.number) else {
            return Ok(Answer::Continue);
        };
        let request = Request {
            thread: notification.thread,
            architecture: notification.architecture,
            arguments: &notification.arguments,
        };
        match operation {
            Operation::Identity(call, width) => self.identities.answer(&request, call, width),
            Operation::ChangeOwner(form, width) => self.change_owner(&request, form, width),
            Operation::Status(form) => self.tell_status(&request, form),
            Operation::Create(form) => {
                // Failing to find out who it will belong to must not keep a process from creating it.
                let _ = self.note_creation(&request, form);
                Ok(Answer::Continue)
            }
            Operation::Rename => Ok(Answer::Continue),
            Operation::SetTimes(form, times) => self.set_times(&request, form, times),
            Operation::ChangeRoot => {
                self.roots_differ = true;
                Ok(Answer::Continue)
            }
        }
    }
}
