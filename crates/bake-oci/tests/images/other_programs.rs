//! skopeo and umoci read the archives, and we read skopeo's. A program that is not installed is passed over.

use std::fs;
use std::io;
use std::process::{Command, Output};

use bake_oci::{
    Depth, ExpansionLimits, MemoryBlobStore, read_archive, validate_image, write_docker_archive, write_oci_layout,
};

use super::support::{named, plain_sample};

/// The output of a program that succeeded, or `None` if it is not installed.
fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(output)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

#[test]
fn skopeo_reads_what_we_write_and_we_read_what_it_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let store = MemoryBlobStore::new();
    let image = plain_sample(&store);
    let images = [named(image.descriptor(None), &["app:1"])];
    fs::write(path("docker.tar"), write_docker_archive(&images, &store, Vec::new()).unwrap()).unwrap();
    fs::write(path("oci.tar"), write_oci_layout(&images, &store, Vec::new()).unwrap()).unwrap();
    for source in [format!("docker-archive:{}:app:1", path("docker.tar")), format!("oci-archive:{}:1", path("oci.tar"))]
    {
        let mut inspect = Command::new("skopeo");
        inspect.args(["--tmpdir", &path(""), "inspect", "--config", &source]);
        let Some(output) = run(&mut inspect) else { return };
        assert!(String::from_utf8_lossy(&output.stdout).contains("2024-01-02T03:04:05Z"));
        for kind in ["docker-archive", "oci-archive"] {
            let copied = path("copied.tar");
            let to = format!("{kind}:{copied}:docker.io/library/copy:2");
            let mut copy = Command::new("skopeo");
            copy.args(["--tmpdir", &path(""), "--insecure-policy", "copy", "--quiet", &source, &to]);
            run(&mut copy).unwrap();
            let into = MemoryBlobStore::new();
            let file = fs::File::open(&copied).unwrap();
            let loaded = read_archive(file, &into, ExpansionLimits::default()).unwrap();
            assert_eq!(loaded.len(), 1);
            assert_eq!(loaded[0].names[0].to_string(), "docker.io/library/copy:2", "{source} {kind}");
            validate_image(&loaded[0].descriptor, &into, Depth::Full).unwrap();
            fs::remove_file(&copied).unwrap();
        }
    }
}

#[test]
fn umoci_unpacks_the_layout() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    fs::create_dir(&layout).unwrap();
    let store = MemoryBlobStore::new();
    let image = plain_sample(&store);
    let archive = directory.path().join("oci.tar");
    fs::write(&archive, write_oci_layout(&[named(image.descriptor(None), &["app:1"])], &store, Vec::new()).unwrap())
        .unwrap();
    if run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout)).is_none() {
        return;
    }
    let bundle = directory.path().join("bundle");
    let mut unpack = Command::new("umoci");
    unpack.args(["raw", "unpack", "--rootless", "--image"]).arg(format!("{}:1", layout.display())).arg(&bundle);
    if run(&mut unpack).is_none() {
        return;
    }
    assert_eq!(fs::read(bundle.join("bin/a")).unwrap(), b"a");
    assert_eq!(fs::read(bundle.join("b")).unwrap().len(), 5000);
    assert!(!bundle.join("gone").exists());
}
