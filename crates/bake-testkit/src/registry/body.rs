//! Response bodies that do what a fault says.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::Sleep;

/// What a response sends.
pub(super) struct ScriptedBody {
    bytes: Bytes,
    /// Whether the length is announced.
    announced: bool,
    piece_bytes: usize,
    pause: Option<Duration>,
    sleeping: Option<Pin<Box<Sleep>>>,
    /// The connection breaks after the bytes.
    breaks: bool,
    /// How many bytes the announced length promises beyond `bytes`.
    promised: u64,
    endless: bool,
}

impl ScriptedBody {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            announced: true,
            piece_bytes: 64 * 1024,
            pause: None,
            sleeping: None,
            breaks: false,
            promised: 0,
            endless: false,
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn break_after(&mut self, count: usize) {
        if count < self.bytes.len() {
            self.promised = (self.bytes.len() - count) as u64;
            self.bytes.truncate(count);
            self.breaks = true;
        }
    }

    pub(super) fn replace(&mut self, bytes: Bytes, announced: bool) {
        self.bytes = bytes;
        self.announced = announced;
    }

    pub(super) fn never_end(&mut self) {
        self.announced = false;
        self.endless = true;
    }

    pub(super) fn slow_down(&mut self, piece_bytes: usize, pause: Duration) {
        self.piece_bytes = piece_bytes.max(1);
        self.pause = Some(pause);
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(pause) = self.pause {
            let sleeping = self.sleeping.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            ready!(sleeping.as_mut().poll(context));
            self.sleeping = None;
        }
        if !self.bytes.is_empty() {
            let size = self.piece_bytes.min(self.bytes.len());
            return Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(size)))));
        }
        if self.endless {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 4096])))));
        }
        if self.breaks {
            // A moment, so that what came before is on its way when the connection closes.
            let moment = Duration::from_millis(5);
            let sleeping = self.sleeping.get_or_insert_with(|| Box::pin(tokio::time::sleep(moment)));
            ready!(sleeping.as_mut().poll(context));
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && !self.endless && !self.breaks
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced { SizeHint::with_exact(self.bytes.len() as u64 + self.promised) } else { SizeHint::new() }
    }
}
