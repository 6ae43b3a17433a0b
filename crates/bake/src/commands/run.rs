use bake::cli::RunArguments;
use bake::error::CommandError;
use crate::wiring::Host;
use std::process::ExitCode;

pub(crate) fn run(_arguments: &RunArguments, _host: &Host) -> Result<ExitCode, CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
