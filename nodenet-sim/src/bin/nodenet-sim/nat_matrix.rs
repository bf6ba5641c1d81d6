//! Subcommand `nat-matrix`: direct paths between hosts of every pair of kinds of NAT.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};
use nodenet_sim::net::access::{Access, kinds};
use nodenet_sim::net::matrix::{Expected, Matrix};
use nodenet_sim::report::html;
use nodenet_sim::run::pair::{self, Conditions, Losses};

use crate::args::NatMatrix;
use crate::play::present;

/// Pairs between two progress lines without a terminal.
const LINE_EVERY: usize = 100;

pub(crate) fn nat_matrix(args: &NatMatrix) -> Result<(), String> {
    args.output.check()?;
    let kinds = kinds_of(args)?;
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} pairs  left {eta}")
        .expect("the template is a constant");
    let bar = io::stderr().is_terminal().then(|| ProgressBar::new(1).with_style(style));
    let mut progress = |done: usize, all: usize| match &bar {
        Some(bar) => {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
        None if done > 0 && done.is_multiple_of(LINE_EVERY) => eprintln!("{done} of {all} pairs"),
        None => {}
    };
    let matrix = if args.bare {
        Matrix::run_bare(&kinds, args.seed, args.seeds, &mut progress)
    } else {
        let share = f64::from(args.loss) / 100.0;
        let losses = match args.burst {
            _ if args.loss == 0 => Losses::None,
            None => Losses::Independent(share),
            Some(mean) => Losses::Bursts(share, f64::from(mean)),
        };
        let conditions = Conditions { losses, background: args.background };
        let run = pair::matrix(&kinds, args.seed, args.seeds, conditions, &mut progress);
        run.map_err(|violation| violation.to_string())?
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let page = || html::of_matrix(&kinds, &matrix);
    present(&args.output, &matrix, || table(&kinds, &matrix), page)?;
    surprise(&matrix)
}

/// All kinds, or those that were asked for.
fn kinds_of(args: &NatMatrix) -> Result<Vec<Access>, String> {
    let all = kinds();
    let names: Vec<&str> = all.iter().map(|kind| kind.name).collect();
    if let Some(unknown) = args.kinds.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no kind {unknown:?}; the kinds are {}", names.join(", ")));
    }
    let is_wanted =
        |kind: &Access| args.kinds.is_empty() || args.kinds.iter().any(|name| name == kind.name);
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// What boxes and oracle disagree about: one of them is wrong then.
fn surprise(matrix: &Matrix) -> Result<(), String> {
    let odd: Vec<String> = matrix
        .surprises()
        .map(|pair| {
            format!("  {} to {}: {} of {} direct", pair.a, pair.b, pair.direct, matrix.seeds)
        })
        .collect();
    if odd.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} pairs are not what the oracle expects, so the oracle or a NAT box is wrong:\n{}\n\
         The same --seed and --seeds show it again; please report it with them.",
        odd.len(),
        odd.join("\n")
    ))
}

fn table(kinds: &[Access], matrix: &Matrix) -> String {
    let mut text = String::new();
    let _ = write!(text, "{:>18}", "");
    for number in 1..=kinds.len() {
        let _ = write!(text, "{number:>4}");
    }
    text.push('\n');
    for (number, (row, kind)) in matrix.pairs.chunks(kinds.len().max(1)).zip(kinds).enumerate() {
        let _ = write!(text, "{:>2} {:<15}", number + 1, kind.name);
        for pair in row {
            let sign = match (matrix.is_surprise(pair), pair.expected) {
                (true, _) => "!",
                (false, Expected::Direct) => "D",
                (false, Expected::Guess) if pair.direct == matrix.seeds => "G",
                (false, Expected::Guess) => "g",
                (false, Expected::Relayed) => ".",
            };
            let _ = write!(text, "{sign:>4}");
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nD direct   g direct only by guessing ports, G in every run   . not direct"
    );
    for (name, expected) in
        [("direct", Expected::Direct), ("guess", Expected::Guess), ("relayed", Expected::Relayed)]
    {
        let pairs = matrix.pairs.iter().filter(|pair| pair.expected == expected);
        let found: u32 = pairs.clone().map(|pair| pair.direct).sum();
        let mut rtts: Vec<f64> = pairs.clone().filter_map(|pair| pair.rtts_p50).collect();
        rtts.sort_by(f64::total_cmp);
        let median = rtts.get(rtts.len() / 2);
        let took = median.map(|rtts| format!(", in {rtts:.1} round trips (median)"));
        let count = pairs.count();
        let runs = count as u64 * u64::from(matrix.seeds);
        let _ = writeln!(
            text,
            "{name:<8}{count:>5} pairs, {found} of {runs} runs found a direct path{}",
            took.unwrap_or_default()
        );
    }
    text
}
