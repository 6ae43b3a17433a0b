//! The rules, one file each. `rules!` declares the module and enters the rule in [`RULES`] in one go, and a test compares the list
//! with the directory, so a rule cannot be written and forgotten.

mod prelude;

use crate::rule::Rule;

macro_rules! rules {
    ($($module:ident),+ $(,)?) => {
        $(mod $module;)+

        /// Every rule, in the order of their names.
        pub const RULES: &[&Rule] = &[$(&$module::RULE),+];
    };
}

rules! {
    add_for_archive,
    add_instead_of_copy,
    add_url_no_checksum,
    apk_no_cache,
    apt_cli,
    apt_install_without_update,
    apt_lists_left,
    apt_missing_yes,
    apt_no_recommends,
    apt_update_alone,
    arg_description,
    base_platform_mismatch,
    cache_mount_suggested,
    cd_instead_of_workdir,
    chmod_777,
    cleanup_in_later_layer,
    consecutive_run,
    copy_all_then_install,
    copy_chmod,
    copy_entire_stage,
    copy_from_self,
    copy_from_unknown_stage,
    copy_ignored,
    copy_multi_no_slash,
    copy_relative_no_workdir,
    curl_pipe_shell,
    dev_tools_in_final,
    dist_upgrade,
    dockerignore_missing,
    empty_continuation,
    eol_base_image,
    expose_format,
    expose_proto_casing,
    expose_range,
    expose_ssh,
    from_arg_empty,
    from_arg_undefined,
    from_as_casing,
    healthcheck_missing,
    heredoc_errexit,
    image_digest_missing,
    image_tag_latest,
    image_tag_missing,
    image_untrusted_registry,
    instruction_casing,
    instruction_order,
    invalid_json_form,
    language_cache,
    layer_cache_left,
    layer_chown_copy,
    layer_waste,
    legacy_key_value,
    link_suggested,
    maintainer,
    multiple_cmd,
    multiple_entrypoint,
    multiple_healthcheck,
    npm_cache,
    onbuild_invalid,
    package_sort,
    parse_error,
    pip_cache,
    pipefail_missing,
    pkg_version_unpinned,
    platform_const,
    platform_redundant,
    secret_file_copied,
    secret_in_env_arg,
    shell_bashism,
    shell_form_cmd,
    shell_in_scratch,
    shell_syntax,
    single_stage_toolchain,
    stage_cycle,
    stage_name_casing,
    stage_name_duplicate,
    stage_name_reserved,
    stage_unused,
    stopsignal,
    sudo,
    tls_disabled,
    undefined_var,
    unknown_instruction,
    unsigned_packages,
    unused_suppression,
    user_non_numeric,
    user_root,
    useradd_no_log_init,
    version_as_redirect,
    workdir_relative,
    yarn_cache,
    yum_cache_left,
    yum_missing_yes,
}

/// The measurements that the examples of rules about them are judged with.
#[cfg(test)]
pub(crate) fn example_measurements(text: &str) -> Option<crate::Measurements> {
    let examples = [
        (layer_cache_left::RULE.bad, layer_cache_left::example as fn() -> crate::Measurements),
        (layer_chown_copy::RULE.bad, layer_chown_copy::example),
        (layer_waste::RULE.bad, layer_waste::example),
    ];
    examples.into_iter().find(|(bad, _)| *bad == text).map(|(_, example)| example())
}

#[cfg(test)]
mod tests;
