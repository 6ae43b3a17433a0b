use bake::cli::PruneArguments;
use bake::error::CommandError;
use crate::wiring::Host;

pub(crate) fn run(_arguments: &PruneArguments, _host: &Host) -> Result<(), CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
