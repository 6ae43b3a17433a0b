//! The directories in which package managers leave what no image needs.

/// What a program leaves behind and how to avoid it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageCache {
    /// Whose it is, for people.
    pub name: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// Whether images are better without it. Some programs start faster with theirs.
    pub useless: bool,
}

/// Directories with a fixed place.
const FIXED: &[(&str, PackageCache)] = &[
    ("var/lib/apt/lists", cache("apt lists", "end the RUN with `rm -rf /var/lib/apt/lists/*`")),
    ("var/cache/apt", cache("apt archives", "end the RUN with `apt-get clean`, or mount a cache at /var/cache/apt")),
    ("var/cache/apk", cache("apk", "use `apk add --no-cache`")),
    ("var/cache/dnf", cache("dnf", "end the RUN with `dnf clean all`")),
    ("var/cache/libdnf5", cache("dnf", "end the RUN with `dnf clean all`")),
    ("var/cache/yum", cache("yum", "end the RUN with `yum clean all`")),
    ("var/cache/zypp", cache("zypper", "end the RUN with `zypper clean --all`")),
    ("var/cache/pacman/pkg", cache("pacman", "end the RUN with `pacman -Scc --noconfirm`")),
    ("usr/local/share/.cache/yarn", cache("yarn", "end the RUN with `yarn cache clean`, or mount a cache there")),
    (
        "usr/local/cargo/registry",
        cache("cargo", "mount a cache at /usr/local/cargo/registry, or copy the program into a later stage"),
    ),
];

/// Directories below the home of whoever ran the program.
const AT_HOME: &[(&str, PackageCache)] = &[
    (".cache/pip", cache("pip", "use `pip install --no-cache-dir`")),
    (".cache/uv", cache("uv", "use `uv --no-cache`, or mount a cache there")),
    (".cache/pypoetry", cache("poetry", "end the RUN with `poetry cache clear --all .`, or mount a cache there")),
    (".npm/_cacache", cache("npm", "end the RUN with `npm cache clean --force`, or mount a cache at ~/.npm")),
    (".cache/yarn", cache("yarn", "end the RUN with `yarn cache clean`, or mount a cache there")),
    (".yarn/berry/cache", cache("yarn", "end the RUN with `yarn cache clean --all`, or mount a cache there")),
    (".local/share/pnpm/store", cache("pnpm", "mount a cache there")),
    (".bun/install/cache", cache("bun", "mount a cache there")),
    (".cargo/registry", cache("cargo", "mount a cache at ~/.cargo/registry, or copy the program into a later stage")),
    (".cache/go-build", cache("go build", "mount a cache there, or copy the program into a later stage")),
    ("go/pkg/mod", cache("go modules", "mount a cache there, or copy the program into a later stage")),
    (".composer/cache", cache("composer", "use `composer install --no-cache`")),
    (".cache/composer", cache("composer", "use `composer install --no-cache`")),
    (".m2/repository", cache("maven", "mount a cache at ~/.m2, or copy the program into a later stage")),
    (".gradle/caches", cache("gradle", "mount a cache at ~/.gradle, or copy the program into a later stage")),
    (".nuget/packages", cache("nuget", "mount a cache there, or copy the program into a later stage")),
];

/// Where homes are: in the root, or one level below these. `go` is the home of the official Go image.
const HOMES: [&str; 3] = ["home", "var/lib", "opt"];

const BYTECODE: PackageCache = PackageCache {
    name: "python bytecode",
    advice: "install with `PYTHONDONTWRITEBYTECODE=1` where size counts more than the start of programs",
    useless: false,
};

const GEMS: PackageCache = cache("gem", "end the RUN with `rm -rf` of that directory, or mount a cache there");

const fn cache(name: &'static str, advice: &'static str) -> PackageCache {
    PackageCache { name, advice, useless: true }
}

/// The cache that the file at `path` (relative to the root) belongs to, and the directory that is the cache.
pub fn package_cache(path: &[u8]) -> Option<(&'static PackageCache, &[u8])> {
    let fixed = FIXED.iter().find(|(directory, _)| below(path, directory.as_bytes()));
    if let Some((directory, cache)) = fixed {
        return Some((cache, &path[..directory.len()]));
    }
    for (directory, cache) in AT_HOME {
        for start in home_ends(path) {
            if below(&path[start..], directory.as_bytes()) {
                return Some((cache, &path[..start + directory.len()]));
            }
        }
    }
    gem_cache(path).map(|directory| (&GEMS, directory)).or_else(|| {
        let end = component_end(path, b"__pycache__")?;
        Some((&BYTECODE, &path[..end]))
    })
}

fn below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Where a path may go on below a home: at its beginning (`/go`, `/.npm`), after `/root`, and after `/home/NAME` and the like.
fn home_ends(path: &[u8]) -> impl Iterator<Item = usize> {
    let root = path.starts_with(b"root/").then_some(b"root/".len());
    let home = HOMES.iter().find(|home| below(path, home.as_bytes())).and_then(|home| {
        let start = home.len() + 1;
        path[start..].iter().position(|byte| *byte == b'/').map(|slash| start + slash + 1)
    });
    std::iter::once(0).chain(root).chain(home)
}

/// `.../gems/3.2.0/cache/`, where `gem install` keeps the archives it has unpacked, and bundler's `bundle/ruby/3.2.0/cache/`.
fn gem_cache(path: &[u8]) -> Option<&[u8]> {
    if !path.ends_with(b".gem") {
        return None;
    }
    let directory = &path[..path.iter().rposition(|byte| *byte == b'/')?];
    let mut names = directory.rsplit(|byte| *byte == b'/');
    let (cache, version, above) = (names.next()?, names.next()?, names.next()?);
    let is_version = version.first().is_some_and(u8::is_ascii_digit);
    let bundle = version == b"bundle" && above == b"local";
    let known = cache == b"cache" && (bundle || (is_version && (above == b"gems" || above == b"ruby")));
    known.then_some(directory)
}

/// The end of the first component that is `name`, if something is below it.
fn component_end(path: &[u8], name: &[u8]) -> Option<usize> {
    let mut start = 0;
    for component in path.split(|byte| *byte == b'/') {
        let end = start + component.len();
        if component == name && end < path.len() {
            return Some(end);
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::package_cache;

    #[test]
    fn caches_are_known_by_their_place() {
        let found = |path: &str| {
            package_cache(path.as_bytes())
                .map(|(cache, directory)| format!("{} {}", cache.name, String::from_utf8_lossy(directory)))
        };
        for (path, expected) in [
            ("var/lib/apt/lists/deb_Packages", "apt lists var/lib/apt/lists"),
            ("var/cache/apt/archives/a.deb", "apt archives var/cache/apt"),
            ("var/cache/apk/APKINDEX.tar.gz", "apk var/cache/apk"),
            ("root/.cache/pip/http/a", "pip root/.cache/pip"),
            ("home/app/.npm/_cacache/a", "npm home/app/.npm/_cacache"),
            (".npm/_cacache/a", "npm .npm/_cacache"),
            ("go/pkg/mod/a@v1/b.go", "go modules go/pkg/mod"),
            ("usr/local/cargo/registry/cache/a.crate", "cargo usr/local/cargo/registry"),
            ("var/lib/gems/3.1.0/cache/rake-1.gem", "gem var/lib/gems/3.1.0/cache"),
            ("usr/local/lib/ruby/gems/3.3.0/cache/a.gem", "gem usr/local/lib/ruby/gems/3.3.0/cache"),
            ("usr/local/bundle/cache/a.gem", "gem usr/local/bundle/cache"),
            ("usr/lib/python3/a/__pycache__/b.pyc", "python bytecode usr/lib/python3/a/__pycache__"),
        ] {
            assert_eq!(found(path).as_deref(), Some(expected), "{path}");
        }
        for path in [
            "var/lib/apt/lists",
            "var/lib/apt/listsx/a",
            "srv/home/app/.npm/_cacache/a",
            "app/go/pkg/mod/a",
            "usr/share/gems/cache/readme",
            "usr/__pycache__",
            "",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
