//! Addresses as people may see them.

/// An address without user name and password, for messages and labels.
pub fn without_credentials(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_credentials("https://u:p@host/x.git"), "https://host/x.git");
        assert_eq!(without_credentials("https://u:p@q@host:1"), "https://host:1");
        assert_eq!(without_credentials("git@host:x"), "git@host:x");
    }
}
