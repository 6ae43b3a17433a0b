//! How much memory a large blob takes, measured in a process that does nothing else.

use std::process::{Command, ExitCode};

use bake_cache::{Backend, S3Backend};
use bake_registry::Options;
use bake_testkit::program;

use crate::moto::{Moto, options};
use crate::support::Place;

/// Called with this as the first argument, the program sends and fetches a large blob.
const ARGUMENT: &str = "send-and-fetch-a-large-blob";

/// Three parts, the last one smaller.
const BLOB_BYTES: u64 = 150 << 20;

/// What the transfers may add to the memory of the process: far less than the blob, and than one part of it.
const ADDED_KIB_MAX: u64 = 40 << 10;

pub(crate) fn measure_in_another_process(place: &Place, moto: &Moto) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ARGUMENT, &moto.endpoint, &moto.access_key_id, &moto.secret_access_key]);
    command.current_dir(place.directory.path());
    program::run(&mut command).unwrap().success().unwrap();
}

pub(crate) fn maybe_measure() -> Option<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [argument, endpoint, user, secret] = &*arguments else { return None };
    if argument != ARGUMENT {
        return None;
    }
    let here = Place::new();
    let blob = here.blob(7, BLOB_BYTES);
    let backend = S3Backend::new(options(endpoint, user, secret), here.connection(&Options::default())).unwrap();
    let before = most_memory_kib();
    let told = std::sync::Mutex::new(Vec::new());
    backend
        .write(b"{}", std::slice::from_ref(&blob), &here.store, &|_, bytes| told.lock().unwrap().push(bytes))
        .unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.len() > 1 && told.last() == Some(&BLOB_BYTES), "{told:?}");
    let there = Place::new();
    there.fetch(&backend, &blob).unwrap();
    let added = most_memory_kib() - before;
    assert!(there.has(&blob));
    assert!(added < ADDED_KIB_MAX, "{added} KiB more");
    Some(ExitCode::SUCCESS)
}

fn most_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
