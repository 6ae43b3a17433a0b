use bake::cli::PullArguments;
use bake::error::CommandError;
use crate::wiring::Host;
use bake::ui::colour::Colour;

pub(crate) fn run(_arguments: &PullArguments, _host: &Host, _colour: Colour) -> Result<(), CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
