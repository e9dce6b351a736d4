//! The dialect, with an end to what its parser tries.
//!
//! A word such as `cast` may begin an expression of its own or be the name of a function, and the
//! parser tries one after the other. Inside of each other, each level doubles the work when
//! something is wrong in the innermost: thirty levels, in less than 200 letters, take hours.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::Expr;
use sqlparser::dialect::{Dialect, GenericDialect};
use sqlparser::parser::{Parser, ParserError};

/// Beginnings of expressions that any text may have.
const STEPS: u32 = 10_000;
/// How many more it may have for each of its words and signs. Where nothing is tried in vain, each
/// begins one at most.
const STEPS_PER_TOKEN: u32 = 8;

/// The generic dialect, which the engine has too; it ends when too much was tried.
#[derive(Debug)]
pub(super) struct Bounded {
    steps_left: Cell<u32>,
}

impl Bounded {
    pub(super) fn new(tokens: usize) -> Self {
        let more = u32::try_from(tokens).unwrap_or(u32::MAX).saturating_mul(STEPS_PER_TOKEN);
        Self { steps_left: Cell::new(STEPS.saturating_add(more)) }
    }
}

/// What the generic dialect says itself; all else is the same for every dialect.
macro_rules! as_generic {
    ($($method:ident),* $(,)?) => {
        $(
            fn $method(&self) -> bool {
                GenericDialect {}.$method()
            }
        )*
    };
}

impl Dialect for Bounded {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn parse_prefix(&self, _: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.steps_left.get().checked_sub(1) {
            Some(left) => {
                self.steps_left.set(left);
                None
            }
            None => Some(Err(ParserError::RecursionLimitExceeded)),
        }
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect {}.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect {}.is_identifier_part(ch)
    }

    as_generic! {
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_multiline_comment_hints,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str) {
        let bounded = Bounded::new(0);
        let generic = Parser::parse_sql(&GenericDialect {}, sql);
        assert_eq!(Parser::parse_sql(&bounded, sql), generic, "{sql}");
    }

    #[test]
    fn it_is_the_generic_dialect() {
        for sql in [
            "select a from b where c = 'd' group by all order by 1 limit 2, 3",
            "select * except (a) replace (b as c) from `d` left semi join e using (f)",
            "select a:b.c, d[1], [1, 2][1], {'a': 1}, array[1], x -> x + 1, (a, b) -> a from c",
            "select interval '1 day', interval 1 day, date '2026-01-01', a::int, try_cast(b as int)",
            "select sum(a) filter (where b) over (partition by c order by d rows 1 preceding) from e",
            "select * from a pivot (sum(b) for c in ('d')) qualify row_number() over () = 1",
            "from a select b",
            "select a from b window w as (order by c)",
            "select 1 from a, lateral b",
            "select a like any (b), c ilike 'd' escape 'e', f similar to 'g', not h is distinct from i",
            "with recursive a as (select 1 union all select 2) select * from a for update",
            "select a.* except (b), c.*, count(*), count(distinct d order by e), f(g => h), $i, ?, :j",
            "select top 5 a from b",
            "select case a when 1 then 2 else 3 end, extract(day from b)",
            "select #a, @b, c@d from e",
            "select a from b order by c nulls first fetch first 1 rows only",
            "select u&'a', n'b', x'c', e'd\\n', 'f' 'g'",
            "select * from table(a), unnest(b) with ordinality",
            "select a from b where",
            "select (",
            "select cast(a",
            "select * from (a join b)",
        ] {
            check(sql);
        }
    }
}
