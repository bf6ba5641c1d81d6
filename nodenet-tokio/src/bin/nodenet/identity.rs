//! Identity of this machine's node: loaded from the key file, or minted with progress.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nodenet_tokio::key_file::{self, KeyFile, MasterSeed};
use nodenet_tokio::mint::{MintError, MintProgress, Minting};
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::proto::pow;

use crate::CommandError;
use crate::args::IdentityArgs;
use crate::output::Output;
use crate::output::term::draw_target;
use crate::signals::Signals;

/// Time between two progress reports without a terminal (guess).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two progress reports on a terminal (guess).
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The path of the key file: from the command line, or the default of the user.
pub(crate) fn key_path(args: &IdentityArgs) -> Result<PathBuf, CommandError> {
    match &args.seed {
        Some(path) => Ok(path.clone()),
        None => Ok(key_file::default_path()?),
    }
}

/// Opens the key file, or mints an identity into a new one. Fails if another node uses the file or
/// was first to create it; the identity that was minted here is then discarded.
pub(crate) async fn load_or_mint(
    path: &Path,
    difficulty: u16,
    signals: &mut Signals,
    err: &Output,
) -> Result<KeyFile, CommandError> {
    let file = match KeyFile::open(path)? {
        Some(file) => file,
        None => {
            // The search may take hours, and its result is lost if it can not be saved.
            KeyFile::check_writable(path)?;
            let seed = mint(difficulty, signals, err).await?;
            let file = KeyFile::create(path, seed)?;
            tracing::info!("minted new identity, seed saved to {}", path.display());
            file
        }
    };
    check_work(&file.identity(), path, difficulty)?;
    Ok(file)
}

pub(crate) fn check_work(
    identity: &Identity,
    path: &Path,
    difficulty: u16,
) -> Result<(), CommandError> {
    // No identity would satisfy it.
    pow::Minter::new(difficulty).map_err(MintError::from)?;
    if pow::satisfies(&identity.id(), difficulty) {
        return Ok(());
    }
    Err(CommandError::Other(format!(
        "the identity in {} has {} leading zero bits, --pow asks for {difficulty}; name another \
         key file with --seed, or move this one away, to mint an identity with more",
        path.display(),
        identity.id().leading_zeros(),
    )))
}

/// Searches for an identity of this difficulty, and reports progress.
pub(crate) async fn mint(
    difficulty: u16,
    signals: &mut Signals,
    err: &Output,
) -> Result<MasterSeed, CommandError> {
    let mut minting = Minting::start(difficulty)?;
    if difficulty > 0 {
        tracing::info!("minting identity clearing pow={difficulty} (this may take a while)...");
    }
    let on_terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(None, draw_target(err));
    bar.set_style(ProgressStyle::with_template("{spinner} minting: {msg}").expect("it is valid"));
    let mut reports =
        tokio::time::interval(if on_terminal { DRAW_INTERVAL } else { REPORT_INTERVAL });
    reports.tick().await;
    let seed = loop {
        tokio::select! {
            seed = minting.finish() => break seed?,
            _ = signals.stop() => {
                bar.finish_and_clear();
                let text = "interrupted while minting; nothing was saved";
                return Err(CommandError::Other(text.to_owned()));
            }
            _ = reports.tick() => {
                let progress = describe(&minting.progress());
                if on_terminal {
                    bar.set_message(progress);
                    bar.tick();
                } else {
                    err.print(format_args!("minting: {progress}"));
                }
            }
        }
    };
    bar.finish_and_clear();
    Ok(seed)
}

fn describe(progress: &MintProgress) -> String {
    let remaining = match progress.expected_remaining {
        Some(span) => format!("about {} to go on average", describe_span(span)),
        None => "the expected time is beyond any measure".to_owned(),
    };
    let rate = count(progress.tries_per_s as u64);
    format!(
        "{} tries in {}, {rate} per second, {remaining}",
        count(progress.tries),
        describe_span(progress.elapsed)
    )
}

fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..10_000_000 => format!("{} thousand", number / 1_000),
        10_000_000..10_000_000_000 => format!("{} million", number / 1_000_000),
        _ => format!("{} billion", number / 1_000_000_000),
    }
}

fn describe_span(span: Duration) -> String {
    const MINUTE_S: u64 = 60;
    const HOUR_S: u64 = 60 * MINUTE_S;
    const DAY_S: u64 = 24 * HOUR_S;
    const YEAR_S: u64 = 365 * DAY_S;
    match span.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s if s < 2 * HOUR_S => format!("{} minutes", s / MINUTE_S),
        s if s < 2 * DAY_S => format!("{} hours", s / HOUR_S),
        s if s < 2 * YEAR_S => format!("{} days", s / DAY_S),
        s => format!("{} years", count(s / YEAR_S)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nodenet_tokio::mint::MintProgress;

    use super::describe;

    #[test]
    fn progress_is_shown_in_units_that_people_read() {
        let progress = |remaining_s| MintProgress {
            tries: 1_234_567,
            tries_per_s: 81_234.5,
            elapsed: Duration::from_millis(15_200),
            expected_remaining: Some(Duration::from_secs(remaining_s)),
        };
        let head = "1234 thousand tries in 15 s, 81 thousand per second, about";
        for (remaining_s, shown) in [
            (90, "90 s"),
            (600, "10 minutes"),
            (7_200, "2 hours"),
            (5 * 86_400, "5 days"),
            (400_000 * 31_536_000, "400 thousand years"),
        ] {
            assert_eq!(
                describe(&progress(remaining_s)),
                format!("{head} {shown} to go on average")
            );
        }
        let hopeless = MintProgress { expected_remaining: None, ..progress(0) };
        assert!(describe(&hopeless).ends_with("the expected time is beyond any measure"));
    }
}
