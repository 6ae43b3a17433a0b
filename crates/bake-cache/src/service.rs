//! What the services that keep caches have in common: how they are asked, and how blobs are sent to them.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bake_registry::http::{Call, HttpClient, retry_after};
use bake_registry::{Options, RegistryError, RegistryFailure};
use bake_store::BlobDescriptor;
use reqwest::{Response, StatusCode};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A result inside this crate; a backend adds what it attempted.
pub(crate) type Outcome<T> = Result<T, Box<RegistryFailure>>;

/// How often whoever works looks whether the build was cancelled.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// How often progress is told while something is sent.
const TICK: Duration = Duration::from_millis(200);

/// A service, and whether it wants to be left alone.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) client: HttpClient,
    /// Whether a request for patience holds back all our requests, or only the one that was answered by it.
    holds_back: bool,
    not_before: Mutex<Option<Instant>>,
    runtime: Handle,
    /// Set from outside when nobody wants results any more.
    cancelled: Arc<AtomicBool>,
}

/// What a backend is made with: how to connect, and how its work is carried out and ended.
#[derive(Debug)]
pub struct Connection<'a> {
    /// Of these, certificates, proxies, user agent, timeouts and retries are used; credentials are not.
    pub options: &'a Options,
    /// A runtime with several threads, and with time and I/O enabled. The backend's methods block on it, and so must not be
    /// called from its own tasks.
    pub runtime: Handle,
    /// Setting it ends whatever the backend does within a second or two, with an error.
    pub cancelled: Arc<AtomicBool>,
}

impl Service {
    pub(crate) fn new(
        connection: Connection<'_>,
        attempts_max: Option<u32>,
        holds_back: bool,
    ) -> Result<Self, RegistryError> {
        let mut client = HttpClient::new(connection.options)?;
        if let Some(max) = attempts_max {
            client = client.with_attempts_max(max);
        }
        let Connection { runtime, cancelled, .. } = connection;
        Ok(Self { client, holds_back, not_before: Mutex::new(None), runtime, cancelled })
    }

    /// Carries `work` out on this thread.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.runtime.block_on(work)
    }

    /// Carries `work` out unless the build is cancelled; then it is dropped.
    pub(crate) async fn unless_cancelled<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let mut work = pin!(work);
        while !self.is_cancelled() {
            tokio::select! {
                result = &mut work => return result,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        Err(RegistryFailure::request("the build was cancelled"))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Sends one request, once, but not before the time that the service asked for.
    pub(crate) async fn send(&self, call: &Call) -> Outcome<Response> {
        let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(not_before) = not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let response = self.client.send(call).await?;
        let busy = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if busy
            && self.holds_back
            && let Some(wait) = retry_after(response.headers())
        {
            let until = Instant::now() + wait.min(self.client.retries().retry_after_max);
            let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            *not_before = (*not_before).max(Some(until));
        }
        Ok(response)
    }

    /// Does `work` until it succeeds, fails for good, or there were too many attempts.
    pub(crate) async fn retrying<T, F>(&self, work: impl Fn() -> F) -> Outcome<T>
    where
        F: Future<Output = Outcome<T>>,
    {
        let mut attempts = self.client.attempts();
        loop {
            match work().await {
                Ok(value) => return Ok(value),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }
}

/// Does `work` for every item, at most `limit` of them at the same time, all on this task; results are in the order of
/// the items. The first failure is the result, and what still runs is dropped.
pub(crate) async fn at_once<I, F, T>(
    items: impl IntoIterator<Item = I>,
    limit: usize,
    work: impl Fn(I) -> F,
) -> Outcome<Vec<T>>
where
    F: Future<Output = Outcome<T>>,
{
    let mut items = items.into_iter().enumerate();
    let mut running = Vec::new();
    let mut done = Vec::new();
    loop {
        while running.len() < limit.max(1) {
            let Some((index, item)) = items.next() else { break };
            running.push((index, Box::pin(work(item))));
        }
        if running.is_empty() {
            break;
        }
        // A handful run at a time: to look at all of them whenever one has news costs nothing.
        let (position, result) = poll_fn(|context| {
            for (position, (_, future)) in running.iter_mut().enumerate() {
                if let Poll::Ready(result) = future.as_mut().poll(context) {
                    return Poll::Ready((position, result));
                }
            }
            Poll::Pending
        })
        .await;
        let (index, _) = running.swap_remove(position);
        done.push((index, result?));
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// Those of `blobs` that are not there, in their order; each is asked for once.
pub(crate) async fn missing_of<'a, F>(
    blobs: &'a [BlobDescriptor],
    limit: usize,
    is_there: impl Fn(&'a BlobDescriptor) -> F,
) -> Outcome<Vec<BlobDescriptor>>
where
    F: Future<Output = Outcome<bool>>,
{
    let mut seen = BTreeSet::new();
    let once: Vec<_> = blobs.iter().filter(|blob| seen.insert(&blob.digest)).collect();
    let there = at_once(once.iter().copied(), limit, is_there).await?;
    Ok(once.into_iter().zip(there).filter(|(_, there)| !there).map(|(blob, _)| blob.clone()).collect())
}

/// Does `work`, and calls `report` now and then meanwhile.
pub(crate) async fn reporting<T>(work: impl Future<Output = T>, report: impl Fn()) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(TICK) => report(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn several_run_at_once_but_no_more_than_the_limit() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (running, most) = (Cell::new(0), Cell::new(0));
        let work = |item: u64| {
            let (running, most) = (&running, &most);
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                // Later items end sooner; their results still come in order.
                tokio::time::sleep(Duration::from_millis(20 - item)).await;
                running.set(running.get() - 1);
                if item == 13 { Err(RegistryFailure::request("unlucky")) } else { Ok(item * 2) }
            }
        };
        let results = runtime.block_on(at_once(0..10, 3, work)).unwrap();
        assert_eq!(results, (0..10).map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(most.get(), 3);
        assert_eq!(runtime.block_on(at_once(10..20, 3, work)).unwrap_err().to_string(), "unlucky");
    }
}
