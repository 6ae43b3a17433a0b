//! The limits of steps, from the flags.

use bake::cli::LimitArguments;
use bake::error::CommandError;
use bake_sandbox::CgroupLimits;
use bake_worker::{ResourceLimit, StepLimits};

/// The period of `--cpu-quota` where none is given, in microseconds: the kernel's own.
const CPU_PERIOD_US: u64 = 100_000;

/// What the flags ask for.
pub(crate) fn step_limits(arguments: &LimitArguments) -> Result<StepLimits, CommandError> {
    let given = |value: Option<u64>| value.filter(|value| *value > 0);
    let memory_bytes = given(arguments.memory);
    let memory_and_swap_bytes = given(arguments.memory_swap);
    if let (Some(memory), Some(both)) = (memory_bytes, memory_and_swap_bytes)
        && both < memory
    {
        return Err(CommandError::usage("`--memory-swap` is less than `--memory`, which is a part of it"));
    }
    let quota = given(arguments.cpu_quota).map(|quota| (quota, given(arguments.cpu_period).unwrap_or(CPU_PERIOD_US)));
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    Ok(StepLimits {
        cgroup: CgroupLimits {
            memory_bytes,
            memory_and_swap_bytes,
            pids: given(arguments.pids_limit),
            cpu_quota: given(arguments.cpus).map(CgroupLimits::quota_of).or(quota),
            cpu_shares: given(arguments.cpu_shares),
            cpuset_cpus: text(&arguments.cpuset_cpus),
            cpuset_mems: text(&arguments.cpuset_mems),
        },
        cgroup_parent: arguments.cgroup_parent.clone().filter(|path| !path.as_os_str().is_empty()),
        timeout: arguments.timeout,
        resource_limits: arguments.ulimit.iter().map(|text| resource_limit(text)).collect::<Result<_, _>>()?,
    })
}

/// One `--ulimit`.
fn resource_limit(text: &str) -> Result<ResourceLimit, CommandError> {
    ResourceLimit::parse(text).map_err(|problem| {
        CommandError::usage(format!("`--ulimit {text}` cannot be used: {problem}"))
            .hint("it is written NAME=SOFT:HARD, for example `nofile=1024:4096`")
    })
}
