#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use super::*;

fn directory(path: &Path, version: Version, controllers: &[Controller]) -> Directory {
    Directory { path: path.to_owned(), version, controllers: controllers.to_vec() }
}

fn limits() -> CgroupLimits {
    CgroupLimits {
        memory_bytes: Some(1 << 20),
        memory_and_swap_bytes: Some(3 << 20),
        pids: Some(10),
        cpu_quota: Some(CgroupLimits::quota_of(1500)),
        cpu_shares: Some(1024),
        cpuset_cpus: Some("0-1".into()),
        cpuset_mems: None,
    }
}

#[test]
fn limits_are_written_in_the_form_of_each_version() {
    let temporary = tempfile::tempdir().unwrap();
    let parent = temporary.path();
    std::fs::write(parent.join("cpuset.mems"), "0\n").unwrap();
    let read = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).unwrap();

    let two = parent.join("two");
    std::fs::create_dir(&two).unwrap();
    std::fs::write(two.join("memory.swap.max"), "").unwrap();
    directory(&two, Version::Two, &Controller::ALL).set(&limits()).unwrap();
    assert_eq!(read(&two, "memory.max"), "1048576");
    assert_eq!(read(&two, "memory.swap.max"), "2097152");
    assert_eq!(read(&two, "memory.oom.group"), "1");
    assert_eq!(read(&two, "pids.max"), "10");
    assert_eq!(read(&two, "cpu.max"), "150000 100000");
    assert_eq!(read(&two, "cpu.weight"), "39");
    assert_eq!(read(&two, "cpuset.cpus"), "0-1");
    assert!(!two.join("cpuset.mems").exists());

    let one = parent.join("one");
    std::fs::create_dir(&one).unwrap();
    std::fs::write(one.join("memory.memsw.limit_in_bytes"), "").unwrap();
    directory(&one, Version::One, &Controller::ALL).set(&limits()).unwrap();
    assert_eq!(read(&one, "memory.limit_in_bytes"), "1048576");
    assert_eq!(read(&one, "memory.memsw.limit_in_bytes"), "3145728");
    assert_eq!(read(&one, "cpu.cfs_quota_us"), "150000");
    assert_eq!(read(&one, "cpu.shares"), "1024");
    assert_eq!(read(&one, "cpuset.mems"), "0", "taken from the parent");
}

#[test]
fn usage_is_read_from_either_version() {
    let temporary = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(temporary.path().join(name), text).unwrap();
    write("memory.peak", "4096\n");
    write("memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n");
    write("memory.max_usage_in_bytes", "8192\n");
    write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
    write("pids.events", "max 5\n");
    let controllers = [Controller::Memory, Controller::Pids];
    let read = |version| {
        let mut usage = CgroupUsage::default();
        directory(temporary.path(), version, &controllers).read(&mut usage);
        usage
    };
    let two = CgroupUsage { memory_peak_bytes: Some(4096), out_of_memory_kills: 2, refused_processes: 5 };
    assert_eq!(read(Version::Two), two);
    assert_eq!(read(Version::One), CgroupUsage { memory_peak_bytes: Some(8192), out_of_memory_kills: 3, ..two });
}

#[test]
fn only_names_of_processes_that_are_gone_are_left_over() {
    let here = own_name();
    assert!(!is_left_over(&here));
    assert!(is_left_over(&format!("{PREFIX}{}-1-0", std::process::id())), "the ID was used again");
    assert!(is_left_over("bake-4194999-77-0"));
    for other in ["bake-x-1-0", "bake-1-2", "bake-1-2-3-4", "docker-1-2-3", "bake-"] {
        assert!(!is_left_over(other), "{other}");
    }
}

#[test]
fn a_cgroup_is_made_and_removed() {
    // A host without usable cgroups says so; there is nothing else to be seen there.
    let limits = CgroupLimits { memory_bytes: Some(64 << 20), pids: Some(7), ..CgroupLimits::default() };
    let unavailable = StepCgroup::unavailable(&limits);
    match StepCgroup::create(&limits, None) {
        Ok(cgroup) => {
            let paths: Vec<PathBuf> = cgroup.directories.iter().map(|directory| directory.path.clone()).collect();
            assert!(!paths.is_empty() && paths.iter().all(|path| path.is_dir()));
            assert_eq!(cgroup.directories().unwrap().len(), paths.len());
            assert_eq!(cgroup.usage().out_of_memory_kills, 0);
            drop(cgroup);
            assert!(paths.iter().all(|path| !path.exists()));
        }
        Err(CgroupError::Unavailable { controller }) => assert!(unavailable.contains(&controller)),
        Err(error) => panic!("{error}"),
    }
}
