//! Showing how far compressing and pushing are.

use std::sync::Arc;

use bake::ui::progress::Transfers;
use bake_exporter::{PushProgress, SendProgress};
use bake_oci::Digest;
use bake_registry::Pushed;

/// What a pusher is told to call: for blobs that are being sent, and for each that is dealt with.
pub(crate) fn callbacks(transfers: &Transfers) -> (Arc<SendProgress>, Arc<PushProgress>) {
    let (sending, told) = (transfers.clone(), transfers.clone());
    let sending = move |digest: &Digest, current, total| sending.tell(id("push", digest), current, total);
    let told = move |digest: &Digest, size_bytes, how: &Pushed| {
        let verb = match how {
            Pushed::Existed => "there already",
            Pushed::Mounted => "mounted",
            Pushed::Uploaded => "push",
        };
        told.tell(id(verb, digest), size_bytes, size_bytes);
    };
    (Arc::new(sending), Arc::new(told))
}

/// What an exporter is told to call while it compresses.
pub(crate) fn compressing(transfers: Transfers) -> Arc<SendProgress> {
    Arc::new(move |layer: &Digest, current, total| transfers.tell(id("compress", layer), current, total))
}

fn id(verb: &str, digest: &Digest) -> String {
    format!("{verb} {}", digest.short())
}
