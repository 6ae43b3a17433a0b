//! Waiting before another attempt: exponential, with jitter, and as long as the registry asks.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::RegistryFailure;
use crate::options::Retries;

/// Counts the attempts of one operation.
#[derive(Debug)]
pub struct Attempts {
    limits: Retries,
    failed: u32,
}

impl Attempts {
    /// No attempt was made yet.
    pub fn new(limits: Retries) -> Self {
        Self { limits, failed: 0 }
    }

    /// Forgets earlier failures, after real progress.
    pub(crate) fn restart(&mut self) {
        self.failed = 0;
    }

    /// Waits until another attempt may be made, or gives `failure` back when it may not: it is none that passes, there
    /// were too many, or the server asks for a longer wait than we accept.
    pub async fn wait_after(&mut self, failure: Box<RegistryFailure>) -> Result<(), Box<RegistryFailure>> {
        match self.next_wait(&failure) {
            Some(wait) => {
                tracing::debug!(attempt = self.failed, wait_ms = wait.as_millis(), %failure, "trying again");
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => Err(failure),
        }
    }

    fn next_wait(&mut self, failure: &RegistryFailure) -> Option<Duration> {
        if !failure.is_transient() || self.failed >= self.limits.retries_max {
            return None;
        }
        let own = self.limits.wait.saturating_mul(1 << self.failed.min(16)).min(self.limits.wait_max);
        self.failed += 1;
        // The upper half is random so that many clients which failed together do not come back together.
        let own = own / 2 + (own / 2).mul_f64(random_fraction());
        match failure.retry_after() {
            Some(asked) if asked > self.limits.retry_after_max => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

/// A number in [0, 1). `RandomState` is seeded by the system; jitter needs no more than that.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 40;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(1_u32 << 24)
}

/// The wait that a `Retry-After` header asks for: seconds or an HTTP date (RFC 9110, section 10.2.3).
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let due = Duration::from_secs(parse_http_date(text)?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(due.saturating_sub(now))
}

/// Unix seconds of `Sun, 06 Nov 1994 08:49:37 GMT` (IMF-fixdate, the one form that may be sent).
pub fn parse_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month_name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if words.next()? != "GMT" || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 by the civil calendar; years start in March so that the leap day comes last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1;
    let days_since_epoch = days.checked_sub(719_468)?;
    Some(days_since_epoch * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates() {
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse_http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for bad in
            ["", "x", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 99 Nov 1994 0:0:0 GMT"]
        {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_grow_are_bounded_and_obey_retry_after() {
        let mut attempts = Attempts::new(Retries::default());
        let status = |seconds| RegistryFailure::TooManyRequests {
            url: String::new(),
            retry_after: seconds,
            messages: crate::Messages::default(),
        };
        let waits: Vec<_> = (0..6).map(|_| attempts.next_wait(&status(None))).collect();
        assert!(waits[..5].iter().all(Option::is_some) && waits[5].is_none(), "{waits:?}");
        assert!(waits[4] > waits[0]);
        attempts.restart();
        assert!(attempts.next_wait(&status(Some(Duration::from_secs(7)))) >= Some(Duration::from_secs(7)));
        assert_eq!(attempts.next_wait(&status(Some(Duration::from_hours(24)))), None);
    }
}
