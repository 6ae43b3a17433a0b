use bake::cli::TagArguments;
use bake::error::CommandError;
use crate::wiring::Host;

pub(crate) fn run(_arguments: &TagArguments, _host: &Host) -> Result<(), CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
