//! What holds without being typed, and what other programs rely on: configuration, exit codes, documents for machines, pipelines.

mod configuration;
mod containers;
mod machine_output;
mod pipelines;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;

use support::{Environment, Test};

const TESTS: &[Test] = &[
    ("a_projects_file_settles_what_is_built", &[], configuration::project),
    ("later_places_win_and_what_is_typed_wins_over_all", &[], configuration::order),
    ("every_value_is_shown_with_where_it_comes_from", &[], configuration::origins),
    ("a_project_cannot_open_the_machine", &[], configuration::hostile_keys),
    ("a_project_cannot_read_outside_of_itself", &[], configuration::hostile_paths),
    ("a_strange_file_is_an_error_at_once", &["mkfifo"], configuration::hostile_files),
    ("a_file_that_anybody_could_leave_is_not_found", &[], configuration::planted),
    ("slips_are_told_with_place_and_cure", &[], configuration::slips),
    ("linting_and_building_share_a_file", &[], configuration::shared_file),
    ("a_failed_build_goes_on_with_what_is_configured", &[], configuration::resumed),
    ("the_store_is_where_the_configuration_says", &[], configuration::root),
    ("exit_codes_are_those_of_the_page", &[], machine_output::exit_codes),
    ("an_interrupted_build_ends_with_130", &[], machine_output::interrupted),
    ("documents_have_the_fields_of_the_page", &[], machine_output::documents),
    ("standard_output_is_the_result", &[], machine_output::streams),
    ("the_recipe_for_github_builds_caches_and_pushes", &["bash", "jq"], pipelines::github),
    ("the_recipe_for_gitlab_builds_caches_and_pushes", &["bash", "docker-registry", "htpasswd"], pipelines::gitlab),
    ("the_recipe_for_a_shell_leaves_no_login", &["docker-registry", "htpasswd"], pipelines::shell),
    ("the_pod_of_the_page_is_one", &[], pipelines::pod),
    ("the_schema_is_that_of_the_files", &[], configuration::schema),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let environment = match Environment::new() {
        Ok(environment) => Arc::new(environment),
        Err(problem) => return support::failed_to_start(&problem),
    };
    let mut trials = support::trials(TESTS, &environment);
    trials.push(support::trial("containers_allow_what_the_page_says", containers::obstacle(), move || {
        containers::table(&environment)
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}
