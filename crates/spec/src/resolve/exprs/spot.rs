//! Places where expressions stand.

/// Where an expression stands.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'s> {
    /// The reason of the dependencies that it makes: `when`, `bind least`.
    pub(crate) why: &'s str,
    /// Whether secrets may be used here.
    pub(crate) secrets: bool,
    /// Whether the value must be true or false.
    pub(crate) truth: bool,
    /// Whether the value must be a number of items.
    pub(crate) count: bool,
    /// The roots of names that may be read, where they are not those of a task.
    pub(crate) only: Option<&'static [&'static str]>,
}

impl<'s> Spot<'s> {
    /// A place for values of any type and no secrets.
    pub(crate) const fn of(why: &'s str) -> Self {
        Self { why, secrets: false, truth: false, count: false, only: None }
    }

    /// A place for secrets too.
    pub(crate) const fn with_secrets(why: &'s str) -> Self {
        Self { why, secrets: true, truth: false, count: false, only: None }
    }

    /// A place for a condition.
    pub(crate) const fn truth(why: &'s str) -> Self {
        Self { why, secrets: false, truth: true, count: false, only: None }
    }

    /// A place for a number of items.
    pub(crate) const fn count(why: &'s str) -> Self {
        Self { why, secrets: false, truth: false, count: true, only: None }
    }
}

impl Spot<'_> {
    /// The place in a message: `` `when` ``, `the command`.
    pub(crate) fn place(&self) -> String {
        let place = self.why.strip_prefix("expression in ");
        place.map_or_else(|| format!("`{}`", self.why), str::to_owned)
    }

    /// The same place, where only names with these roots may be read.
    pub(crate) const fn only(self, roots: &'static [&'static str]) -> Self {
        Self { only: Some(roots), ..self }
    }
}
