use bake::cli::VersionArguments;
use bake::error::CommandError;


pub(crate) fn run(_arguments: &VersionArguments) -> Result<(), CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
