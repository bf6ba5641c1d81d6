//! Expectations of a scenario: delivered share, and growth of tables.
//!
//! Responsible for: whether each holds, and the difference if it does not. Never: measures.

use super::Run;
use crate::report::Figures;
use crate::report::growth::{GrownTable, Measure};

impl Run {
    /// Checks the delivered share of the last sending stage.
    pub(super) fn expect_delivered(&mut self, delivered_share: f64) -> Result<(), String> {
        let figures = self.phases.last().map(|phase| &phase.figures);
        let shared = figures.and_then(|figures| Some((figures, figures.delivered_share()?)));
        let Some((figures, share)) = shared else {
            let text =
                "nothing was sent, so there is no delivered share: put a stage `send` in front";
            return Err(text.to_owned());
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

    /// Checks that no table grew from one day to another.
    pub(super) fn expect_bounded(
        &mut self,
        earlier: u32,
        later: u32,
        of: Measure,
        share: f64,
    ) -> Result<(), String> {
        let Some(grown) = self.growth.grown(earlier, later, of, share) else {
            return Err(format!("the run was over before day {}", earlier.max(later)));
        };
        let on_average = match of {
            Measure::Most => "",
            Measure::Mean => " on average",
        };
        let expected = format!(
            "no table{on_average} fuller on day {later} than on day {earlier} by more than {} %",
            share * 100.0
        );
        if grown.is_empty() {
            self.held.push(expected);
            return Ok(());
        }
        let tables: Vec<String> = grown.iter().map(|table| self.described(table)).collect();
        Err(format!("{}; expected: {expected}", tables.join(", ")))
    }

    fn described(&self, GrownTable { name, earlier, later }: &GrownTable) -> String {
        let most = |day| self.growth.fill(name, day).map_or(0, |fill| fill.most);
        let each: Vec<_> = (1..=self.growth.days()).map(|day| most(day).to_string()).collect();
        format!(
            "{name} grew from {} to {}, usually from {:.1} to {:.1}, on average from {:.3} to \
             {:.3} (at most each day: {})",
            earlier.most,
            later.most,
            earlier.usual,
            later.usual,
            earlier.mean,
            later.mean,
            each.join(" ")
        )
    }
}
