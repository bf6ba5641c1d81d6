//! Charts of a report.

use super::svg::{Plot, Tick, log2, round_ticks, rows};
use super::{count, megabytes, reference, share};
use crate::report::row::{Row, Rows};

/// Points by size: nodes, value, title.
type Series = Vec<(u64, f64, String)>;

/// Delivered share against size, of nodenet and of the reference.
pub(super) fn delivery(all: &[Rows]) -> String {
    let of = |row: &Row| Some((row.nodes, row.delivered_share? * 100.0));
    let title = |percent: f64| share(percent / 100.0);
    let steady = by_size(all.iter().filter_map(Rows::steady_phase).filter_map(of), title);
    let churn = by_size(all.iter().filter_map(|rows| of(rows.churn.as_ref()?)), title);
    let given = |points: &[(u64, f64)]| -> Series {
        let title = |&(nodes, percent)| (nodes, percent, format!("reference: {percent} %"));
        points.iter().map(title).collect()
    };
    let ten = given(&reference::THROUGH_TEN);
    let any = given(&reference::THROUGH_ANY);
    let after = given(&reference::CHURN);
    let sizes: Vec<u64> = steady.iter().chain(&churn).map(|point| point.0).collect();
    let largest = sizes.iter().copied().max().unwrap_or(0).max(20_000);
    let scale = Scale::from_below(&sizes, 20, largest);
    // Space above for the labels of nodenet, where the reference has no points.
    let mut plot = Plot::new("delivery against size", 124.0, all.len() > 1);
    let percent = |at| Tick { at, label: format!("{at} %") };
    plot.y_axis(&[0.0, 25.0, 50.0, 75.0, 100.0].map(percent));
    plot.x_axis(&scale.ticks());
    plot.line(&scale.place(&after), "ref", true);
    plot.line(&scale.place(&any), "ref", true);
    plot.line(&scale.place(&ten), "ref", false);
    plot.label(
        (scale.at(1_000), 18.0),
        4.0,
        "&#160;&#160;reference, through ten",
        ("start", "soft"),
    );
    plot.label(
        (scale.at(1_000), 46.0),
        4.0,
        "&#160;&#160;through random members",
        ("start", "soft"),
    );
    plot.label((scale.at(1_000), 23.0), -8.0, "&#160;&#160;after churn", ("start", "soft"));
    let ours = [(&churn, "churn", "under churn", -28.0), (&steady, "main", "nodenet", -12.0)];
    for (points, color, ..) in ours {
        plot.line(&scale.place(points), color, false);
    }
    for (points, color, name, dy) in ours {
        let Some((nodes, value, title)) = points.last() else { continue };
        let anchor = if *nodes * 4 > largest { "end" } else { "middle" };
        plot.label((scale.at(*nodes), *value), dy, &format!("{name} {title}"), (anchor, color));
    }
    plot.finish()
}

/// First copies by the number of edges that they crossed.
pub(super) fn hops(histogram: &[u64]) -> String {
    let total = histogram.iter().sum::<u64>().max(1) as f64;
    let bars: Vec<_> = histogram.iter().map(|&bar| bar as f64 / total * 100.0).collect();
    let title = |at: usize| format!("{} messages crossed {at} edges", count(histogram[at]));
    columns("hops", &bars, "main", |at| format!("{at:.0} %"), title)
}

/// Edges by shared prefix.
pub(super) fn buckets(edges: &[f64]) -> String {
    let title = |at: usize| format!("{:.2} edges share {at} bits", edges[at]);
    let label = |at: f64| at.to_string();
    columns("edges per bucket", edges, "light", label, title)
}

fn columns(
    name: &str,
    bars: &[f64],
    color: &str,
    label: impl Fn(f64) -> String,
    title: impl Fn(usize) -> String,
) -> String {
    let ticks = round_ticks(bars.iter().copied().fold(0.0, f64::max), label);
    let mut plot = Plot::new(name, ticks.last().map_or(1.0, |tick| tick.at), false);
    plot.y_axis(&ticks);
    let slots = bars.len().max(1) as f64;
    let center = |at: usize| (at as f64 + 0.5) / slots;
    let width = ((plot.x(1.0) - plot.x(0.0)) / slots * 0.72).min(46.0);
    for (at, value) in bars.iter().enumerate() {
        plot.bar(center(at), width, *value, color, &title(at));
    }
    let every = bars.len().div_ceil(16).max(1);
    let tick = |at: usize| Tick { at: center(at), label: at.to_string() };
    plot.x_axis(&(0..bars.len()).step_by(every).map(tick).collect::<Vec<_>>());
    plot.finish()
}

/// Idle bytes a day by kind.
pub(super) fn traffic(kinds: &[(&'static str, f64)]) -> String {
    // Values that would be shown as zero are left out.
    let shown = kinds.iter().filter(|(_, bytes)| *bytes >= 5e4);
    let all: Vec<_> = shown.map(|&(name, bytes)| (name, bytes, megabytes(bytes))).collect();
    rows("idle traffic by kind", &all)
}

/// Mean hops against size.
pub(super) fn hops_by_size(all: &[Rows]) -> String {
    let of = |row: &Row| Some((row.nodes, row.hops_mean?));
    by_size_plot("hops against size", all, of, |hops| format!("{hops:.2}"))
}

/// Idle bytes against size.
pub(super) fn idle_by_size(all: &[Rows]) -> String {
    let of = |row: &Row| Some((row.nodes, row.idle_bytes_per_node_day? / 1e6));
    by_size_plot("idle traffic against size", all, of, |at| megabytes(at * 1e6))
}

fn by_size_plot(
    name: &str,
    all: &[Rows],
    of: impl Fn(&Row) -> Option<(u64, f64)>,
    title: impl Fn(f64) -> String,
) -> String {
    let points = by_size(all.iter().filter_map(Rows::steady_phase).filter_map(of), title);
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let ticks = round_ticks(most, |at| at.to_string());
    let mut plot = Plot::new(name, ticks.last().map_or(1.0, |tick| tick.at), false);
    let (least, most) = (points.first().map_or(1, |p| p.0), points.last().map_or(2, |p| p.0));
    let scale = Scale::new(least / 2, most.max(2) * 2);
    plot.y_axis(&ticks);
    let size = |point: &(u64, f64, String)| Tick { at: scale.at(point.0), label: count(point.0) };
    plot.x_axis(&points.iter().map(size).collect::<Vec<_>>());
    plot.line(&scale.place(&points), "main", false);
    plot.finish()
}

/// One point for each size: the mean over seeds, and its title.
fn by_size(points: impl Iterator<Item = (u64, f64)>, title: impl Fn(f64) -> String) -> Series {
    let mut all: Vec<(u64, f64)> = points.collect();
    all.sort_by_key(|point| point.0);
    let mut merged: Series = Vec::new();
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let mean = group.iter().map(|point| point.1).sum::<f64>() / group.len() as f64;
        merged.push((group[0].0, mean, title(mean)));
    }
    merged
}

/// A logarithmic axis of sizes.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn new(least: u64, most: u64) -> Self {
        Self { least: log2(least), most: log2(most).max(log2(least) + 1.0) }
    }

    /// An axis that begins at `least`, or at a smaller size if there is one.
    fn from_below(sizes: &[u64], least: u64, most: u64) -> Self {
        let smallest = sizes.iter().copied().min().unwrap_or(least);
        Self::new(least.min(smallest / 2), most)
    }

    fn at(&self, nodes: u64) -> f64 {
        ((log2(nodes) - self.least) / (self.most - self.least)).clamp(0.0, 1.0)
    }

    fn place(&self, points: &Series) -> Vec<(f64, f64, String)> {
        let place = |(nodes, value, title): &(u64, f64, String)| {
            (self.at(*nodes), *value, format!("{} nodes: {title}", count(*nodes)))
        };
        points.iter().map(place).collect()
    }

    fn ticks(&self) -> Vec<Tick> {
        let within = |nodes: &u64| (self.least..=self.most).contains(&log2(*nodes));
        [2, 10, 50, 200, 1_000, 5_000, 10_000, 50_000, 100_000]
            .into_iter()
            .filter(within)
            .map(|nodes| Tick { at: self.at(nodes), label: count(nodes) })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Scale;

    #[test]
    fn every_size_has_a_position_of_its_own() {
        let scale = Scale::from_below(&[5, 12, 1_000], 20, 20_000);
        let places = [5, 12, 1_000].map(|nodes| scale.at(nodes));
        assert!(places[0] > 0.0 && places.is_sorted_by(|a, b| a < b), "{places:?}");
        let labels: Vec<_> = scale.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["2", "10", "50", "200", "1,000", "5,000", "10,000"]);
        // Larger sizes keep their position.
        assert_eq!(Scale::from_below(&[50], 20, 20_000).at(20), 0.0);
    }
}
