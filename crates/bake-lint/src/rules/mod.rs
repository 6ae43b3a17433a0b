//! The rules, one file each. A test compares [`RULES`] with the directory, so a rule cannot be written and forgotten.

mod add_for_archive;
mod add_instead_of_copy;
mod add_url_no_checksum;
mod apk_no_cache;
mod apt_cli;
mod apt_install_without_update;
mod apt_lists_left;
mod apt_missing_yes;
mod apt_no_recommends;
mod apt_update_alone;
mod arg_description;
mod base_platform_mismatch;
mod cache_mount_suggested;
mod cd_instead_of_workdir;
mod chmod_777;
mod cleanup_in_later_layer;
mod consecutive_run;
mod copy_all_then_install;
mod copy_chmod;
mod copy_entire_stage;
mod copy_from_self;
mod copy_from_unknown_stage;
mod copy_ignored;
mod copy_multi_no_slash;
mod copy_relative_no_workdir;
mod copy_unread;
mod curl_no_fail;
mod curl_pipe_shell;
mod dev_tools_in_final;
mod dist_upgrade;
mod docker_socket;
mod dockerignore_missing;
mod empty_continuation;
mod eol_base_image;
mod export_without_effect;
mod expose_format;
mod expose_proto_casing;
mod expose_range;
mod expose_ssh;
mod from_arg_empty;
mod from_arg_undefined;
mod from_as_casing;
mod healthcheck_missing;
mod heredoc_errexit;
mod image_digest_missing;
mod image_tag_latest;
mod image_tag_missing;
mod image_untrusted_registry;
mod insecure_step;
mod instruction_as_command;
mod instruction_casing;
mod instruction_order;
mod invalid_json_form;
mod label_empty;
mod label_key_invalid;
mod label_missing;
mod label_unexpected;
mod label_value_invalid;
mod language_cache;
mod layer_cache_left;
mod layer_chown_copy;
mod layer_waste;
mod legacy_key_value;
mod link_suggested;
mod ln_sh;
mod maintainer;
mod multiple_cmd;
mod multiple_entrypoint;
mod multiple_healthcheck;
mod npm_cache;
mod onbuild_invalid;
mod package_sort;
mod parse_error;
mod password_in_layer;
mod pip_cache;
mod pipefail_missing;
mod pkg_version_unpinned;
mod platform_const;
mod platform_redundant;
mod prelude;
mod secret_file_copied;
mod secret_in_env_arg;
mod setuid_file;
mod shell_and_or;
mod shell_assignment_spaces;
mod shell_backquotes;
mod shell_bashism;
mod shell_cd_back;
mod shell_cd_unchecked;
mod shell_echo_escapes;
mod shell_egrep;
mod shell_form_cmd;
mod shell_glob_option;
mod shell_in_scratch;
mod shell_list_in_string;
mod shell_loop_over_files;
mod shell_masked_status;
mod shell_option_as_command;
mod shell_prefix_assignment;
mod shell_quoted_tilde;
mod shell_read_backslash;
mod shell_redirect_order;
mod shell_remove_root;
mod shell_single_quoted_variable;
mod shell_status_later;
mod shell_sudo_redirect;
mod shell_syntax;
mod shell_test_and_or;
mod shell_test_spaces;
mod shell_truncated_input;
mod shell_unassigned_variable;
mod shell_unquoted_list;
mod shell_unquoted_substitution;
mod shell_unquoted_variable;
mod shell_unused_assignment;
mod shell_useless_cat;
mod shell_which;
mod shellcheck;
mod single_stage_toolchain;
mod stage_cycle;
mod stage_name_casing;
mod stage_name_duplicate;
mod stage_name_reserved;
mod stage_unused;
mod stopsignal;
mod sudo;
mod suppression_forbidden;
mod suppression_without_reason;
mod tls_disabled;
mod undefined_var;
mod unknown_instruction;
mod unsigned_packages;
mod unused_foreign_suppression;
mod unused_suppression;
mod user_non_numeric;
mod user_root;
mod useradd_no_log_init;
mod version_as_redirect;
mod wget_and_curl;
mod wget_progress;
mod workdir_relative;
mod workdir_system;
mod yarn_cache;
mod yum_cache_left;
mod yum_missing_yes;

use crate::rule::Rule;

/// Every rule, in the order of their names.
pub const RULES: &[&Rule] = &[
    &add_for_archive::RULE,
    &add_instead_of_copy::RULE,
    &add_url_no_checksum::RULE,
    &apk_no_cache::RULE,
    &apt_cli::RULE,
    &apt_install_without_update::RULE,
    &apt_lists_left::RULE,
    &apt_missing_yes::RULE,
    &apt_no_recommends::RULE,
    &apt_update_alone::RULE,
    &arg_description::RULE,
    &base_platform_mismatch::RULE,
    &cache_mount_suggested::RULE,
    &cd_instead_of_workdir::RULE,
    &chmod_777::RULE,
    &cleanup_in_later_layer::RULE,
    &consecutive_run::RULE,
    &copy_all_then_install::RULE,
    &copy_chmod::RULE,
    &copy_entire_stage::RULE,
    &copy_from_self::RULE,
    &copy_from_unknown_stage::RULE,
    &copy_ignored::RULE,
    &copy_multi_no_slash::RULE,
    &copy_relative_no_workdir::RULE,
    &copy_unread::RULE,
    &curl_no_fail::RULE,
    &curl_pipe_shell::RULE,
    &dev_tools_in_final::RULE,
    &dist_upgrade::RULE,
    &docker_socket::RULE,
    &dockerignore_missing::RULE,
    &empty_continuation::RULE,
    &eol_base_image::RULE,
    &export_without_effect::RULE,
    &expose_format::RULE,
    &expose_proto_casing::RULE,
    &expose_range::RULE,
    &expose_ssh::RULE,
    &from_arg_empty::RULE,
    &from_arg_undefined::RULE,
    &from_as_casing::RULE,
    &healthcheck_missing::RULE,
    &heredoc_errexit::RULE,
    &image_digest_missing::RULE,
    &image_tag_latest::RULE,
    &image_tag_missing::RULE,
    &image_untrusted_registry::RULE,
    &insecure_step::RULE,
    &instruction_as_command::RULE,
    &instruction_casing::RULE,
    &instruction_order::RULE,
    &invalid_json_form::RULE,
    &label_empty::RULE,
    &label_key_invalid::RULE,
    &label_missing::RULE,
    &label_unexpected::RULE,
    &label_value_invalid::RULE,
    &language_cache::RULE,
    &layer_cache_left::RULE,
    &layer_chown_copy::RULE,
    &layer_waste::RULE,
    &legacy_key_value::RULE,
    &link_suggested::RULE,
    &ln_sh::RULE,
    &maintainer::RULE,
    &multiple_cmd::RULE,
    &multiple_entrypoint::RULE,
    &multiple_healthcheck::RULE,
    &npm_cache::RULE,
    &onbuild_invalid::RULE,
    &package_sort::RULE,
    &parse_error::RULE,
    &password_in_layer::RULE,
    &pip_cache::RULE,
    &pipefail_missing::RULE,
    &pkg_version_unpinned::RULE,
    &platform_const::RULE,
    &platform_redundant::RULE,
    &secret_file_copied::RULE,
    &secret_in_env_arg::RULE,
    &setuid_file::RULE,
    &shell_and_or::RULE,
    &shell_assignment_spaces::RULE,
    &shell_backquotes::RULE,
    &shell_bashism::RULE,
    &shell_cd_back::RULE,
    &shell_cd_unchecked::RULE,
    &shell_echo_escapes::RULE,
    &shell_egrep::RULE,
    &shell_form_cmd::RULE,
    &shell_glob_option::RULE,
    &shell_in_scratch::RULE,
    &shell_list_in_string::RULE,
    &shell_loop_over_files::RULE,
    &shell_masked_status::RULE,
    &shell_option_as_command::RULE,
    &shell_prefix_assignment::RULE,
    &shell_quoted_tilde::RULE,
    &shell_read_backslash::RULE,
    &shell_redirect_order::RULE,
    &shell_remove_root::RULE,
    &shell_single_quoted_variable::RULE,
    &shell_status_later::RULE,
    &shell_sudo_redirect::RULE,
    &shell_syntax::RULE,
    &shell_test_and_or::RULE,
    &shell_test_spaces::RULE,
    &shell_truncated_input::RULE,
    &shell_unassigned_variable::RULE,
    &shell_unquoted_list::RULE,
    &shell_unquoted_substitution::RULE,
    &shell_unquoted_variable::RULE,
    &shell_unused_assignment::RULE,
    &shell_useless_cat::RULE,
    &shell_which::RULE,
    &shellcheck::RULE,
    &single_stage_toolchain::RULE,
    &stage_cycle::RULE,
    &stage_name_casing::RULE,
    &stage_name_duplicate::RULE,
    &stage_name_reserved::RULE,
    &stage_unused::RULE,
    &stopsignal::RULE,
    &sudo::RULE,
    &suppression_forbidden::RULE,
    &suppression_without_reason::RULE,
    &tls_disabled::RULE,
    &undefined_var::RULE,
    &unknown_instruction::RULE,
    &unsigned_packages::RULE,
    &unused_foreign_suppression::RULE,
    &unused_suppression::RULE,
    &user_non_numeric::RULE,
    &user_root::RULE,
    &useradd_no_log_init::RULE,
    &version_as_redirect::RULE,
    &wget_and_curl::RULE,
    &wget_progress::RULE,
    &workdir_relative::RULE,
    &workdir_system::RULE,
    &yarn_cache::RULE,
    &yum_cache_left::RULE,
    &yum_missing_yes::RULE,
];

/// The measurements that the examples of rules about them are judged with.
#[cfg(test)]
pub(crate) fn example_measurements(text: &str) -> Option<crate::Measurements> {
    let examples = [
        (copy_unread::RULE.bad, copy_unread::example as fn() -> crate::Measurements),
        (layer_cache_left::RULE.bad, layer_cache_left::example),
        (layer_chown_copy::RULE.bad, layer_chown_copy::example),
        (layer_waste::RULE.bad, layer_waste::example),
    ];
    examples.into_iter().find(|(bad, _)| *bad == text).map(|(_, example)| example())
}

#[cfg(test)]
mod tests;
