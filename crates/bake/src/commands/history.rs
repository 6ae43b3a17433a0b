use bake::cli::HistoryArguments;
use bake::error::CommandError;
use crate::wiring::Host;

pub(crate) fn run(_arguments: &HistoryArguments, _host: &Host) -> Result<(), CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
