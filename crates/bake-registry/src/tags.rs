//! Listing the tags of a repository.

use std::collections::HashSet;

use bake_oci::Reference;
use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::client::RegistryClient;
use crate::endpoint::{Endpoint, Repository};
use crate::error::{Attempt, Outcome, RegistryError, RegistryFailure, redact};
use crate::transport::Call;

/// How many tags are asked for at a time. Registries cut it to what they like.
const TAGS_PER_PAGE: &str = "1000";
/// The largest page: 1,000 tags of 128 characters need 130 KiB; registries that ignore `n` send all at once.
const PAGE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The most pages that are followed.
const PAGES_MAX: usize = 2_000;
/// The most tags that are collected.
const TAGS_MAX: usize = 500_000;
/// The longest tag that is kept (OCI distribution spec).
const TAG_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
struct Page {
    // Empty repositories have `null` on some registries.
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl RegistryClient {
    /// The tags of the repository of `reference`, in the registry's order (OCI distribution spec, "Listing Tags").
    ///
    /// At most 500,000 tags in 2,000 pages; more is an error. Next pages are followed only on the registry itself.
    pub async fn list_tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let work = async {
            let repository = Repository::of(reference)?;
            let endpoint = self.endpoint(&repository.registry).await?;
            self.collect_tags(&endpoint, &repository).await
        };
        self.within_total(reference.registry(), work)
            .await
            .attempt(|| format!("list the tags of `{}`", reference.name()))
    }

    async fn collect_tags(&self, endpoint: &Endpoint, repository: &Repository) -> Outcome<Vec<String>> {
        let what = format!("the tag list of `{}/{}`", repository.registry, repository.name);
        let mut url = endpoint.url(&format!("{}/tags/list", repository.name));
        url.query_pairs_mut().append_pair("n", TAGS_PER_PAGE);
        let mut seen = HashSet::new();
        let mut tags = Vec::new();
        let scopes = [repository.scope("pull")];
        while seen.insert(url.clone()) {
            if seen.len() > PAGES_MAX {
                return Err(RegistryFailure::protocol(&url, format!("the tag list has more than {PAGES_MAX} pages")));
            }
            let call = Call::new(Method::GET, url.clone());
            let (from, headers, body) = self.request_small(endpoint, &scopes, &call, PAGE_BYTES_MAX, &what).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| RegistryFailure::protocol(&from, format!("the tag list is not valid: {error}")))?;
            let page = page.tags.unwrap_or_default();
            if tags.len() + page.len() > TAGS_MAX {
                return Err(RegistryFailure::protocol(&url, format!("there are more than {TAGS_MAX} tags")));
            }
            // What cannot be a tag cannot be asked for either, and may hold anything.
            tags.extend(page.into_iter().filter(|tag| is_tag(tag)));
            let Some(next) = next_page(endpoint, &url, &headers)? else { return Ok(tags) };
            url = next;
        }
        Err(RegistryFailure::protocol(&url, "the pages of the tag list lead in a circle"))
    }
}

fn is_tag(text: &str) -> bool {
    (1..=TAG_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The next page of the list `from`, if there is one. It must be on the same registry and of the same list: otherwise a
/// registry could choose what is asked with our credentials.
pub(crate) fn next_page(endpoint: &Endpoint, from: &Url, headers: &HeaderMap) -> Outcome<Option<Url>> {
    let next = next_link(from, headers)?;
    if let Some(next) = next.as_ref().filter(|next| !endpoint.owns(next) || next.path() != from.path()) {
        let reason = "the next page of a list must be on the same registry, in the same list";
        return Err(Box::new(RegistryFailure::Refused { from: redact(from), to: redact(next), reason }));
    }
    Ok(next)
}

/// The URL of `Link: <url>; rel="next"` (RFC 8288).
fn next_link(from: &Url, headers: &HeaderMap) -> Outcome<Option<Url>> {
    let Some(value) = headers.get(LINK) else { return Ok(None) };
    let invalid = || RegistryFailure::protocol(from, "its `Link` is malformed");
    let text = value.to_str().map_err(|_| invalid())?;
    let (target, parameters) =
        text.trim().strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or_else(invalid)?;
    let is_next = parameters.split([';', ',']).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
    });
    if !is_next {
        return Ok(None);
    }
    from.join(target).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn next_pages() {
        let from = Url::parse("http://127.0.0.1:5000/v2/a/tags/list?n=2").unwrap();
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().unwrap());
            next_link(&from, &headers).map(|url| url.map(|url| url.to_string()))
        };
        let page = "http://127.0.0.1:5000/v2/a/tags/list?last=b&n=2";
        assert_eq!(next("</v2/a/tags/list?last=b&n=2>; rel=\"next\"").unwrap().as_deref(), Some(page));
        assert_eq!(next("</v2/a/tags/list?last=b&n=2>;rel=next").unwrap().as_deref(), Some(page));
        assert_eq!(next("<http://evil/>; rel=prev").unwrap(), None);
        assert!(next("garbage").is_err() && next("<x").is_err());
    }
}
