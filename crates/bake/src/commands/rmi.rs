use bake::cli::RemoveImageArguments;
use bake::error::CommandError;
use crate::wiring::Host;

pub(crate) fn run(_arguments: &RemoveImageArguments, _host: &Host) -> Result<(), CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
