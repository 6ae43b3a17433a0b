use bake::cli::LintArguments;
use bake::error::CommandError;
use std::process::ExitCode;
use bake::ui::colour::Colour;

pub(crate) fn run(_arguments: &LintArguments, _colour: Colour) -> Result<ExitCode, CommandError> {
    Err(CommandError::internal("not linked in yet"))
}
