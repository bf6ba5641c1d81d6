//! Heat map of a NAT matrix, and the tables of its kinds and reasons.

use core::fmt::Write;
use std::collections::BTreeMap;

use super::{Page, decimals, escape};
use crate::net::access::Access;
use crate::net::matrix::{Expected, Matrix, Pair};

const NOTE: &str = "Each cell is an ordered pair: the host of the row begins. Its number is the \
                    share of seeds in percent that found a direct path. A frame marks a pair that \
                    is not what the oracle expects. Details are shown under the pointer.";

/// The page of a NAT matrix.
pub fn of_matrix(kinds: &[Access], matrix: &Matrix) -> String {
    let Matrix { seed, seeds, .. } = matrix;
    let mut page = Page::new(&format!("NAT matrix · seed {seed} · {seeds} for each pair"));
    let surprises: Vec<String> = matrix.surprises().map(|pair| tell(pair, *seeds)).collect();
    if !surprises.is_empty() {
        let title = format!("{} pairs are not what the oracle expects", surprises.len());
        page.failed(&title, &surprises);
    }
    page.push("<section class=\"tiles\">\n");
    for (name, expected) in [
        ("direct", Expected::Direct),
        ("by guessing", Expected::Guess),
        ("relayed", Expected::Relayed),
    ] {
        let all = matrix.pairs.iter().filter(|pair| pair.expected == expected);
        let found: u32 = all.clone().map(|pair| pair.direct).sum();
        let count = all.count();
        let runs = count as u64 * u64::from(*seeds);
        page.tile(name, &format!("{count} pairs"), &format!("{found} of {runs} runs are direct"));
    }
    page.push("</section>\n");
    page.push("<section class=\"card heat-card\"><h2>Direct paths</h2>");
    heat(&mut page, kinds, matrix);
    let _ = writeln!(page.text, "{LEGEND}<p class=\"foot\">{NOTE}</p></section>");
    page.open_grid();
    kind_table(&mut page, kinds);
    reason_table(&mut page, matrix);
    page.close_grid();
    page.finish()
}

const LEGEND: &str = "<p class=\"legend\"><span class=\"direct\"></span> direct without a guess \
                      <span class=\"guess\"></span> only by guessing ports \
                      <span class=\"relayed\"></span> no direct path</p>";

fn heat(page: &mut Page, kinds: &[Access], matrix: &Matrix) {
    page.push("<div class=\"scroll\"><table class=\"heat\"><thead><tr><th></th>");
    for kind in kinds {
        let _ = write!(page.text, "<th><span>{}</span></th>", escape(kind.name));
    }
    page.push("</tr></thead><tbody>\n");
    for (row, kind) in matrix.pairs.chunks(kinds.len().max(1)).zip(kinds) {
        let _ = write!(page.text, "<tr><th>{}</th>", escape(kind.name));
        for pair in row {
            let class = match pair.expected {
                Expected::Direct => "direct",
                Expected::Guess => "guess",
                Expected::Relayed => "relayed",
            };
            let odd = if matrix.is_surprise(pair) { " odd" } else { "" };
            let percent = 100 * u64::from(pair.direct) / u64::from(matrix.seeds.max(1));
            let told = escape(&tell(pair, matrix.seeds));
            let _ = write!(page.text, "<td class=\"{class}{odd}\" title=\"{told}\">{percent}</td>");
        }
        page.push("</tr>\n");
    }
    page.push("</tbody></table></div>");
}

/// All about a pair, in a line.
fn tell(pair: &Pair, seeds: u32) -> String {
    let expected = match pair.expected {
        Expected::Direct => "direct",
        Expected::Guess => "direct by guessing",
        Expected::Relayed => "not direct",
    };
    let mut text = format!("{} to {}: expected {expected}", pair.a, pair.b);
    let _ = write!(text, ", {} of {seeds} direct, {} relayed", pair.direct, pair.relayed);
    if pair.direct + pair.relayed > 0 {
        let [rtts, ms] = [decimals(pair.rtts_p50, 1), decimals(pair.ms_p50, 0)];
        let packets = pair.packets_p50.unwrap_or(0);
        let _ = write!(text, "; median {rtts} round trips, {ms} ms, {packets} packets");
    }
    if pair.early > 0 {
        let _ = write!(text, "; {} datagrams came too early", pair.early);
    }
    if let Some(reason) = &pair.reason {
        let _ = write!(text, "; {reason}");
    }
    for told in &pair.told {
        let _ = write!(text, "; the node says: {told}");
    }
    text
}

fn kind_table(page: &mut Page, kinds: &[Access]) {
    page.push("<section class=\"card words\"><h2>Kinds</h2><table><tbody>\n");
    for kind in kinds {
        let (name, about) = (escape(kind.name), escape(kind.about));
        let _ = writeln!(page.text, "<tr><td class=\"name\">{name}</td><td>{about}</td></tr>");
    }
    page.push("</tbody></table></section>\n");
}

fn reason_table(page: &mut Page, matrix: &Matrix) {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in matrix.pairs.iter().filter_map(|pair| pair.reason.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    page.push("<section class=\"card words\"><h2>Why not direct</h2><table><tbody>\n");
    for (reason, count) in reasons {
        let reason = escape(reason);
        let unit = if count == 1 { "pair" } else { "pairs" };
        let _ =
            writeln!(page.text, "<tr><td>{reason}</td><td class=\"name\">{count} {unit}</td></tr>");
    }
    page.push("</tbody></table></section>\n");
}

#[cfg(test)]
mod tests {
    use super::of_matrix;
    use crate::net::access::kinds;
    use crate::net::matrix::Matrix;

    #[test]
    fn the_page_of_a_matrix_is_closed_and_shows_each_pair_once() {
        let some: Vec<_> = kinds().into_iter().step_by(6).collect();
        let matrix = Matrix::run_bare(&some, 1, 1, &mut |_, _| ());
        let page = of_matrix(&some, &matrix);
        assert_eq!(page.matches(" title=\"").count(), some.len() * some.len());
        for tag in ["table", "tr", "td", "th", "section", "div", "p", "span"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("class=\"banner failed\""), "nothing is odd");
    }

    #[test]
    fn the_page_of_a_matrix_names_what_the_oracle_did_not_expect() {
        let one: Vec<_> = kinds().into_iter().take(1).collect();
        let mut matrix = Matrix::run_bare(&one, 1, 1, &mut |_, _| ());
        matrix.pairs[0].direct = 0;
        let page = of_matrix(&one, &matrix);
        assert!(page.contains("1 pairs are not what the oracle expects"));
        assert!(page.contains("open to open: expected direct, 0 of 1 direct, 0 relayed"));
    }
}
