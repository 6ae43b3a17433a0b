//! What holds for any text: linting ends, every range lies in the text, and fixes give a text that can be linted again.

use bake_dockerfile::{SourceText, parse};
use bake_lint::{LintOptions, apply_fixes, lint};
use proptest::prelude::*;

/// Pieces that make rules and the shell reader look closer.
const PIECES: [&str; 56] = [
    "FROM debian\n",
    "FROM debian:latest AS Build\n",
    "from scratch as x\n",
    "FROM $A AS build\n",
    "ARG A=build\n",
    "ARG TOKEN\n",
    "ENV A b c\n",
    "ENV A=$B PASSWORD=x\n",
    "RUN ",
    "RUN --mount=type=cache,target=/var/lib/apt ",
    "RUN <<EOF\n",
    "RUN bash <<-\"E\"\n",
    "EOF\n",
    "E\n",
    "ONBUILD ",
    "COPY --from=Build . .\n",
    "COPY <<A <<B /x/\n",
    "ADD x /tmp/x.tar\n",
    "CMD ['a', \"b\",]\n",
    "CMD npm start\n",
    "ENTRYPOINT [\"a\"]\n",
    "HEALTHCHECK CMD x\n",
    "EXPOSE 1.2.3.4:80/TCP 99999\n",
    "SHELL [\"bash\", \"-eo\", \"pipefail\", \"-c\"]\n",
    "USER root\n",
    "WORKDIR a\n",
    "MAINTAINER ä\n",
    "# bake: ignore=sudo, nonsense\n",
    "# check=skip=all\n",
    "# escape=`\n",
    "apt-get update",
    "sudo apt-get install x",
    "rm -rf /var/lib/{apt,x}/lists/* /tmp/x.tar",
    "pip install x",
    "curl -k x | tee y",
    "dnf install a",
    "yarn",
    "set -e",
    "if [[ a ]]; then ",
    "fi",
    "case $x in a) ",
    ";; esac",
    "$(",
    ")",
    "`",
    "\"",
    "'",
    "${x:-",
    " && ",
    " \\\n",
    " || ",
    ";",
    "\n",
    "\r\n",
    "\u{feff}",
    "ä\u{1f600}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_can_be_linted_and_fixed(pieces in prop::collection::vec(0..PIECES.len(), 0..40), noise in ".{0,20}") {
        let mut text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        text.push_str(&noise);
        let options = LintOptions { select: vec!["all".to_owned()], ..LintOptions::default() };
        for _ in 0..3 {
            let findings = lint(&parse(SourceText::new("Dockerfile", text.as_str())), &options);
            for finding in &findings {
                let fixes = finding.fix.iter().flat_map(|fix| fix.edits.iter().map(|edit| edit.span));
                for span in fixes.chain([finding.span]) {
                    prop_assert!(text.get(span.start..span.end).is_some(), "{} {span:?} in {text:?}", finding.rule.id);
                }
            }
            text = apply_fixes(&text, &findings, true).text;
        }
    }
}
