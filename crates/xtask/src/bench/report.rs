//! The table, and what is needed to judge it.

use std::fmt::Write as _;
use std::time::Duration;

use super::Cost;
use super::peer::Peer;
use super::workload::Workload;
use crate::workspace;

/// The page with the table, and what stands around it there.
const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- begin: cargo xtask bench -->\n";
const END: &str = "<!-- end: cargo xtask bench -->\n";

/// What one builder took for one workload.
#[derive(Debug)]
pub(super) struct Row {
    /// The builder's name.
    pub(super) peer: String,
    /// One cost for each round.
    pub(super) costs: Vec<Cost>,
    workload: Workload,
    works_itself: bool,
}

impl Row {
    /// Nothing measured yet.
    pub(super) fn new(workload: Workload, peer: &Peer) -> Self {
        Self { peer: peer.name.clone(), costs: Vec::new(), workload, works_itself: peer.works_itself() }
    }

    fn sorted(&self, figure: fn(&Cost) -> Duration) -> Vec<Duration> {
        let mut values: Vec<Duration> = self.costs.iter().map(figure).collect();
        values.sort_unstable();
        values
    }

    fn median(&self, figure: fn(&Cost) -> Duration) -> Duration {
        let values = self.sorted(figure);
        values.get(values.len() / 2).copied().unwrap_or_default()
    }
}

/// The machine's load: the averages of one, five and fifteen minutes.
pub(super) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The table and what belongs to it.
pub(super) fn text(rows: &[Row], peers: &[Peer], absent: &[String], rounds: u32, load_before: &str) -> String {
    let mut text = String::from(
        "| workload | builder | wall, median | fastest to slowest | CPU, median | wall beside bake |\n|---|---|---|---|---|---|\n",
    );
    let mut last = None;
    for row in rows {
        let wall = row.median(|cost| cost.wall);
        let ours = rows.iter().find(|other| other.peer == "bake" && other.workload == row.workload);
        let ratio = ours.map_or(String::new(), |ours| {
            format!("{:.2}", wall.as_secs_f64() / ours.median(|cost| cost.wall).as_secs_f64().max(f64::EPSILON))
        });
        let all = row.sorted(|cost| cost.wall);
        let range = match (all.first(), all.last()) {
            (Some(first), Some(last)) => format!("{} to {}", shown(*first), shown(*last)),
            _ => String::new(),
        };
        let processor =
            if row.works_itself { shown(row.median(|cost| cost.processor)) } else { "in its daemon".to_owned() };
        let title = if last == Some(row.workload) { "" } else { row.workload.title() };
        last = Some(row.workload);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {title} | {} | {} | {range} | {processor} | {ratio} |", row.peer, shown(wall));
    }
    let _ = writeln!(text, "\n{rounds} rounds, builders in turns. {}", machine(load_before));
    for peer in peers {
        let _ = writeln!(text, "- {}: {}", peer.name, peer.version);
    }
    for reason in absent {
        let _ = writeln!(text, "- not measured: {reason}");
    }
    text
}

/// The machine in one line.
fn machine(load_before: &str) -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory) = (file("/proc/cpuinfo"), file("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches([' ', '\t', ':']).trim().to_owned()).unwrap_or_default()
    };
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let kib: u64 = field(&memory, "MemTotal").split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    format!(
        "{count} processors ({}), {} GiB of memory, Linux {}. Load before: {load_before}; after: {}.",
        field(&cpus, "model name"),
        kib.div_ceil(1 << 20),
        file("/proc/sys/kernel/osrelease").trim(),
        load()
    )
}

/// Milliseconds or seconds, with three digits.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0..0.01 => format!("{:.1} ms", seconds * 1e3),
        0.01..1.0 => format!("{:.0} ms", seconds * 1e3),
        1.0..10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// Puts the text into the page.
pub(super) fn write(text: &str) -> Result<(), String> {
    let path = workspace::root().join(PAGE);
    let page = placed(&workspace::read(&path)?, text).ok_or_else(|| format!("{PAGE} has no place for the table"))?;
    std::fs::write(&path, page).map_err(|error| format!("Failed to write {PAGE}: {error}"))?;
    println!("wrote {PAGE}");
    Ok(())
}

/// The page with the text between its marks.
fn placed(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::bench::peer::custom;

    #[test]
    fn ratios_are_those_of_medians() {
        let peers = [custom("bake=true").unwrap(), custom("other=true").unwrap()];
        let cost =
            |milliseconds| Cost { wall: Duration::from_millis(milliseconds), processor: Duration::from_millis(1) };
        let mut rows: Vec<Row> = peers.iter().map(|peer| Row::new(Workload::Noop, peer)).collect();
        rows[0].costs = vec![cost(100), cost(900), cost(80)];
        rows[1].costs = vec![cost(250), cost(50), cost(260)];
        let text = text(&rows, &peers, &["kaniko: why".to_owned()], 3, "0 0 0");
        assert!(
            text.contains("| rebuild, nothing changed | bake | 100 ms | 80 ms to 900 ms | 1.0 ms | 1.00 |"),
            "{text}"
        );
        assert!(text.contains("|  | other | 250 ms | 50 ms to 260 ms | 1.0 ms | 2.50 |"), "{text}");
        assert!(text.contains("- not measured: kaniko: why"), "{text}");
    }

    #[test]
    fn the_page_has_a_place_for_the_table() {
        let page = workspace::read(&workspace::root().join(PAGE)).unwrap();
        let once = placed(&page, "table").unwrap();
        assert_eq!(placed(&once, "table").unwrap(), once);
        assert!(once.contains("\ntable\n"));
    }
}
