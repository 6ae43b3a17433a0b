//! What follows a build: keeping the store within its budget.

use bake::error::chain_text;
use bake::ui::measure::size;
use bake_store::Budget;

use super::transfer::say;
use crate::signals;
use crate::wiring::Host;

/// Collects garbage if that is due. The build is reported by now, so nothing here can fail it, and Ctrl-C ends it at once.
pub(crate) fn after_build(budget: &Budget, host: &Host, quiet: bool) {
    let _signals = signals::on_interrupt(|| signals::exit_interrupted());
    match host.store.collect_garbage(budget) {
        Ok(Some(report)) if !quiet => {
            let count = report.removed.len();
            let things = if count == 1 { "1 thing" } else { &format!("{count} things") };
            say(&format!(
                "removed {things} from the cache to keep the store small, {} freed",
                size(report.freed_bytes)
            ));
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(error = chain_text(&error), "could not collect garbage"),
    }
}
