use bake::cli::SaveArguments;
use bake::error::CommandError;
use crate::wiring::Host;

pub(crate) fn run(_arguments: &SaveArguments, _host: &Host) -> Result<(), CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
