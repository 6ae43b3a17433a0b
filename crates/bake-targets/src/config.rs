//! All targets and groups of all files, and what becomes of them on the way to a build: names resolved, inherited attributes merged,
//! overrides applied, linked targets found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::body::Body;
use crate::compose;
use crate::definitions::{Definitions, Variable};
use crate::entries::OutputEntry;
use crate::error::{BakeFile, TargetError};
use crate::inputs::Inputs;
use crate::overrides::Overrides;
use crate::target::Target;

type Result<T> = std::result::Result<T, TargetError>;

/// The files that are read when none is named, in the order in which they are merged.
pub const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// The target that is built when none is named.
pub const DEFAULT_TARGET: &str = "default";

/// How many targets may be built from, or inherit from, one another in a row. Nobody could follow a tenth of it.
const CHAIN_MAX: usize = 200;

/// A name for several targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Targets and groups.
    pub targets: Vec<String>,
}

/// What files define.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Targets by order of appearance, each name once.
    pub targets: Vec<Target>,
    /// Groups by order of appearance.
    pub groups: Vec<Group>,
    /// Variables by name.
    pub variables: Vec<Variable>,
    /// What is written but means nothing, such as a misspelt attribute.
    pub warnings: Vec<TargetError>,
}

/// The targets of a request, ready to be built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Targets by name, those that others are built from among them.
    pub targets: BTreeMap<String, Target>,
    /// The groups that were named.
    pub groups: BTreeMap<String, Group>,
}

impl Config {
    /// Reads files: YAML is taken for Compose files, JSON and HCL for bake files, and what has another name for whichever it can be.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn read(files: Vec<BakeFile>, inputs: Inputs) -> Result<Self> {
        let mut config = Self::default();
        let mut compose_files = Vec::new();
        let mut bodies = Vec::new();
        for file in files {
            let file = Arc::new(file);
            let lower = file.name.to_lowercase();
            let named = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
            if named(&[".yml", ".yaml"]) {
                compose_files.push(file);
            } else if named(&[".json"]) {
                bodies.push(Body::from_json(&file)?);
            } else if named(&[".hcl"]) {
                bodies.push(Body::from_hcl(&file)?);
            } else if file.text.trim_start().starts_with('{') {
                bodies.push(Body::from_json(&file)?);
            } else if compose::is_compose(&file) {
                compose_files.push(file);
            } else {
                bodies.push(Body::from_hcl(&file)?);
            }
        }
        if !compose_files.is_empty() {
            let composed = compose::read(&compose_files, &inputs)?;
            config.groups.extend(composed.groups);
            composed.targets.into_iter().for_each(|target| config.add_target(target));
        }
        if !bodies.is_empty() {
            let defined = Definitions::new(bodies, inputs)?.resolve()?;
            for group in defined.groups {
                match config.groups.iter_mut().find(|known| known.name == group.name) {
                    Some(known) => *known = group,
                    None => config.groups.push(group),
                }
            }
            defined.targets.into_iter().for_each(|target| config.add_target(target));
            config.variables = defined.variables;
            config.warnings = defined.unknown;
        }
        for group in &mut config.groups {
            deduplicate(&mut group.targets);
        }
        Ok(config)
    }

    fn add_target(&mut self, target: Target) {
        match self.targets.iter_mut().find(|known| known.name == target.name) {
            Some(known) => known.merge(&target),
            None => self.targets.push(target),
        }
    }

    /// The targets that `names` (targets, groups, patterns; nothing for `default`) stand for, with `overrides` applied.
    ///
    /// # Errors
    /// Names of nothing, links in circles, values that cannot be.
    pub fn select(&self, names: &[String], overrides: &Overrides) -> Result<Selection> {
        let mut wanted = Vec::new();
        for name in names {
            // Services of Compose files may have dots in their names, targets may not.
            let name = name.replace('.', "_");
            if name.contains(['*', '?', '[']) {
                let before = wanted.len();
                let groups = self.groups.iter().map(|group| &group.name);
                let all = groups.chain(self.targets.iter().map(|target| &target.name));
                wanted.extend(all.filter(|candidate| matches(&name, candidate)).cloned());
                if wanted.len() == before {
                    return Err(TargetError::new(format!("no target or group matches `{name}`")));
                }
            } else {
                wanted.push(name);
            }
        }
        if names.is_empty() {
            wanted.push(DEFAULT_TARGET.to_owned());
        }
        deduplicate(&mut wanted);
        let overridden = overrides.by_target(self)?;
        let mut selection = Selection::default();
        for name in &wanted {
            let (targets, groups) = self.expand(name);
            for target in targets {
                let resolved = self.resolve(&target, &overridden)?;
                selection.targets.insert(target, resolved);
            }
            for group in groups {
                if let Some(found) = self.groups.iter().find(|known| known.name == group) {
                    selection.groups.insert(group, found.clone());
                }
            }
        }
        for name in &wanted {
            if name == DEFAULT_TARGET && selection.groups.contains_key(DEFAULT_TARGET) {
                continue;
            }
            let group = selection.groups.entry(DEFAULT_TARGET.to_owned());
            let empty = || Group { name: DEFAULT_TARGET.to_owned(), description: None, targets: Vec::new() };
            group.or_insert_with(empty).targets.push(name.clone());
        }
        if let Some(group) = selection.groups.get_mut(DEFAULT_TARGET) {
            group.targets.sort();
            group.targets.dedup();
        }
        let mut linked = BTreeSet::new();
        for name in selection.targets.keys().cloned().collect::<Vec<_>>() {
            self.link(&name, &mut selection.targets, &overridden, &mut Vec::new(), &mut linked)?;
        }
        Ok(selection)
    }

    /// The targets that a name stands for, and the groups met on the way.
    fn expand(&self, name: &str) -> (Vec<String>, Vec<String>) {
        let (mut targets, mut groups) = (Vec::new(), Vec::new());
        let mut visited = BTreeSet::new();
        // The next name is the last one, so that the order is that of the groups' lists.
        let mut waiting = vec![name.to_owned()];
        while let Some(name) = waiting.pop() {
            match self.groups.iter().find(|group| group.name == name) {
                // A group may hold a target of its own name.
                Some(group) if visited.insert(name.clone()) => {
                    groups.push(name);
                    waiting.extend(group.targets.iter().rev().cloned());
                }
                Some(_) if self.targets.iter().any(|target| target.name == name) => targets.push(name),
                Some(_) => {}
                None => targets.push(name),
            }
        }
        deduplicate(&mut targets);
        (targets, groups)
    }

    /// A target with what it inherits and what overrides say.
    fn resolve(&self, name: &str, overrides: &BTreeMap<String, Overrides>) -> Result<Target> {
        let mut target = self.inherit(name, overrides, &mut BTreeMap::new(), 0)?.unwrap_or_default();
        target.inherits.clear();
        name.clone_into(&mut target.name);
        target.context.get_or_insert_with(|| ".".to_owned());
        if target.dockerfile.as_ref().is_none_or(String::is_empty) {
            target.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(target)
    }

    /// `None` for a target whose inheritance leads back to itself: it adds nothing then.
    fn inherit(
        &self,
        name: &str,
        overrides: &BTreeMap<String, Overrides>,
        visited: &mut BTreeMap<String, Option<Target>>,
        depth: usize,
    ) -> Result<Option<Target>> {
        if depth > CHAIN_MAX {
            return Err(TargetError::new(format!("more than {CHAIN_MAX} targets inherit one from the other")));
        }
        if let Some(known) = visited.get(name) {
            return Ok(known.clone());
        }
        visited.insert(name.to_owned(), None);
        let Some(own) = self.targets.iter().find(|target| target.name == name) else {
            return Err(self.no_target(name));
        };
        let mut merged = Target::named(name);
        for parent in &own.inherits {
            if let Some(parent) = self.inherit(parent, overrides, visited, depth + 1)? {
                merged.merge(&parent);
            }
        }
        merged.merge(own);
        if let Some(overrides) = overrides.get(name) {
            overrides.apply(&mut merged)?;
        }
        merged.normalise();
        visited.insert(name.to_owned(), Some(merged.clone()));
        Ok(Some(merged))
    }

    pub(crate) fn no_target(&self, name: &str) -> TargetError {
        let known =
            self.targets.iter().map(|target| target.name.as_str()).chain(self.groups.iter().map(|g| g.name.as_str()));
        let near = bake_dockerfile::suggest::did_you_mean(name, known, false);
        let error = TargetError::new(format!("there is no target `{name}`{near}"));
        if name == DEFAULT_TARGET && !self.targets.is_empty() {
            return error.hint("name the targets to build, or define `group \"default\"`");
        }
        error.hint("`bake up --list targets` shows those that there are")
    }

    /// Takes in the targets that `name` is built from. `path` leads to it, `done` are those for which that was done.
    fn link(
        &self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        overrides: &BTreeMap<String, Overrides>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Result<()> {
        if path.len() >= CHAIN_MAX {
            return Err(TargetError::new(format!("more than {CHAIN_MAX} targets are built one from the other")));
        }
        if done.contains(name) {
            return Ok(());
        }
        path.push(name.to_owned());
        let contexts = targets.get(name).map(|target| target.contexts.clone()).unwrap_or_default();
        for linked in contexts.values().filter_map(|context| context.strip_prefix("target:")) {
            if linked == name {
                return Err(TargetError::new(format!("target `{name}` cannot be built from itself")));
            }
            if path.iter().any(|known| known == linked) {
                return Err(TargetError::new(format!(
                    "targets `{name}` and `{linked}` are built from each other in a circle"
                )));
            }
            if !targets.contains_key(linked) {
                let mut resolved = self.resolve(linked, overrides)?;
                resolved.outputs = Some(vec![OutputEntry {
                    kind: "cacheonly".to_owned(),
                    destination: None,
                    attributes: BTreeMap::new(),
                }]);
                resolved.linked = true;
                targets.insert(linked.to_owned(), resolved);
            }
            self.link(linked, targets, overrides, path, done)?;
            let (entitlements, platforms) = targets
                .get(linked)
                .map(|linked| (linked.entitlements.clone(), linked.platforms.clone()))
                .unwrap_or_default();
            let Some(target) = targets.get_mut(name) else { continue };
            for entitlement in entitlements.into_iter().flatten() {
                let own = target.entitlements.get_or_insert_default();
                if !own.contains(&entitlement) {
                    own.push(entitlement);
                }
            }
            if let (Some(own), Some(theirs)) = (&target.platforms, &platforms)
                && own.len() > 1
                && theirs.len() > 1
                && own.iter().any(|platform| !theirs.contains(platform))
            {
                let message = format!(
                    "target `{linked}` is not built for all platforms of `{name}`: it has {}, and {} are needed",
                    theirs.join(", "),
                    own.join(", ")
                );
                return Err(TargetError::new(message));
            }
        }
        path.pop();
        done.insert(name.to_owned());
        Ok(())
    }
}

/// Removes what is there already.
fn deduplicate(names: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
}

/// Whether a shell pattern (`*`, `?`, `[a-z]`) matches a name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    bake_dockerfile::glob_match(pattern, name).unwrap_or(false)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn select(text: String, name: &str) -> Result<Selection> {
        let file = BakeFile { name: "docker-bake.hcl".to_owned(), text };
        Config::read(vec![file], Inputs::default()).unwrap().select(&[name.to_owned()], &Overrides::default())
    }

    #[test]
    fn many_ways_to_a_target_are_gone_once() {
        let mut text = "target \"a40\" {}\ntarget \"b40\" {}\n".to_owned();
        for level in 0..40 {
            let next = level + 1;
            for side in ["a", "b"] {
                let contexts = format!("{{ x = \"target:a{next}\", y = \"target:b{next}\" }}");
                writeln!(text, "target \"{side}{level}\" {{\n contexts = {contexts}\n}}").unwrap();
            }
        }
        assert_eq!(select(text, "a0").unwrap().targets.len(), 81);
    }

    #[test]
    fn long_chains_are_errors() {
        for (attribute, word) in
            [("contexts = { x = \"target:tNEXT\" }", "built"), ("inherits = [\"tNEXT\"]", "inherit")]
        {
            let mut text = "target \"t5000\" {}\n".to_owned();
            for number in 0..5000 {
                let attribute = attribute.replace("NEXT", &(number + 1).to_string());
                writeln!(text, "target \"t{number}\" {{\n {attribute}\n}}").unwrap();
            }
            let error = select(text.clone(), "t0").unwrap_err();
            assert!(error.message.contains("more than 200") && error.message.contains(word), "{error}");
            assert!(select(text, "t4900").is_ok());
        }
    }

    #[test]
    fn long_chains_of_variables_are_errors() {
        let nested = |inner: &str| format!("{}{inner}{}", "(".repeat(50), ")".repeat(50));
        let text = |length: usize| {
            let mut text =
                format!("variable \"v{length}\" {{ default = 1 }}\ntarget \"a\" {{ args = {{ x = v0 }} }}\n");
            for number in 0..length {
                let next = nested(&format!("v{}", number + 1));
                writeln!(text, "variable \"v{number}\" {{ default = {next} }}").unwrap();
            }
            BakeFile { name: "docker-bake.hcl".to_owned(), text }
        };
        let error = Config::read(vec![text(5000)], Inputs::default()).unwrap_err();
        assert!(error.message.contains("more than 300 expressions"), "{error}");
        assert!(Config::read(vec![text(5)], Inputs::default()).is_ok());
    }
}
