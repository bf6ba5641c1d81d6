//! What a scenario expects.
//!
//! Responsible for: whether it holds, and telling by how much it does not. Never: measures anything.

use super::Run;
use crate::report::Figures;
use crate::watch::Growth;

impl Run {
    /// Whether the messages sent last did well enough.
    pub(super) fn judge(&mut self, delivered_share: f64) -> Result<(), String> {
        let figures = self.phases.last().map(|phase| &phase.figures);
        let shared = figures.and_then(|figures| Some((figures, figures.delivered_share()?)));
        let Some((figures, share)) = shared else {
            return Err("nothing was sent that an expectation could be about".to_owned());
        };
        if figures.duplicates > 0 {
            return Err(format!("{} duplicates reached applications", figures.duplicates));
        }
        if share < delivered_share {
            let Figures { sent, delivered, .. } = figures;
            return Err(format!(
                "delivered {delivered} of {sent} messages, at least {:.3} % were expected",
                delivered_share * 100.0
            ));
        }
        self.held.push(format!(
            "at least {} % of messages delivered, none twice",
            delivered_share * 100.0
        ));
        Ok(())
    }

    /// Whether tables stayed within their size from one day to another.
    pub(super) fn judge_growth(
        &mut self,
        earlier: u32,
        later: u32,
        share: f64,
    ) -> Result<(), String> {
        let Some(grown) = self.watch.grown(earlier, later, share) else {
            return Err(format!("the run was over before day {}", earlier.max(later)));
        };
        let expected = format!(
            "no table fuller on day {later} than on day {earlier} by more than {} %",
            share * 100.0
        );
        if grown.is_empty() {
            self.held.push(expected);
            return Ok(());
        }
        let days = 1..=self.watch.days();
        let tell = |Growth { name, earlier, later }: &Growth| {
            let most = |day| self.watch.fullest(name, day).map_or(0, |fullest| fullest.most);
            let each: Vec<_> = days.clone().map(|day| most(day).to_string()).collect();
            format!(
                "{name} grew from {} to {}, usually from {:.1} to {:.1} (each day: {})",
                earlier.most,
                later.most,
                earlier.usual,
                later.usual,
                each.join(" ")
            )
        };
        let told: Vec<String> = grown.iter().map(tell).collect();
        Err(format!("{}; expected: {expected}", told.join(", ")))
    }
}
