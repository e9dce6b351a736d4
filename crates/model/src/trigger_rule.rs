//! When a task may run, given how its upstreams ended.
//!
//! The rules and their names are Airflow's (without setup and teardown); the cases are the rows of
//! the table in `docs/scheduling.md`.

use serde::{Deserialize, Serialize};

/// How many direct upstreams a task has, and how many of them ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Upstreams {
    /// All of them.
    pub total: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended without running, by choice.
    pub skipped: u32,
    /// Ended badly, or were cancelled.
    pub failed: u32,
    /// Never ran, because something above them failed.
    pub upstream_failed: u32,
}

impl Upstreams {
    fn done(self) -> u32 {
        self.succeeded + self.skipped + self.failed + self.upstream_failed
    }

    fn all_done(self) -> bool {
        self.done() == self.total
    }

    fn bad(self) -> u32 {
        self.failed + self.upstream_failed
    }
}

/// What a rule says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet known.
    Wait,
    /// The task may run.
    Run,
    /// The task is skipped.
    Skip,
    /// The task cannot run because of what is above it.
    UpstreamFailed,
}

/// The condition over a task's direct upstreams.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, PartialOrd, Ord, Hash,
)]
#[serde(rename_all = "snake_case")]
pub enum TriggerRule {
    /// Every upstream succeeded.
    #[default]
    AllSuccess,
    /// Every upstream failed.
    AllFailed,
    /// Every upstream ended, however.
    AllDone,
    /// Every upstream ended, none was skipped, one at least succeeded.
    AllDoneMinOneSuccess,
    /// Every upstream was skipped.
    AllSkipped,
    /// One upstream succeeded; the others are not waited for.
    OneSuccess,
    /// One upstream failed; the others are not waited for.
    OneFailed,
    /// One upstream succeeded or failed; the others are not waited for.
    OneDone,
    /// Every upstream succeeded or was skipped.
    NoneFailed,
    /// As `none_failed`, and one at least succeeded.
    NoneFailedMinOneSuccess,
    /// Every upstream ended and none was skipped.
    NoneSkipped,
    /// At once.
    Always,
}

impl TriggerRule {
    /// Every rule, in the order of the reference.
    pub const ALL: [Self; 12] = [
        Self::AllSuccess,
        Self::AllFailed,
        Self::AllDone,
        Self::AllDoneMinOneSuccess,
        Self::AllSkipped,
        Self::OneSuccess,
        Self::OneFailed,
        Self::OneDone,
        Self::NoneFailed,
        Self::NoneFailedMinOneSuccess,
        Self::NoneSkipped,
        Self::Always,
    ];

    /// What the rule says about these upstreams. A task without upstreams runs.
    pub fn verdict(self, up: Upstreams) -> Verdict {
        use Verdict::{Run, Skip, UpstreamFailed, Wait};
        if up.total == 0 {
            return Run;
        }
        let run_if = |holds: bool| if holds { Run } else { Wait };
        match self {
            Self::AllSuccess if up.bad() > 0 => UpstreamFailed,
            Self::AllSuccess if up.skipped > 0 => Skip,
            Self::AllSuccess => run_if(up.succeeded == up.total),
            Self::AllFailed if up.succeeded > 0 || up.skipped > 0 => Skip,
            Self::AllFailed => run_if(up.bad() == up.total),
            Self::AllDone => run_if(up.all_done()),
            Self::AllDoneMinOneSuccess if up.skipped > 0 => Skip,
            Self::AllDoneMinOneSuccess if up.all_done() && up.succeeded == 0 => UpstreamFailed,
            Self::AllDoneMinOneSuccess => run_if(up.all_done()),
            Self::AllSkipped if up.succeeded > 0 || up.bad() > 0 => Skip,
            Self::AllSkipped => run_if(up.skipped == up.total),
            Self::OneSuccess if up.succeeded > 0 => Run,
            Self::OneSuccess if up.skipped == up.total => Skip,
            Self::OneSuccess if up.all_done() => UpstreamFailed,
            Self::OneSuccess => Wait,
            Self::OneFailed if up.bad() > 0 => Run,
            Self::OneFailed if up.all_done() => Skip,
            Self::OneFailed => Wait,
            Self::OneDone if up.succeeded + up.failed > 0 => Run,
            Self::OneDone if up.all_done() => Skip,
            Self::OneDone => Wait,
            Self::NoneFailed if up.bad() > 0 => UpstreamFailed,
            Self::NoneFailed => run_if(up.all_done()),
            Self::NoneFailedMinOneSuccess if up.bad() > 0 => UpstreamFailed,
            Self::NoneFailedMinOneSuccess if up.skipped == up.total => Skip,
            Self::NoneFailedMinOneSuccess => run_if(up.all_done()),
            Self::NoneSkipped if up.skipped > 0 => Skip,
            Self::NoneSkipped => run_if(up.all_done()),
            Self::Always => Run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstreams written as letters: `S`ucceeded, `K` skipped, `F`ailed, `U`pstream failed and
    /// `.` for one that has not ended.
    fn check(rule: TriggerRule, ups: &str, expected: Verdict) {
        let count = |letter| ups.matches(letter).count() as u32;
        let up = Upstreams {
            total: ups.len() as u32,
            succeeded: count('S'),
            skipped: count('K'),
            failed: count('F'),
            upstream_failed: count('U'),
        };
        assert_eq!(rule.verdict(up), expected, "{rule:?} of {ups}");
    }

    #[test]
    fn the_table() {
        use TriggerRule as R;
        use Verdict::{Run, Skip, UpstreamFailed as Upf, Wait};
        let table: &[(R, &[(&str, Verdict)])] = &[
            (
                R::AllSuccess,
                &[
                    ("", Run),
                    ("SS", Run),
                    ("S.", Wait),
                    ("K.", Skip),
                    ("F.", Upf),
                    ("U.", Upf),
                    ("KF", Upf),
                ],
            ),
            (R::AllFailed, &[("FU", Run), ("F.", Wait), ("S.", Skip), ("K.", Skip)]),
            (R::AllDone, &[("SKFU", Run), ("SKF.", Wait)]),
            (
                R::AllDoneMinOneSuccess,
                &[("SF", Run), ("SF.", Wait), ("K.", Skip), ("FU", Upf), ("F.", Wait)],
            ),
            (R::AllSkipped, &[("KK", Run), ("K.", Wait), ("S.", Skip), ("F.", Skip), ("U.", Skip)]),
            (R::OneSuccess, &[("S.", Run), ("F.", Wait), ("KK", Skip), ("KF", Upf)]),
            (R::OneFailed, &[("F.", Run), ("U.", Run), ("S.", Wait), ("SK", Skip)]),
            (R::OneDone, &[("S.", Run), ("F.", Run), ("K.", Wait), ("KU", Skip)]),
            (R::NoneFailed, &[("SK", Run), ("KK", Run), ("S.", Wait), ("F.", Upf), ("U.", Upf)]),
            (R::NoneFailedMinOneSuccess, &[("SK", Run), ("KK", Skip), ("K.", Wait), ("F.", Upf)]),
            (R::NoneSkipped, &[("SF", Run), ("S.", Wait), ("K.", Skip)]),
            (R::Always, &[("..", Run)]),
        ];
        assert_eq!(table.len(), R::ALL.len());
        for (rule, cases) in table {
            for (ups, expected) in *cases {
                check(*rule, ups, *expected);
            }
        }
    }
}
