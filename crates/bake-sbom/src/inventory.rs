//! What was found: packages, the distribution, and what could not be read.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The packages of a tree of files.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The distribution that the tree says it is.
    pub distribution: Option<Distribution>,
    /// What was there and could not be read, in the order of paths. A document made from an inventory with warnings says that
    /// it is incomplete.
    pub warnings: Vec<Warning>,
    /// By package URL, which is also the order in documents.
    packages: BTreeMap<String, Package>,
}

impl Inventory {
    /// The packages, sorted by package URL.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = &Package> {
        self.packages.values()
    }

    /// Whether there is a package with this package URL.
    pub(crate) fn contains(&self, purl: &str) -> bool {
        self.packages.contains_key(purl)
    }

    /// Takes in another tree's packages: those of a stage that an image was built from, or of the build context. The
    /// distribution stays that of the first tree that has one.
    pub fn merge(&mut self, other: Self) {
        self.distribution = self.distribution.take().or(other.distribution);
        self.warnings.extend(other.warnings);
        for package in other.packages.into_values() {
            self.add(package);
        }
    }

    /// Says of every package which layer it came with. `layer_of` gets a path in the tree, without a leading slash, and
    /// answers with the layer that has what stands there, by what documents are to call it (a digest).
    ///
    /// The path is that of a file of the package where the package database tells one, so that the layer is the one whose
    /// step installed it; else that of the file in which the package was found.
    pub fn attribute(&mut self, mut layer_of: impl FnMut(&str) -> Option<String>) {
        for package in self.packages.values_mut() {
            let own = package.own_file.as_deref().and_then(&mut layer_of);
            package.layer = own.or_else(|| package.found_in.first().and_then(|path| layer_of(path)));
        }
    }

    /// Turns the names by which packages need each other into package URLs. What is not in the tree stays out.
    pub(crate) fn relate(&mut self) {
        let mut known: BTreeMap<(Ecosystem, String), String> = BTreeMap::new();
        // A package of a name comes before one that only provides it.
        for package in self.packages.values() {
            known.entry((package.ecosystem, package.name.clone())).or_insert_with(|| package.purl.clone());
        }
        for package in self.packages.values() {
            for name in &package.relations.provides {
                known.entry((package.ecosystem, name.clone())).or_insert_with(|| package.purl.clone());
            }
        }
        for package in self.packages.values_mut() {
            for choice in std::mem::take(&mut package.relations).needs {
                let mut found = choice.into_iter().filter_map(|name| known.get(&(package.ecosystem, name)));
                package.needs.extend(found.next().filter(|purl| **purl != package.purl).cloned());
            }
        }
    }

    /// Adds a package, or what is new of one that is there already.
    pub(crate) fn add(&mut self, package: Package) {
        match self.packages.entry(package.purl.clone()) {
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(package)),
            std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().complete(package),
        }
    }
}

/// A package: what somebody installs, updates or removes as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Where packages of its kind come from.
    pub ecosystem: Ecosystem,
    /// Its name there.
    pub name: String,
    /// Its version as the ecosystem writes it; empty when it is not known.
    pub version: String,
    /// Its package URL.
    pub purl: String,
    /// The architecture that it is for, in the ecosystem's words.
    pub architecture: Option<String>,
    /// The licences it says it has, all of which hold: SPDX expressions where the ecosystem has them, else names.
    pub licences: Vec<String>,
    /// Who maintains or publishes it.
    pub supplier: Option<String>,
    /// Where to read more.
    pub homepage: Option<String>,
    /// What it is, in one line.
    pub summary: Option<String>,
    /// The package that it was built from, where that has a name of its own.
    pub source: Option<SourcePackage>,
    /// Checksums of the archive that it is distributed as.
    pub checksums: Vec<Checksum>,
    /// The address of that archive.
    pub download: Option<String>,
    /// How sure it is that it is there.
    pub standing: Standing,
    /// The files that tell of it.
    pub found_in: BTreeSet<String>,
    /// A file that came with it.
    pub own_file: Option<String>,
    /// The layer that it came with; see [`Inventory::attribute`].
    pub layer: Option<String>,
    /// The package URLs of the packages in the same tree that it needs. Known for packages of distributions.
    pub needs: BTreeSet<String>,
    /// What its database says of its needs and of what it provides besides its name; only kept while a tree is scanned.
    pub(crate) relations: Relations,
}

impl Package {
    /// A package of which nothing else is known.
    pub(crate) fn new(ecosystem: Ecosystem, name: &str, version: &str, purl: String) -> Self {
        Self {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            purl,
            architecture: None,
            licences: Vec::new(),
            supplier: None,
            homepage: None,
            summary: None,
            source: None,
            checksums: Vec::new(),
            download: None,
            standing: Standing::Installed,
            found_in: BTreeSet::new(),
            own_file: None,
            layer: None,
            needs: BTreeSet::new(),
            relations: Relations::default(),
        }
    }

    /// Fills what is empty from what another file says of the same package.
    fn complete(&mut self, other: Self) {
        fn fill<T>(mine: &mut Option<T>, theirs: Option<T>) {
            if mine.is_none() {
                *mine = theirs;
            }
        }
        fill(&mut self.architecture, other.architecture);
        fill(&mut self.supplier, other.supplier);
        fill(&mut self.homepage, other.homepage);
        fill(&mut self.summary, other.summary);
        fill(&mut self.source, other.source);
        fill(&mut self.download, other.download);
        fill(&mut self.own_file, other.own_file);
        fill(&mut self.layer, other.layer);
        if self.licences.is_empty() {
            self.licences = other.licences;
        }
        for checksum in other.checksums {
            if !self.checksums.contains(&checksum) {
                self.checksums.push(checksum);
            }
        }
        self.checksums.sort();
        self.standing = self.standing.min(other.standing);
        self.found_in.extend(other.found_in);
        self.needs.extend(other.needs);
        self.relations.needs.extend(other.relations.needs);
        self.relations.provides.extend(other.relations.provides);
    }
}

/// Names by which packages need each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Relations {
    /// What is needed: each a choice of names, the preferred one first.
    pub(crate) needs: Vec<Vec<String>>,
    /// Names besides its own that it answers to.
    pub(crate) provides: Vec<String>,
}

/// Where packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// Alpine and what is made like it.
    Apk,
    /// crates.io and other registries of cargo.
    Cargo,
    /// Packagist.
    Composer,
    /// Debian and what is made from it.
    Deb,
    /// `RubyGems`.
    Gem,
    /// Go modules.
    Golang,
    /// Maven Central and other repositories of Java.
    Maven,
    /// The registry of npm.
    Npm,
    /// `NuGet`.
    Nuget,
    /// The Python Package Index.
    Pypi,
    /// Fedora, SUSE and others.
    Rpm,
}

impl Ecosystem {
    /// The type in package URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Cargo => "cargo",
            Self::Composer => "composer",
            Self::Deb => "deb",
            Self::Gem => "gem",
            Self::Golang => "golang",
            Self::Maven => "maven",
            Self::Npm => "npm",
            Self::Nuget => "nuget",
            Self::Pypi => "pypi",
            Self::Rpm => "rpm",
        }
    }

    /// Whether its packages make up a distribution, rather than programs on top of one.
    pub fn is_system(self) -> bool {
        matches!(self, Self::Apk | Self::Deb | Self::Rpm)
    }
}

/// How sure it is that a package is in the tree, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// A package database or the package's own files are there, or it was linked into a program that is there.
    Installed,
    /// A lock file asks for it.
    Locked,
    /// A lock file asks for it where the program is developed, not where it runs.
    Development,
}

impl Standing {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Locked => "locked",
            Self::Development => "development",
        }
    }
}

/// The package that another one was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePackage {
    /// Its name.
    pub name: String,
    /// Its version; empty when it is not known.
    pub version: String,
}

/// A checksum of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum {
    /// How it was made.
    pub algorithm: ChecksumAlgorithm,
    /// It, in lower-case hexadecimal digits.
    pub hex: String,
}

impl Checksum {
    /// A checksum in hexadecimal digits; `None` if it is none of its algorithm.
    pub(crate) fn from_hex(algorithm: ChecksumAlgorithm, hex: &str) -> Option<Self> {
        let fits = hex.len() == algorithm.digits() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| Self { algorithm, hex: hex.to_ascii_lowercase() })
    }
}

/// An algorithm of checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChecksumAlgorithm {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl ChecksumAlgorithm {
    /// How many hexadecimal digits its checksums have.
    fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// What `os-release` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `VERSION_ID`, such as `12`, else `VERSION_CODENAME`; empty for rolling distributions.
    pub version: String,
    /// `PRETTY_NAME` or `NAME`, for people.
    pub title: String,
    /// `HOME_URL`.
    pub homepage: Option<String>,
}

impl Distribution {
    /// What package URLs call it: `debian-12`.
    pub fn qualifier(&self) -> String {
        if self.version.is_empty() { self.id.clone() } else { format!("{}-{}", self.id, self.version) }
    }
}

/// Something that was there and could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}
