//! The terminal of a step, made in the step's own `/dev/pts`: so `tty` names a file that is there, and nothing of the
//! terminal that bake itself may run in is seen.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bake_sys::Errno;
use bake_sys::mount::{Recursion, attach_at, clone_tree};
use bake_sys::terminal::{number, open_peer, unlock};
use rustix::fs::{Gid, Mode, OFlags, Uid, openat};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::init::Descriptors;
use crate::kernel_mounts::{KernelMounts, TTY_GROUP};
use crate::message::{SetupFailure, Stage};
use crate::plan::Plan;
use crate::step::WindowSize;

/// The byte that a descriptor travels with.
const NOTICE: &[u8] = b"t";

/// Makes the terminal, shows it as `/dev/console` too, sends its master out, and puts it in place of the standard streams.
pub(crate) fn give(plan: &Plan, mounts: &KernelMounts, descriptors: &mut Descriptors) -> Result<(), SetupFailure> {
    let (Some(terminal), Some(socket)) = (&plan.terminal, descriptors.terminal.take()) else { return Ok(()) };
    let stage = || "making a terminal".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(&mounts.pts, "ptmx", flags, Mode::empty()).stage(stage)?;
    unlock(&master).stage(stage)?;
    let peer = open_peer(&master).stage(stage)?;
    set_window_size(&master, terminal.size).stage(stage)?;
    // The user of the step may open it by its name; an ID that is not mapped leaves it to root.
    let user = plan.id_map.outside_user(plan.user).map(|_| Uid::from_raw(plan.user));
    let group = plan.id_map.outside_group(TTY_GROUP).map(|_| Gid::from_raw(TTY_GROUP));
    rustix::fs::fchown(&peer, user, group).stage(stage)?;
    let name = number(&master).stage(stage)?.to_string();
    let console = clone_tree(&mounts.pts, name, Recursion::Single).stage(stage)?;
    let place = openat(&mounts.dev, "console", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    attach_at(&console, place.stage(stage)?).stage(|| "mounting `/dev/console`".to_owned())?;
    send_descriptor(&socket, &master).stage(|| "handing the terminal over".to_owned())?;
    let duplicate = || peer.try_clone().map_err(|_| Errno::MFILE).stage(stage);
    descriptors.stdin = Some(duplicate()?);
    descriptors.stdout = duplicate()?;
    descriptors.stderr = peer;
    Ok(())
}

/// Sets the size of a terminal, by its master; its foreground processes are told (`SIGWINCH`).
///
/// # Errors
/// `ENOTTY`: not a terminal.
pub fn set_window_size(master: impl AsFd, size: WindowSize) -> Result<(), Errno> {
    tcsetwinsize(master, Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 })
}

fn send_descriptor(socket: &OwnedFd, descriptor: &OwnedFd) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let sent = [descriptor.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&sent)) {
        return Err(Errno::NOBUFS);
    }
    let bytes = [std::io::IoSlice::new(NOTICE)];
    rustix::net::sendmsg(socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Takes the master that the sandbox sent before it said that it was ready; never waits.
pub(crate) fn receive_descriptor(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [std::io::IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    rustix::net::recvmsg(socket, &mut bytes, &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok(descriptor);
        }
    }
    Err(Errno::BADMSG)
}
