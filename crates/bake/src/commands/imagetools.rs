//! `bake imagetools`: what is behind names in registries, and names for several images as one.

use bake::cli::{ImagetoolsArguments, ImagetoolsCommand};
use bake::error::CommandError;
use bake::ui::colour::Colour;

use crate::wiring::Host;

mod attestations;
mod create;
mod inspect;

pub(crate) fn run(arguments: &ImagetoolsArguments, host: &Host, colour: Colour) -> Result<(), CommandError> {
    match &arguments.command {
        ImagetoolsCommand::Inspect(inspect) => inspect::run(inspect, host),
        ImagetoolsCommand::Create(create) => create::run(create, host, colour),
    }
}
