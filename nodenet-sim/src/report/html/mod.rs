//! HTML page of a report: self-contained, with inline style and inline SVG.
//!
//! Responsible for: the page. Never: figures; see [`crate::report`].

mod chart;
mod matrix;
mod svg;

use core::fmt::Write;

use crate::report::row::{Row, Rows};
use crate::report::{Phase, Report, Shape};

pub use matrix::of_matrix;

/// What the reference, v0.2.1, delivered in its own in-memory transport, without loss or NAT
/// (measured): nodes and percent.
pub mod reference {
    /// Steady state, joining through ten contacts.
    pub const THROUGH_TEN: [(u64, f64); 4] = [(50, 100.0), (200, 79.0), (500, 55.0), (1_000, 18.0)];
    /// Steady state, joining through random members.
    pub const THROUGH_ANY: [(u64, f64); 2] = [(200, 90.0), (1_000, 46.0)];
    /// After fifteen minutes with 2 % of the nodes replaced every 30 s.
    pub const CHURN: [(u64, f64); 4] = [(50, 92.0), (200, 67.0), (500, 55.0), (1_000, 23.0)];
}

/// The page of a single run, failed or not.
pub fn of_run(report: &Report, rows: &Rows) -> String {
    let one = core::slice::from_ref(rows);
    let mut page = Page::of_one(rows);
    page.tiles(rows);
    page.open_grid();
    let phase = report.steady().or(report.phases.first());
    if let Some(Phase { figures, .. }) = phase.filter(|phase| phase.figures.hops.is_some()) {
        page.card("Delivery against size", DELIVERY_NOTE, &chart::delivery(one));
        let note = "Edges that the first copy of a message crossed.";
        page.card("Hops", note, &chart::hops(&figures.hop_histogram));
    }
    let note = "Live edges of a node by how many leading bits it shares with the peer. A steady \
                supply in every bucket is what makes greedy routing logarithmic.";
    page.card("Edges per bucket", note, &chart::buckets(&report.shape.edges_per_bucket));
    if let Some(Phase { figures, .. }) = phase.filter(|phase| !phase.figures.traffic.is_empty()) {
        let note = "Bytes that an idle node sends and receives in a day, by kind of frame.";
        page.card("Idle traffic", note, &chart::traffic(&figures.traffic));
    }
    let note = "Every dot is a node at its identifier, clockwise from the top. Chords are the live \
                edges of six of them: dense to the neighbours, sparse but certain across.";
    page.wide_card("The ring", note, &ring(&report.shape));
    page.close_grid();
    page.table(one);
    page.finish()
}

/// The page of a run of which only the failure is known, because a machine panicked.
pub fn of_failed(rows: &Rows) -> String {
    Page::of_one(rows).finish()
}

/// The page of a sweep over sizes and seeds: figures of the runs that finished, errors of the
/// others.
pub fn of_sweep(title: &str, all: &[Rows], failed: &[String]) -> String {
    let mut page = Page::new(title);
    if !failed.is_empty() {
        let runs = all.len() + failed.len();
        page.failed(&format!("{} of {runs} runs failed", failed.len()), failed);
    }
    page.open_grid();
    page.wide_card("Delivery against size", DELIVERY_NOTE, &chart::delivery(all));
    let note = "Mean edges crossed by first copies. A line on this axis is logarithmic growth.";
    page.card("Hops against size", note, &chart::hops_by_size(all));
    let note = "Megabytes a day that an idle node sends and receives.";
    page.card("Idle traffic against size", note, &chart::idle_by_size(all));
    page.close_grid();
    page.table(all);
    page.finish()
}

const DELIVERY_NOTE: &str = "Share of messages between random pairs that arrived. Grey: the Go \
                             reference v0.2.1 in its own in-memory transport, without loss or NAT.";

fn ring(shape: &Shape) -> String {
    svg::ring(&shape.ring, &shape.chords)
}

/// A page under construction.
struct Page {
    text: String,
}

impl Page {
    fn new(title: &str) -> Self {
        let title = escape(title);
        Self {
            text: format!(
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
                 <title>nodenet-sim: {title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n\
                 <header><p class=\"brand\">nodenet-sim</p><h1>{title}</h1></header>\n"
            ),
        }
    }

    /// A page that begins with the outcome of the run: a failed run must not look like a success.
    fn of_one(rows: &Rows) -> Self {
        let mut page = Self::new(&format!("{} · seed {}", rows.name, rows.seed));
        if let Some(failure) = &rows.failure {
            page.failed("This run failed", core::slice::from_ref(failure));
        }
        if !rows.held.is_empty() {
            page.push("<section class=\"banner\"><h2>As expected</h2><ul>");
            for expectation in &rows.held {
                let _ = write!(page.text, "<li>{}</li>", escape(expectation));
            }
            page.push("</ul></section>\n");
        }
        let note = match (rows.steady_phase(), &rows.churn) {
            (Some(_), _) => return page,
            (None, Some(_)) => {
                "The figures are those of the network in churn: no other was measured."
            }
            (None, None) => "Nothing was measured.",
        };
        let _ = writeln!(page.text, "<p class=\"note\">{note}</p>");
        page
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn failed(&mut self, title: &str, reasons: &[String]) {
        let _ = write!(self.text, "<section class=\"banner failed\"><h2>{title}</h2>");
        for reason in reasons {
            let _ = write!(self.text, "<pre>{}</pre>", escape(reason));
        }
        self.push("</section>\n");
    }

    fn tiles(&mut self, rows: &Rows) {
        let Some(row) = rows.steady_phase().or(rows.churn.as_ref()) else { return };
        self.push("<section class=\"tiles\">\n");
        for (name, row) in
            [("delivered", rows.steady_phase()), ("under churn", rows.churn.as_ref())]
        {
            if let Some(row) = row {
                let of = format!("{} of {}", count(row.delivered), count(row.sent));
                self.tile(name, &or_dash(row.delivered_share, share), &of);
            }
        }
        let edges = format!("{} edges each", decimals(row.edges_mean, 1));
        self.tile("nodes", &count(row.nodes), &edges);
        let [p99, max] = [row.hops_p99, row.hops_max].map(|hops| decimals(hops, 0));
        self.tile("hops", &decimals(row.hops_mean, 2), &format!("p99 {p99} · max {max}"));
        let stretch = format!("p99 {}", decimals(row.stretch_p99, 2));
        self.tile("stretch", &decimals(row.stretch_p50, 2), &stretch);
        let wakeups = format!("{} wake-ups an hour", decimals(row.idle_wakeups_per_node_hour, 0));
        self.tile("idle", &or_dash(row.idle_bytes_per_node_day, megabytes), &wakeups);
        let [p50, p99] = [row.join_ms_p50, row.join_ms_p99].map(|join| or_dash(join, millis));
        self.tile("join", &p50, &format!("p99 {p99}"));
        self.tile("state", &or_dash(row.state_bytes_per_node, kibibytes), "of heap for each node");
        self.push("</section>\n");
    }

    fn tile(&mut self, name: &str, value: &str, more: &str) {
        let _ = writeln!(
            self.text,
            "<div class=\"tile\"><p class=\"name\">{name}</p><p class=\"value\">{value}</p>\
             <p class=\"more\">{more}</p></div>"
        );
    }

    fn open_grid(&mut self) {
        self.push("<section class=\"grid\">\n");
    }

    fn close_grid(&mut self) {
        self.push("</section>\n");
    }

    fn card(&mut self, title: &str, note: &str, svg: &str) {
        let _ = writeln!(
            self.text,
            "<figure class=\"card\"><h2>{title}</h2>{svg}<figcaption>{note}</figcaption></figure>"
        );
    }

    fn wide_card(&mut self, title: &str, note: &str, svg: &str) {
        let _ = writeln!(
            self.text,
            "<figure class=\"card wide\"><h2>{title}</h2>{svg}\
             <figcaption>{note}</figcaption></figure>"
        );
    }

    fn table(&mut self, all: &[Rows]) {
        if all.iter().all(|rows| rows.phases.is_empty()) {
            return;
        }
        let headings = [
            "nodes",
            "seed",
            "phase",
            "delivered",
            "duplicates",
            "hops",
            "p99",
            "stretch",
            "p99",
            "edges",
            "state",
            "idle a day",
            "wake-ups/h",
            "join",
            "p99",
            "trace",
        ];
        self.push("<section class=\"card table\"><h2>Figures</h2><table><thead><tr>");
        for heading in headings {
            let _ = write!(self.text, "<th>{heading}</th>");
        }
        self.push("</tr></thead><tbody>\n");
        for rows in all {
            for (name, row) in rows.named_phases() {
                self.row(rows.seed, &name, row);
            }
        }
        self.push("</tbody></table></section>\n");
    }

    fn row(&mut self, seed: u64, phase: &str, row: &Row) {
        let cells = [
            count(row.nodes),
            seed.to_string(),
            phase.to_owned(),
            or_dash(row.delivered_share, share),
            count(row.duplicates),
            decimals(row.hops_mean, 2),
            decimals(row.hops_p99, 0),
            decimals(row.stretch_p50, 2),
            decimals(row.stretch_p99, 2),
            decimals(row.edges_mean, 1),
            or_dash(row.state_bytes_per_node, kibibytes),
            or_dash(row.idle_bytes_per_node_day, megabytes),
            decimals(row.idle_wakeups_per_node_hour, 0),
            or_dash(row.join_ms_p50, millis),
            or_dash(row.join_ms_p99, millis),
            format!("<code>{}</code>", escape(&row.trace_hash)),
        ];
        self.push("<tr>");
        for cell in cells {
            let _ = write!(self.text, "<td>{cell}</td>");
        }
        self.push("</tr>\n");
    }

    fn finish(mut self) -> String {
        self.push("</main></body></html>\n");
        self.text
    }
}

/// A share (0 to 1) in percent, with enough digits that it is rounded neither to 0 % nor to 100 %.
pub fn share(share: f64) -> String {
    let percent = 100.0 * share;
    if percent == 0.0 || percent == 100.0 {
        return format!("{percent:.0} %");
    }
    // One lost message of a million must show.
    let mut texts = (3..15).map(|digits| format!("{percent:.digits$}"));
    let close =
        |text: &String| text.parse().is_ok_and(|percent: f64| percent > 0.0 && percent < 100.0);
    texts.find(close).unwrap_or_else(|| percent.to_string()) + " %"
}

/// A number with separated thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in megabytes.
pub fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// Bytes in KiB.
pub fn kibibytes(bytes: f64) -> String {
    format!("{:.1} KiB", bytes / 1024.0)
}

fn millis(millis: f64) -> String {
    format!("{millis:.0} ms")
}

/// A figure as text; a dash if it was not measured.
pub fn or_dash(figure: Option<f64>, tell: impl FnOnce(f64) -> String) -> String {
    figure.map_or_else(|| "–".to_owned(), tell)
}

/// A figure with this number of decimals; a dash if it was not measured.
pub fn decimals(figure: Option<f64>, decimals: usize) -> String {
    or_dash(figure, |figure| format!("{figure:.decimals$}"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::{count, escape, of_failed, of_sweep, share};
    use crate::report::row::{PhaseRow, Row, Rows};

    fn rows(phases: &[bool]) -> Rows {
        let row = Row {
            nodes: 1_000,
            sent: 10,
            delivered: 9,
            delivered_share: Some(0.9),
            ..Row::default()
        };
        let phase = |&under_churn: &bool| PhaseRow { under_churn, all: row.clone(), light: None };
        let churn = phases.contains(&true).then(|| row.clone());
        let phases = phases.iter().map(phase).collect();
        Rows { seed: 1, steady: row.clone(), churn, phases, ..Rows::default() }
    }

    #[test]
    fn a_page_is_closed_and_fetches_nothing() {
        let rows = rows(&[false, true]);
        let page = of_sweep("<sizes>", &[rows.clone(), rows], &["for want of <memory>".to_owned()]);
        assert!(page.contains("1 of 3 runs failed") && page.contains("want of &lt;memory&gt;"));
        assert!(page.contains("&lt;sizes&gt;") && page.ends_with("</html>\n"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for tag in ["svg", "figure", "table", "tr", "g", "text", "section", "pre"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    /// Labels of the phases in a table of figures, and whether nodenet's two lines are drawn.
    fn shown(phases: &[bool]) -> (Vec<String>, [bool; 2]) {
        let page = of_sweep("phases", &[rows(phases)], &[]);
        let cells = page.match_indices("<td>1</td><td>").map(|(at, head)| &page[at + head.len()..]);
        let names = cells.map(|rest| rest.split('<').next().unwrap_or(rest).to_owned()).collect();
        (names, ["nodenet 90.000 %", "under churn 90.000 %"].map(|line| page.contains(line)))
    }

    #[test]
    fn every_phase_has_its_label() {
        let (names, lines) = shown(&[false, true, false]);
        assert_eq!(
            (names, lines),
            (["steady", "churn", "steady 2"].map(str::to_owned).into(), [true; 2])
        );
        assert_eq!(shown(&[true]), (vec!["churn".to_owned()], [false, true]));
        assert_eq!(shown(&[]), (Vec::new(), [false; 2]));
    }

    #[test]
    fn a_page_shows_the_failure_before_the_expectations_that_held() {
        let failure = Some("panic: <deep>".to_owned());
        let held = vec!["at least 99 % delivered".to_owned()];
        let page = of_failed(&Rows { failure, held, ..Rows::default() });
        let parts =
            ["This run failed", "panic: &lt;deep&gt;", "at least 99 % delivered", "</html>"];
        let places = parts.map(|part| page.find(part).expect(part));
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn figures_are_formatted_with_units_and_separators() {
        assert_eq!([count(7), count(1_000), count(12_345_678)], ["7", "1,000", "12,345,678"]);
        let shares = [1.0, 0.0, 0.9, 99_999.0 / 1e5, 999_999.0 / 1e6, 1.0 / 1e7].map(share);
        let expected = ["100 %", "0 %", "90.000 %", "99.999 %", "99.9999 %", "0.00001 %"];
        assert_eq!(shares, expected);
        assert_eq!(escape("a<b&\"c\">"), "a&lt;b&amp;&quot;c&quot;&gt;");
    }
}
