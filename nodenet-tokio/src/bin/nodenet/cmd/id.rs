//! `nodenet id`: shows the identity in the key file, and mints one if there is none.

use std::pin::Pin;
use std::process::ExitCode;

use clap::Args;
use nodenet_tokio::key_file;

use super::{Cmd, Ended};
use crate::CommandError;
use crate::args::IdentityArgs;
use crate::identity::{check_work, key_path, load_or_mint};
use crate::output::Outputs;
use crate::signals::Signals;

/// Flags of `nodenet id`.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cmd for IdArgs {
    fn execute<'a>(
        self: Box<Self>,
        signals: Signals,
        outputs: &'a Outputs,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>> {
        Box::pin(show_or_mint(*self, signals, outputs))
    }
}

async fn show_or_mint(args: IdArgs, mut signals: Signals, outputs: &Outputs) -> Ended {
    let difficulty = args.identity.difficulty();
    let path = key_path(&args.identity)?;
    // The identity of a running node can be shown, too: this takes no lock.
    let (identity, minted) = match key_file::peek(&path)? {
        Some(identity) => (identity, false),
        None => {
            let file = load_or_mint(&path, difficulty, &mut signals, &outputs.err).await?;
            (file.identity(), true)
        }
    };
    check_work(&identity, &path, difficulty)?;
    let id = identity.id();
    let result = if args.json {
        let shown = serde_json::json!({
            "id": id.to_string(),
            "leading_zero_bits": id.leading_zeros(),
            // A path may be no UTF-8, which JSON must be.
            "seed_file": path.to_string_lossy(),
            "minted": minted,
        });
        format!("{shown}\n")
    } else {
        let what = if minted { "new identity, saved in key file" } else { "key file" };
        let (bits, path) = (id.leading_zeros(), path.display());
        outputs.err.print(format_args!("{bits} leading zero bits; {what} {path}"));
        format!("{id}\n")
    };
    tokio::select! {
        written = outputs.write_result(result) => written?,
        _ = signals.stop() => {
            let text = "interrupted before the identifier was read from standard output";
            return Err(CommandError::Other(text.to_owned()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
