//! What is not written down: a field that has its default.

/// Whether a value is that of its type's default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
