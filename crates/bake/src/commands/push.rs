//! `bake push`.

use std::sync::Arc;

use bake::cli::PushArguments;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake_exporter::{PushProgress, Pusher};
use bake_oci::{Digest, Reference};
use bake_registry::Pushed;
use bake_solver::{BuildEvent, EventSink as _};

use super::complete;
use super::{stored, transfer};
use crate::wiring::Host;

pub(crate) fn run(arguments: &PushArguments, host: &Host, colour: Colour) -> Result<(), CommandError> {
    let name = Reference::parse(&arguments.image).map_err(|error| CommandError::input(error.to_string()))?;
    if name.digest().is_some() {
        return Err(CommandError::input(format!(
            "`{}` has a digest; only names with tags are pushed",
            arguments.image
        )));
    }
    let name = name.or_latest();
    let image = stored::find(&host.store, &arguments.image)?;
    if !image.references.contains(&name) {
        return Err(CommandError::input(format!("no such image: {}", arguments.image))
            .hint(format!("give the image {} a name with `bake tag`; the name says where it goes", image.name())));
    }
    let progress = Arc::new(transfer::progress(arguments.quiet, colour)?);

    // The registry is told that manifests are OCI's, so they have to be.
    let ready = transfer::shown(&progress, transfer::label(format!("preparing {}", name.familiar())), |step| {
        complete::with_blobs(&image, host, &progress, step)
    })?;
    let digest = transfer::shown(&progress, transfer::label(format!("pushing {name}")), |step| {
        let display = Arc::clone(&progress);
        let told: Arc<PushProgress> = Arc::new(move |digest: &Digest, size_bytes, how: &Pushed| {
            let verb = match how {
                Pushed::Existed => "there already",
                Pushed::Mounted => "mounted",
                Pushed::Uploaded => "pushed",
            };
            let id = format!("{verb} {}", digest.short());
            display.send(BuildEvent::Transfer { step, id, current: size_bytes, total: Some(size_bytes) });
        });
        let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
        transfer::exporter(host)
            .push(&ready, &name, &Pusher::new(runtime, client), &told)
            .map_err(|error| transfer::export_failed(&error))
    })?;
    progress.finish(None);
    crate::print(&format!("{digest}\n"))
}
