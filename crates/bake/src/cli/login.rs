//! Commands about logins at registries.

use clap::Args;

/// Arguments of `bake login`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake login registry.example.com\n  \
        bake login -u ci --password-stdin registry.example.com < token\n  \
        bake login -u me                          Docker Hub")]
pub struct LoginArguments {
    /// The user name.
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,

    /// The password or access token. It can be seen in the list of processes: better use `--password-stdin`.
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,

    /// Read the password or access token from standard input.
    #[arg(long, requires = "username")]
    pub password_stdin: bool,

    /// The registry. Without it, Docker Hub.
    #[arg(value_name = "HOST[:PORT]", value_parser = registry_host, default_value = "docker.io")]
    pub registry: String,
}

/// Arguments of `bake logout`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake logout registry.example.com\n  bake logout      Docker Hub")]
pub struct LogoutArguments {
    /// The registry. Without it, Docker Hub.
    #[arg(value_name = "HOST[:PORT]", value_parser = registry_host, default_value = "docker.io")]
    pub registry: String,
}

/// A registry as the registry part of a reference; a URL is taken for its host, as docker does.
pub(super) fn registry_host(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let host =
        if matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io") { "docker.io".into() } else { host };
    // The registry of a reference has a dot, a port or is `localhost`; anything else would mean a repository there.
    match bake_oci::Reference::parse(&format!("{host}/a")) {
        Ok(reference) if reference.registry() == host => Ok(host),
        _ => {
            Err("expected a registry: a host name or address with a dot or port, such as `registry.example.com`".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_in_every_spelling() {
        for (text, host) in [
            ("Registry.example.com", "registry.example.com"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("http://a.example:5000/v2/x", "a.example:5000"),
            ("localhost", "localhost"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(registry_host(text).as_deref(), Ok(host));
        }
        for bad in ["", "https://", "name", "user@host.example", "a b.example", "a.example:port"] {
            assert!(registry_host(bad).is_err(), "{bad}");
        }
    }
}
