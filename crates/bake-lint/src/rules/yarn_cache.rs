//! `yarn-cache`

use super::npm_cache::check_manager;
use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "yarn-cache",
    aliases: &["DL3060"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`yarn install` leaves its download cache in the layer.",
    why: "Every package is in the image twice: installed, and in yarn's cache.",
    bad: "FROM node:22-slim\nRUN yarn install --frozen-lockfile\nUSER node\n",
    good: "FROM node:22-slim\nRUN yarn install --frozen-lockfile && yarn cache clean\nUSER node\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let caches = ["/usr/local/share/.cache/yarn", "/root/.cache/yarn", "/root/.yarn"];
    check_manager(context, report, Manager::Yarn, &caches, "yarn cache clean");
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn yarn_that_runs_from_its_cache_keeps_it() {
        let text = "FROM node:22\nRUN yarn install --immutable\nCOPY package.json yarn.lock .yarnrc.yml ./\nRUN yarn install\n\
                    FROM node:22\nCOPY package.json yarn.lock ./\nRUN yarn install --frozen-lockfile\n";
        assert_eq!(lines("yarn-cache", text), [7]);
    }
}
