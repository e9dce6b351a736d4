//! "Did you mean": the known name that a wrong one probably stands for.

/// A longer text is no slip of a name.
const WRITTEN_BYTES_MAX: usize = 100;
/// Names that are so much longer or shorter are not compared letter by letter.
const DIFFERENCE_BYTES_MAX: usize = 6;

/// The name nearest to `written`: the same but for case or `-`, or a slip or two away.
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if written.is_empty() || written.len() > WRITTEN_BYTES_MAX {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let wanted = plain(written);
    let slips = match wanted.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        6..=11 => 3,
        _ => 4,
    };
    let mut best: Option<(usize, &str)> = None;
    for name in names {
        if name.len().abs_diff(written.len()) > DIFFERENCE_BYTES_MAX {
            continue;
        }
        let distance = strsim::osa_distance(&wanted, &plain(name));
        // Half of the letters wrong is another word, not a slip.
        let longer = name.chars().count().max(wanted.chars().count());
        let near = distance <= slips && distance * 2 < longer;
        if near && best.is_none_or(|(shortest, _)| distance < shortest) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// ``did you mean `a`?``, if one of the names is near enough to what was written.
pub fn did_you_mean<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(written, names).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, names: &[&str], expected: Option<&str>) {
        assert_eq!(nearest(written, names.iter().copied()), expected, "{written}");
    }

    #[test]
    fn near_names() {
        check("extract_order", &["load", "extract_orders"], Some("extract_orders"));
        check("Orders", &["orders"], Some("orders"));
        check("amount", &["amounts", "Amount"], Some("Amount"));
        check("amuont", &["id", "amount"], Some("amount"));
        check("customer", &["customer_id", "customers"], Some("customers"));
        check("depends-on", &["depends_on", "description"], Some("depends_on"));
        check("retrys", &["retry", "timeout"], Some("retry"));
        check("sq", &["sql", "csv"], Some("sql"));
        check("kafka", &["csv", "http"], None);
        check("a", &["b"], None);
        check("x", &["id", "amount"], None);
        check("anything", &[], None);
        check("", &["a"], None);
        check(&"a".repeat(101), &[&"a".repeat(100)], None);
    }

    #[test]
    fn a_near_name_is_offered() {
        assert_eq!(did_you_mean("ordres", ["orders"]).as_deref(), Some("did you mean `orders`?"));
        assert_eq!(did_you_mean("ordres", ["load"]), None);
    }
}
