//! `RUN --mount`.

use bake_dockerfile::Span;
use bake_dockerfile::instruction::{MountFlag, MountKind as FlagKind, Word};
use bake_graph::{CacheMount, CacheSharing, ExecMount, MountKind, SecretEnvironment, VertexId};

use super::metadata::clean;
use super::{Lower, Lowering, StageState, fail};

/// Where a secret is put that names no target.
const SECRET_DIRECTORY: &str = "/run/secrets";
/// Where agent sockets are put that name no target.
const SSH_DIRECTORY: &str = "/run/buildkit";

/// The values of a mount flag after expansion.
struct Expanded {
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    size: Option<String>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    sharing: Option<String>,
    env: Option<String>,
}

impl Lowering<'_> {
    pub(super) fn mounts(
        &mut self,
        flags: &[MountFlag],
        state: &StageState,
        stage_index: usize,
        inputs: &mut Vec<VertexId>,
        mounts: &mut Vec<ExecMount>,
        secret_env: &mut Vec<SecretEnvironment>,
    ) -> Lower<()> {
        let mut sockets = 0;
        let shown_at = self.current.as_ref().map(|current| current.span).unwrap_or_default();
        for flag in flags {
            let typed = match &flag.variable_type {
                Some(word) => flag.with_type(&self.expand(word, &state.environment)?)?,
                None => flag.clone(),
            };
            let flag = &typed;
            let values = self.expanded(flag, state)?;
            let kind = match flag.kind {
                FlagKind::Bind => {
                    let input = match &flag.from {
                        Some(from) => self.source_named(from, stage_index, false, state)?,
                        None => self.main_context(),
                    };
                    let source = clean(&format!("/{}", values.source.as_deref().unwrap_or("/")));
                    MountKind::Bind {
                        input: input_number(inputs, input),
                        source,
                        read_only: flag.read_only.unwrap_or(true),
                    }
                }
                FlagKind::Cache => self.cache_mount(flag, &values, state, stage_index, inputs)?,
                FlagKind::Tmpfs => MountKind::Tmpfs { size_bytes: size(values.size.as_deref(), flag.span)? },
                FlagKind::Secret => {
                    let id = secret_id(flag, &values)?;
                    self.capture.secret(stage_index, &id, flag.required, shown_at);
                    let Some((kind, target)) = secret(id, flag, &values, secret_env) else { continue };
                    mounts.push(ExecMount { target: state.absolute(&target), kind });
                    continue;
                }
                FlagKind::Ssh => {
                    let target =
                        values.target.clone().unwrap_or_else(|| format!("{SSH_DIRECTORY}/ssh_agent.{sockets}"));
                    sockets += 1;
                    let id = values.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| "default".into());
                    self.capture.agent(stage_index, &id, flag.required, shown_at);
                    let kind = MountKind::Ssh {
                        id,
                        uid: values.uid.unwrap_or(0),
                        gid: values.gid.unwrap_or(0),
                        mode: values.mode.unwrap_or(0o600),
                        required: flag.required,
                    };
                    mounts.push(ExecMount { target: state.absolute(&target), kind });
                    continue;
                }
            };
            let Some(target) = values.target.filter(|target| !target.is_empty()) else {
                return fail(flag.span, "this mount needs a target, but has none: add `target=/path`");
            };
            let target = state.absolute(&target);
            if target == "/" {
                return fail(
                    flag.span,
                    "invalid mount target \"/\": nothing can be mounted over the whole root file system",
                );
            }
            mounts.push(ExecMount { target, kind });
        }
        // What is mounted below another mount comes after it; the order in which they are written means nothing.
        mounts.sort_by(|one, other| one.target.cmp(&other.target));
        Ok(())
    }

    fn cache_mount(
        &mut self,
        flag: &MountFlag,
        values: &Expanded,
        state: &StageState,
        stage_index: usize,
        inputs: &mut Vec<VertexId>,
    ) -> Lower<MountKind> {
        let from = match &flag.from {
            Some(from) => {
                let input = self.source_named(from, stage_index, false, state)?;
                Some((input_number(inputs, input), clean(&format!("/{}", values.source.as_deref().unwrap_or("/")))))
            }
            // Without `from` it would be a path in the cache itself, which a new one does not have.
            None if values.source.as_deref().is_some_and(|source| !source.trim_matches('/').is_empty()) => {
                let mut problem = crate::stages::error(flag.span, "the source of a cache mount needs `from`");
                problem.help =
                    Some("a cache is filled from a directory of a stage or an image: `from=STAGE,source=/path`".into());
                return Err(Box::new(problem));
            }
            None => None,
        };
        let sharing = match values.sharing.as_deref().unwrap_or("shared").to_lowercase().as_str() {
            "shared" => CacheSharing::Shared,
            "private" => CacheSharing::Private,
            "locked" => CacheSharing::Locked,
            other => {
                return fail(flag.span, format!("unsupported sharing value {other:?}: use shared, private or locked"));
            }
        };
        // The target as it is written: a relative one names the same cache wherever the step runs.
        let target = match values.target.as_deref().unwrap_or_default() {
            target if target.starts_with('/') => clean(target),
            target => clean(&format!("/{target}")).trim_start_matches('/').to_owned(),
        };
        let namespace =
            self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS").map(|ns| format!("{ns}/")).unwrap_or_default();
        let id = values.id.clone().filter(|id| !id.is_empty()).unwrap_or(target);
        Ok(MountKind::Cache(CacheMount {
            id: format!("{namespace}{id}"),
            sharing,
            read_only: flag.read_only.unwrap_or(false),
            from,
            mode: values.mode.unwrap_or(0o755),
            uid: values.uid.unwrap_or(0),
            gid: values.gid.unwrap_or(0),
        }))
    }

    fn expanded(&mut self, flag: &MountFlag, state: &StageState) -> Lower<Expanded> {
        let mut text = |word: &Option<Word>| -> Lower<Option<String>> {
            word.as_ref().map(|word| self.expand(word, &state.environment)).transpose()
        };
        let (source, target, id) = (text(&flag.source)?, text(&flag.target)?, text(&flag.id)?);
        let (size, sharing, env) = (text(&flag.size)?, text(&flag.sharing)?, text(&flag.env)?);
        let (mode, uid, gid) = (text(&flag.mode)?, text(&flag.uid)?, text(&flag.gid)?);
        let number = |name: &str, text: Option<String>, radix: u32| -> Lower<Option<u32>> {
            let Some(text) = text else { return Ok(None) };
            match u32::from_str_radix(&text, radix) {
                Ok(number) => Ok(Some(number)),
                Err(_) => fail(flag.span, format!("invalid value {text:?} for {name}: it must be a number")),
            }
        };
        Ok(Expanded {
            source,
            target,
            id,
            size,
            sharing,
            env,
            mode: number("mode", mode, 8)?,
            uid: number("uid", uid, 10)?,
            gid: number("gid", gid, 10)?,
        })
    }
}

/// What a secret is found under.
fn secret_id(flag: &MountFlag, values: &Expanded) -> Lower<String> {
    let named = values.id.clone().or_else(|| values.source.clone());
    let from_target = || values.target.as_deref().and_then(|target| target.rsplit('/').next()).map(str::to_owned);
    match named.or_else(from_target).or_else(|| values.env.clone()).filter(|id| !id.is_empty()) {
        Some(id) => Ok(id),
        None => fail(flag.span, "this secret has no ID: add `id=NAME`"),
    }
}

/// The file of a secret, unless it is wanted as an environment variable only.
fn secret(
    id: String,
    flag: &MountFlag,
    values: &Expanded,
    secret_env: &mut Vec<SecretEnvironment>,
) -> Option<(MountKind, String)> {
    if let Some(name) = &values.env {
        secret_env.push(SecretEnvironment { id: id.clone(), name: name.clone(), required: flag.required });
        values.target.as_ref()?;
    }
    let base = id.rsplit('/').next().unwrap_or(&id).to_owned();
    let target = values.target.clone().unwrap_or_else(|| format!("{SECRET_DIRECTORY}/{base}"));
    let kind = MountKind::Secret {
        id,
        uid: values.uid.unwrap_or(0),
        gid: values.gid.unwrap_or(0),
        mode: values.mode.unwrap_or(0o400),
        required: flag.required,
    };
    Some((kind, target))
}

/// The number of `input` among the inputs of the op, adding it if it is new.
pub(super) fn input_number(inputs: &mut Vec<VertexId>, input: VertexId) -> usize {
    // The root file system is never shared with a mount: it is the one input whose whole state counts.
    if let Some(position) = inputs.iter().skip(1).position(|existing| *existing == input) {
        return position + 1;
    }
    inputs.push(input);
    inputs.len() - 1
}

/// A size with an optional unit (`64m`, `1g`, `1024`), powers of 1024.
fn size(text: Option<&str>, at: Span) -> Lower<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    let lower = text.trim().to_ascii_lowercase();
    let digits_end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits_end);
    let factor: Option<u64> = match unit.trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => Some(1),
        "k" => Some(1 << 10),
        "m" => Some(1 << 20),
        "g" => Some(1 << 30),
        "t" => Some(1 << 40),
        _ => None,
    };
    let bytes = match (number.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => number.checked_mul(factor),
        _ => None,
    };
    match bytes {
        Some(bytes) => Ok(Some(bytes)),
        None => fail(at, format!("invalid size: '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        let parse = |text| size(Some(text), Span::default()).ok().flatten();
        assert_eq!(parse("1024"), Some(1024));
        assert_eq!(parse("64m"), Some(64 << 20));
        assert_eq!(parse("2GiB"), Some(2 << 30));
        assert_eq!(parse("10kb"), Some(10 << 10));
        assert_eq!(parse("x"), None);
        assert_eq!(parse("99999999999999t"), None);
    }
}
