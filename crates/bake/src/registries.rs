//! How registries are talked to: docker's config, the configuration, certificates in the places where docker and podman
//! look for them, and the proxies of the environment.

pub(crate) mod section;

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use bake_registry::{Credentials, HelperRunner, HostTls, Mirror, Options, Proxies, RegistryError, RegistryFailure};
use bake_worker::{Network, NetworkError};

use crate::configuration::Configuration;
use crate::settings::variable;
use section::RegistrySection;

/// The text of a docker config, as docker and the runners of GitLab know it.
const AUTH_VARIABLE: &str = "DOCKER_AUTH_CONFIG";
/// The largest file with certificates or a key; the bundle of all public authorities has 250 KB.
const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;
/// The most entries of a directory with certificates that are looked at.
const ENTRIES_MAX: usize = 1000;

/// Connections to registries; `insecure` ones, as `host` or `host:port`, may have any certificate or none. Everything else
/// is read when a connection is first needed.
pub(crate) fn network(is_root: bool, insecure: Vec<String>) -> Network {
    Network::new(move || options(is_root, insecure.clone()))
}

/// How this user talks to registries.
pub(crate) fn options(is_root: bool, insecure: Vec<String>) -> Result<Options, NetworkError> {
    let configuration =
        Configuration::read(is_root).map_err(|error| NetworkError::Settings { problem: error.message().to_owned() })?;
    let mut options = Options {
        insecure,
        proxies: Proxies {
            http: variable("http_proxy").or_else(|| variable("HTTP_PROXY")),
            https: variable("https_proxy").or_else(|| variable("HTTPS_PROXY")),
            no_proxy: variable("no_proxy").or_else(|| variable("NO_PROXY")),
        },
        credentials: credentials()?,
        ..Options::default()
    };
    // The first directory that knows a host decides; the configuration goes before all.
    for directory in certificate_directories() {
        for (host, tls) in certificates_in(&directory) {
            options.host_tls.entry(host).or_insert(tls);
        }
    }
    for (host, section) in configuration.registries {
        add_section(&mut options, host, &section);
    }
    Ok(options)
}

fn add_section(options: &mut Options, host: String, section: &RegistrySection) {
    let mirrors = section.mirrors.iter().map(|mirror| Mirror { of: host.clone(), host: mirror.clone() });
    options.mirrors.extend(mirrors);
    if !section.token_hosts.is_empty() {
        options.token_hosts.insert(host.clone(), section.token_hosts.clone());
    }
    if section.http {
        options.plain_http.push(host.clone());
    }
    if section.insecure {
        options.insecure.push(host.clone());
    }
    if !section.ca.is_empty() || section.keypair.is_some() {
        let pair = section.keypair.as_ref().map(|pair| (pair.certificate.as_path(), pair.key.as_path()));
        options.host_tls.insert(host, read_tls(&section.ca, pair));
    }
}

/// The file with docker's config; `None` where there can be none.
pub(crate) fn docker_config_path() -> Option<PathBuf> {
    let directory = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".docker")));
    directory.map(|directory| directory.join("config.json"))
}

/// Docker's config, and before it that of the variable in which CI systems hand logins over: nothing has to be written to a disk.
fn credentials() -> Result<Credentials, NetworkError> {
    let of_file = credentials_of_file()?;
    let Some(text) = variable(AUTH_VARIABLE) else { return Ok(of_file) };
    let of_variable = Credentials::from_docker_config(&text, helper_runner())
        .map_err(|source| NetworkError::Credentials { path: format!("${AUTH_VARIABLE}"), source })?;
    Ok(of_file.after(of_variable))
}

fn credentials_of_file() -> Result<Credentials, NetworkError> {
    let Some(path) = docker_config_path() else { return Ok(Credentials::none()) };
    match fs::read_to_string(&path) {
        Ok(text) => Credentials::from_docker_config(&text, helper_runner())
            .map_err(|source| NetworkError::Credentials { path: path.display().to_string(), source }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Credentials::none()),
        // `$HOME` is often somebody else's in containers; then nobody has logged in. A directory that was named is meant.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && variable("DOCKER_CONFIG").is_none() => {
            tracing::warn!(path = %path.display(), %error, "docker's config cannot be read: no credentials are used");
            Ok(Credentials::none())
        }
        Err(error) => Err(NetworkError::Settings {
            problem: format!("cannot read the docker config `{}`: {error}", path.display()),
        }),
    }
}

/// Where credential helpers are, and what they get to see.
pub(crate) fn helper_runner() -> HelperRunner {
    let path = variable("PATH").unwrap_or_default();
    let search_path = std::env::split_paths(&path).filter(|directory| directory.is_absolute()).collect();
    let kept = ["HOME", "PATH", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"];
    let environment = kept.iter().filter_map(|name| std::env::var_os(name).map(|value| (name.into(), value))).collect();
    HelperRunner { search_path, environment }
}

/// The directories with a directory of certificates for each host, the user's own first.
fn certificate_directories() -> Vec<PathBuf> {
    let own = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")));
    let own = own.into_iter().flat_map(|own| [own.join("containers/certs.d"), own.join("docker/certs.d")]);
    own.chain(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from)).collect()
}

/// The certificates in `directory`, by the names of its directories. What cannot be read is told by whoever needs it.
fn certificates_in(directory: &Path) -> Vec<(String, HostTls)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let hosts = entries.take(ENTRIES_MAX).filter_map(Result::ok);
    let hosts = hosts.filter_map(|entry| Some((entry.file_name().to_str()?.to_ascii_lowercase(), entry.path())));
    hosts.filter(|(_, path)| path.is_dir()).map(|(host, path)| (host, certificates_of_host(&path))).collect()
}

/// `*.crt` are authorities; `NAME.cert` and `NAME.key` are we.
fn certificates_of_host(directory: &Path) -> HostTls {
    let unusable = |reason: String| HostTls { unusable: Some(reason), ..HostTls::default() };
    let mut authorities = Vec::new();
    let mut pair = None;
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return unusable(format!("cannot read `{}`: {error}", directory.display())),
    };
    let mut files: Vec<PathBuf> = entries.take(ENTRIES_MAX).filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => authorities.push(file),
            Some("cert") => {
                let key = file.with_extension("key");
                if !key.exists() {
                    return unusable(format!("`{}` has no `.key` beside it", file.display()));
                }
                pair.get_or_insert((file, key));
            }
            Some("key") if !file.with_extension("cert").exists() => {
                return unusable(format!("`{}` has no `.cert` beside it", file.display()));
            }
            _ => {}
        }
    }
    read_tls(&authorities, pair.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path())))
}

fn read_tls(authorities: &[PathBuf], pair: Option<(&Path, &Path)>) -> HostTls {
    let read = || -> Result<HostTls, String> {
        let ca_certificates = authorities.iter().map(|file| read_file(file)).collect::<Result<_, _>>()?;
        let client_certificate = match pair {
            Some((certificate, key)) => {
                let mut pem = read_file(certificate)?;
                // A file may end without a newline.
                pem.push(b'\n');
                pem.extend(read_file(key)?);
                Some(pem)
            }
            None => None,
        };
        Ok(HostTls { ca_certificates, client_certificate, unusable: None })
    };
    read().unwrap_or_else(|reason| HostTls { unusable: Some(reason), ..HostTls::default() })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(CERTIFICATES_BYTES_MAX + 1).read_to_end(&mut bytes));
    let read = read.and_then(|_| {
        let fits = bytes.len() as u64 <= CERTIFICATES_BYTES_MAX;
        if fits { Ok(()) } else { Err(io::Error::other("it is too large for certificates")) }
    });
    read.map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    Ok(bytes)
}

/// What would cure a failure of a registry, where that is known.
pub(crate) fn hint(error: &RegistryError) -> Option<String> {
    match error.failure() {
        RegistryFailure::Unauthorized { credentials_sent: false, .. } => Some(format!(
            "log in with `{}`; bake uses docker's config (`$DOCKER_CONFIG/config.json` or `~/.docker/config.json`)",
            login_command(error)
        )),
        RegistryFailure::Unauthorized { .. } => Some(format!(
            "log in again with `{}`: the password or token may have changed or expired",
            login_command(error)
        )),
        RegistryFailure::Denied { .. } => Some(format!(
            "ask for the right to this repository, or log in as somebody else with `{}`",
            login_command(error)
        )),
        RegistryFailure::NotFound { .. } => {
            Some("check the name and the tag; registries also say this of what one may not see".to_owned())
        }
        RegistryFailure::TooManyRequests { .. } => {
            Some("wait, or log in with `bake login`: many registries allow more to those they know".to_owned())
        }
        RegistryFailure::Tls { .. } => Some(
            "put the certificate of the registry's authority into `/etc/docker/certs.d/HOST/ca.crt`, or name the host with \
             `--insecure-registry HOST` if nobody can stand between"
                .to_owned(),
        ),
        RegistryFailure::Status { messages, .. }
            if messages.as_slice().iter().any(|message| message.message.contains("HTTP request to an HTTPS server")) =>
        {
            Some("registries on this machine are spoken to without TLS; this one has it: put its authority's certificate into \
                  `/etc/docker/certs.d/HOST/ca.crt`, or name it with `--insecure-registry HOST`"
                .to_owned())
        }
        RegistryFailure::UnknownHost { .. } => {
            Some("check the name of the registry; behind a proxy, set `HTTPS_PROXY`".to_owned())
        }
        RegistryFailure::Connect { .. } | RegistryFailure::Timeout { .. } => {
            Some("check the host, the port, and the proxy (`HTTPS_PROXY`, `NO_PROXY`)".to_owned())
        }
        RegistryFailure::Refused { reason, .. } if reason.starts_with("credentials are not sent") => {
            Some("the registry names a token server of somebody else; if its operator says that it is meant, add `token-hosts` to \
             its section `[registry.\"HOST\"]` in the configuration"
                .to_owned())
        }
        _ => None,
    }
}

/// What to type to log in at the registry that an error is about.
fn login_command(error: &RegistryError) -> String {
    // The last name that was worked on, such as `registry.example.com/team/app:1`.
    let name = error.attempt().split('`').skip(1).step_by(2).filter(|name| name.contains('/')).last();
    match name.and_then(|name| name.split('/').next()) {
        Some("docker.io") => "bake login".to_owned(),
        Some(host) => format!("bake login {host}"),
        None => "bake login HOST".to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_by_host_and_kind() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("Lab.example:5000/ca.crt", "one");
        write("Lab.example:5000/zz.crt", "two");
        write("Lab.example:5000/client.cert", "certificate");
        write("Lab.example:5000/client.key", "key");
        write("Lab.example:5000/notes.txt", "");
        write("half.example/client.cert", "");
        write("other.example/client.key", "");
        write("file", "");
        let mut found = certificates_in(directory.path());
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let hosts: Vec<_> = found.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(hosts, ["half.example", "lab.example:5000", "other.example"]);
        assert!(found[0].1.unusable.as_ref().unwrap().contains("no `.key`"));
        assert_eq!(found[1].1.ca_certificates, [b"one", b"two"]);
        assert_eq!(found[1].1.client_certificate.as_deref(), Some(&b"certificate\nkey"[..]));
        assert!(found[2].1.unusable.as_ref().unwrap().contains("no `.cert`"));
        assert_eq!(certificates_in(Path::new("/nonexistent")).len(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_remembered() {
        let tls = read_tls(&[PathBuf::from("/nonexistent/ca.crt")], None);
        assert!(tls.unusable.unwrap().contains("`/nonexistent/ca.crt`"));
    }

    #[test]
    fn a_section_becomes_options() {
        let mut options = Options::default();
        let section = RegistrySection {
            mirrors: vec!["m:1".to_owned()],
            insecure: true,
            http: true,
            ca: vec!["/nonexistent".into()],
            token_hosts: vec!["auth.example".to_owned()],
            keypair: None,
        };
        add_section(&mut options, "docker.io".to_owned(), &section);
        assert_eq!(options.mirrors, [Mirror { of: "docker.io".to_owned(), host: "m:1".to_owned() }]);
        assert_eq!(
            (options.insecure, options.plain_http),
            (vec!["docker.io".to_owned()], vec!["docker.io".to_owned()])
        );
        assert!(options.host_tls["docker.io"].unusable.is_some());
        assert_eq!(options.token_hosts["docker.io"], ["auth.example"]);
    }
}
