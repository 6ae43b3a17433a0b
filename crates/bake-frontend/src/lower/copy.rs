//! COPY and ADD.

use std::fmt::Write as _;

use bake_checks::copy_ignored;
use bake_dockerfile::Span;
use bake_dockerfile::instruction::{CopyInstruction, CopySource, Instruction, Word};
use bake_graph::{
    CopyAction, FileAction, FileOp, GitSource, HttpSource, ModeChange, Op, Owner, OwnerId, SourceOp, Unpack, VertexId,
    without_credentials,
};
use bake_oci::Digest;

use super::metadata::clean;
use super::mounts::input_number;
use super::{Lower, Lowering, StageState, fail};
use crate::git::{is_commit_prefix, is_git_url, is_http_url, parse_git_url};
use crate::mode::parse_mode;
use crate::percent;
use crate::plan::MainContext;

/// The options of one COPY or ADD, expanded.
struct Options {
    destination: String,
    /// The destination as the history shows it: expanded, but not made absolute.
    destination_shown: String,
    mode: Option<ModeChange>,
    owner: Option<Owner>,
    unpack: Unpack,
    checksum: Option<String>,
}

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        instruction: &Instruction,
        copy: &CopyInstruction,
        add: bool,
        state: &mut StageState,
        stage_index: usize,
        at: Span,
    ) -> Lower<()> {
        let mut created_by = String::from(if add { "ADD" } else { "COPY" });
        let options = self.options_of(copy, add, state, &mut created_by)?;
        let mut inputs = vec![state.root];
        let main = match &copy.from {
            Some(from) => Some(self.source_named(from, stage_index, true, state)?),
            None => None,
        };
        // Sources of a stage or an image keep their owners; those of a directory of the caller become root's.
        let root_owned = match main {
            Some(input) => self.is_directory(input),
            None => self.options.main_context == MainContext::Directory,
        };

        let mut actions = Vec::with_capacity(copy.sources.len());
        let mut shown = Vec::with_capacity(copy.sources.len());
        let several = copy.sources.len() > 1;
        // Heredocs come after all paths, wherever they stand.
        let (heredocs, paths): (Vec<_>, Vec<_>) =
            copy.sources.iter().partition(|source| matches!(source, CopySource::Heredoc(_)));
        for source in paths.into_iter().chain(heredocs) {
            match source {
                CopySource::Heredoc(index) => {
                    let Some(heredoc) = instruction.heredocs.get(*index) else { continue };
                    shown.push(format!("<<{}", heredoc.name));
                    let content =
                        if heredoc.expand { self.heredoc(&heredoc.body, state, at)? } else { heredoc.body.clone() };
                    actions.push(FileAction::Mkfile {
                        path: options.destination.clone(),
                        name: heredoc.name.clone(),
                        content,
                        mode: options.mode.clone(),
                        owner: options.owner.clone(),
                    });
                }
                CopySource::Path(word) => {
                    let path = self.expand(word, &state.environment)?;
                    shown.push(path.clone());
                    // The flag says that an address is a repository's, whatever it ends in.
                    let is_repository = copy.keep_git_dir.is_some() && is_http_url(&path);
                    let action = if is_git_url(&path) || is_repository {
                        if !add {
                            return fail(word.span, "source can't be a git ref for COPY");
                        }
                        self.git(&path, copy, &options, word, &mut inputs)?
                    } else if is_http_url(&path) {
                        if !add {
                            return fail(word.span, "source can't be a URL for COPY");
                        }
                        self.http(&path, copy, &options, word, &mut inputs)?
                    } else {
                        if options.checksum.is_some() {
                            return fail(word.span, "checksum requires HTTP(S) or Git sources");
                        }
                        let input = if let Some(input) = main {
                            input
                        } else {
                            self.check_ignored(&path, add, word.span);
                            self.main_context()
                        };
                        CopyAction {
                            parents: copy.parents,
                            excludes: copy.excludes.iter().map(|word| word.value.clone()).collect(),
                            root_owned,
                            ..plain(input_number(&mut inputs, input), &path, &options)
                        }
                    };
                    actions.push(FileAction::Copy(action));
                }
            }
        }
        if several && !options.destination.ends_with('/') {
            let message = format!(
                "when using {} with more than one source file, the destination must be a directory and end with a /",
                if add { "ADD" } else { "COPY" }
            );
            return fail(copy.destination.span, message);
        }
        for source in &shown {
            created_by.push(' ');
            created_by.push_str(source);
        }
        created_by.push(' ');
        created_by.push_str(&options.destination_shown);
        let text = instruction.text.clone();
        // A copied layer of its own, independent of what is below: its key does not hold the base.
        if copy.link {
            let scratch = self.scratch();
            let base = std::mem::replace(&mut inputs[0], scratch);
            let named =
                |owner: &Owner| matches!(owner.user, OwnerId::Name(_)) || matches!(owner.group, Some(OwnerId::Name(_)));
            let owner_input =
                if options.owner.as_ref().is_some_and(named) { input_number(&mut inputs, base) } else { 0 };
            let op = Op::File(FileOp { actions, owner_input, epoch: self.epoch() });
            let layer = self.step(op, inputs, text, state, at);
            state.root = self.internal(Op::Merge, vec![base, layer], "merge".into(), Some(at));
        } else {
            let op = Op::File(FileOp { actions, owner_input: 0, epoch: self.epoch() });
            state.root = self.step(op, inputs, text, state, at);
        }
        state.commit(created_by, true);
        Ok(())
    }

    fn options_of(
        &mut self,
        copy: &CopyInstruction,
        add: bool,
        state: &StageState,
        created_by: &mut String,
    ) -> Lower<Options> {
        let variables = &state.environment;
        if copy.parents {
            created_by.push_str(" --parents");
        }
        let owner = match &copy.chown {
            Some(word) => {
                let text = self.expand(word, variables)?;
                let _ = write!(created_by, " --chown={text}");
                Some(parse_owner(&text, word.span)?)
            }
            None => None,
        };
        let mode = match &copy.chmod {
            Some(word) => {
                let text = self.expand(word, variables)?;
                let _ = write!(created_by, " --chmod={text}");
                Some(parse_mode(&text).or_else(|problem| fail(word.span, problem))?)
            }
            None => None,
        };
        let checksum = copy.checksum.as_ref().map(|word| self.expand(word, variables)).transpose()?;
        if let (Some(_), Some(word)) = (&checksum, &copy.checksum) {
            match copy.sources.as_slice() {
                [CopySource::Path(_)] => {}
                [CopySource::Heredoc(_)] => return fail(word.span, "checksum requires HTTP(S) or Git sources"),
                _ => return fail(word.span, "checksum can't be specified for multiple sources"),
            }
        }
        let written = self.expand(&copy.destination, variables)?;
        let unpack = match (add, copy.unpack) {
            (false, _) | (true, Some(false)) => Unpack::Never,
            (true, Some(true) | None) => Unpack::IfArchive,
        };
        let destination = destination(&written, state);
        Ok(Options { destination, destination_shown: written, mode, owner, unpack, checksum })
    }

    fn heredoc(&mut self, body: &str, state: &StageState, at: Span) -> Lower<String> {
        match state.environment.expand_heredoc(self.dockerfile.directives.escape, body) {
            Ok(expanded) => {
                self.check_undefined(&expanded.missing, &state.environment);
                Ok(expanded.text)
            }
            Err(problem) => fail(at, format!("failed to process the heredoc: {problem}")),
        }
    }

    fn http(
        &mut self,
        url: &str,
        copy: &CopyInstruction,
        options: &Options,
        word: &Word,
        inputs: &mut Vec<VertexId>,
    ) -> Lower<CopyAction> {
        let checksum = match options.checksum.as_deref().map(Digest::parse) {
            None => None,
            Some(Ok(digest)) => Some(digest),
            Some(Err(problem)) => return fail(word.span, format!("invalid checksum: {problem}")),
        };
        let source = Op::Source(SourceOp::Http(HttpSource { url: url.to_owned(), checksum }));
        let input = self.internal(source, vec![], format!("fetch {}", without_credentials(url)), Some(word.span));
        let name = file_name_of_url(url);
        // A remote file is unpacked only when that is asked for.
        let unpack = if copy.unpack == Some(true) { Unpack::IfArchive } else { Unpack::Never };
        Ok(CopyAction {
            wildcard: false,
            unpack,
            file_name: Some(name),
            ..plain(input_number(inputs, input), HttpSource::FILE_NAME, options)
        })
    }

    fn git(
        &mut self,
        url: &str,
        copy: &CopyInstruction,
        options: &Options,
        word: &Word,
        inputs: &mut Vec<VertexId>,
    ) -> Lower<CopyAction> {
        let mut source: GitSource = match parse_git_url(url) {
            Ok(source) => source,
            Err(problem) => return fail(word.span, problem.to_string()),
        };
        if let Some(keep) = copy.keep_git_dir {
            source.keep_git_directory = keep;
        }
        if let (Some(checksum), Some(flag)) = (&options.checksum, &copy.checksum) {
            if !is_commit_prefix(checksum) {
                return fail(flag.span, format!("invalid checksum {checksum:?} for a Git source: it must be a commit"));
            }
            if source.checksum.as_ref().is_some_and(|other| other != checksum) {
                return fail(flag.span, format!("checksum conflicts with that of the source: {checksum:?}"));
            }
            source.checksum = Some(checksum.clone());
        }
        let input = self.internal(
            Op::Source(SourceOp::Git(source)),
            vec![],
            format!("fetch {}", without_credentials(url)),
            Some(word.span),
        );
        let excludes = copy.excludes.iter().map(|word| word.value.clone()).collect();
        Ok(CopyAction {
            excludes,
            unpack: Unpack::Never,
            wildcard: false,
            ..plain(input_number(inputs, input), "/", options)
        })
    }

    fn check_ignored(&mut self, path: &str, add: bool, span: Span) {
        let verb = if add { "Add" } else { "Copy" };
        let patterns = self.resolver.ignore_patterns();
        if let Some(violation) = patterns.and_then(|patterns| copy_ignored(path, verb, patterns, span)) {
            self.add_check(violation);
        }
    }

    fn is_directory(&self, id: VertexId) -> bool {
        matches!(self.graph.vertex(id).op, Op::Source(SourceOp::Local(_)))
    }
}

/// A copy with the options of the instruction and nothing special.
fn plain(from: usize, source: &str, options: &Options) -> CopyAction {
    CopyAction {
        from,
        source: source.to_owned(),
        destination: options.destination.clone(),
        wildcard: true,
        unpack: options.unpack,
        parents: false,
        excludes: Vec::new(),
        mode: options.mode.clone(),
        owner: options.owner.clone(),
        file_name: None,
        root_owned: true,
    }
}

/// The destination made absolute; a trailing slash (or `.`) is kept as a slash.
fn destination(written: &str, state: &StageState) -> String {
    let directory = written.is_empty() || written.ends_with('/') || written == "." || written.ends_with("/.");
    let path = state.absolute(written);
    if directory && path != "/" { format!("{path}/") } else { path }
}

/// `user[:group]`, each a name or a number.
pub(super) fn parse_owner(text: &str, at: Span) -> Lower<Owner> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let id = |text: &str| -> Lower<OwnerId> {
        if text.is_empty() {
            return Ok(OwnerId::Id(0));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            // A number that does not fit must never be looked up as a name: an image could then map it to root.
            return match text.parse::<u32>() {
                Ok(id) if id <= i32::MAX.unsigned_abs() => Ok(OwnerId::Id(id)),
                _ => fail(at, format!("the user or group ID {text} is too large: at most {}", i32::MAX)),
            };
        }
        Ok(OwnerId::Name(text.to_owned()))
    };
    Ok(Owner { user: id(user)?, group: group.map(id).transpose()? })
}

/// The name a remote file gets under a directory destination.
fn file_name_of_url(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    match clean(path).rsplit('/').next() {
        // A name cannot hold a slash or end early, whatever is escaped in it.
        Some(name) if !name.is_empty() => percent::decoded(name, b"/\0"),
        _ => "__unnamed__".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_names_come_from_the_path() {
        assert_eq!(file_name_of_url("http://h:1/a/b.txt?x=/y"), "b.txt");
        assert_eq!(file_name_of_url("http://h"), "__unnamed__");
        assert_eq!(file_name_of_url("http://h/a%20b"), "a b");
        assert_eq!(file_name_of_url("http://h/%2e%2e%2fx"), "..%2fx");
    }

    #[test]
    fn owners() {
        let owner = |text| parse_owner(text, Span::default()).ok();
        assert_eq!(
            owner("12:staff"),
            Some(Owner { user: OwnerId::Id(12), group: Some(OwnerId::Name("staff".into())) })
        );
        assert_eq!(owner("app"), Some(Owner { user: OwnerId::Name("app".into()), group: None }));
        assert_eq!(owner("4294967296"), None);
    }
}
