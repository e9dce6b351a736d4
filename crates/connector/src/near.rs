//! "Did you mean": the known name that a wrong one probably stands for.

/// The candidate nearest to `word`: one that differs only in case, else one a few letters away.
pub fn near<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    if let Some(same) = candidates.clone().into_iter().find(|c| c.eq_ignore_ascii_case(word)) {
        return Some(same);
    }
    let word = word.to_lowercase();
    let letters = word.chars().count();
    // Any one letter is one step away from any other.
    let far = if letters < 2 { 0 } else { (letters / 3).clamp(1, 3) };
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&word, &c.to_lowercase()), c))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// Names for a message: all of a few, the first of many.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const NAMES_MAX: usize = 30;
    let names: Vec<&str> = names.into_iter().collect();
    match names.len() {
        0 => "nothing".to_owned(),
        n if n > NAMES_MAX => {
            format!("{} and {} more", names[..NAMES_MAX].join(", "), n - NAMES_MAX)
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, candidates: &[&str], expected: Option<&str>) {
        assert_eq!(near(word, candidates.iter().copied()), expected, "{word}");
    }

    #[test]
    fn the_nearest_name_is_offered() {
        check("amount", &["Amount", "amounts"], Some("Amount"));
        check("amuont", &["id", "amount"], Some("amount"));
        check("customer", &["customer_id", "customers"], Some("customers"));
        check("x", &["id", "amount"], None);
        check("ab", &["ac", "xyz"], Some("ac"));
        check("c", &["a", "b"], None);
        check("anything", &[], None);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..32).map(|i| format!("c{i}")).collect();
        assert!(listed(names.iter().map(String::as_str)).ends_with("c29 and 2 more"));
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed([]), "nothing");
    }
}
