use proptest::prelude::*;

use super::*;
use serde_json::json;

fn scope() -> Scope {
    match json!({
        "params": {"region": "eu", "n": 3, "list": [1, 2, 3]},
        "run": {"interval": {"start": "2026-01-31T02:00:00Z"}},
        "tasks": {"orders": {"rows": 12}},
    }) {
        Value::Object(map) => map,
        _ => Scope::new(),
    }
}

fn check(source: &str, expected: &Value) {
    let value = Expr::parse(source).and_then(|expr| expr.eval(&scope()));
    assert_eq!(value.as_ref(), Ok(expected), "{source}");
}

#[test]
fn values_keep_their_types() {
    check("tasks.orders.rows > 0", &json!(true));
    check("params.n + 1", &json!(4));
    check("params.region", &json!("eu"));
    check("date(run.interval.start)", &json!("2026-01-31"));
    check("params.list.filter(x, x > 1)", &json!([2, 3]));
    check("has(tasks.orders.rows) && size(params.list) == 3", &json!(true));
    check("max(params.n, 10)", &json!(10));
    check("upper(params.region)", &json!("EU"));
}

#[test]
fn references_leave_out_what_the_expression_binds() {
    let expr = Expr::parse("params.list.exists(x, x > tasks.orders.rows) && run.dag == 'a'");
    let paths: Vec<String> =
        expr.map(|e| e.references().iter().map(|p| p.join(".")).collect()).unwrap_or_default();
    assert_eq!(paths, ["params.list", "run.dag", "tasks.orders.rows"]);
}

#[test]
fn deep_expressions_are_refused_shallow_ones_fit_a_small_stack() {
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("int(", "1", ")"),
        ("1+", "1", ""),
        ("", "a", "[0]"),
        ("", "a", ".a"),
    ] {
        let deep =
            |levels: usize| format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
        let most = deep(EXPR_DEPTH_MAX - 1);
        assert!(
            Expr::parse(&most).is_ok_and(|expr| expr.eval(&scope()).is_ok() || inner == "a"),
            "{most}"
        );
        let far = Expr::parse(&deep(600));
        // Parentheses leave no level; the parser has a bound of its own for them.
        assert!(far.is_err(), "{open}");
    }
}

#[test]
fn a_place_after_letters_of_several_bytes() {
    for (source, at) in [
        ("'é' == 'ü' %", 14),
        ("'é' + @", 7),
        ("'é' +\n'ü' + @", 14),
        ("'é' == has(1)", 12),
        ("'é' == 'ü' ? [1].all(1, true) : 2", 23),
    ] {
        let error = Expr::parse(source).err();
        assert_eq!(error.and_then(|error| error.offset), Some(at), "{source}");
    }
}

/// Seven of these over ten numbers took a scheduler eleven seconds in which nothing else began.
#[test]
fn loops_inside_each_other_are_few() {
    let list = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
    let nested = |loops: usize| {
        (0..loops).fold("true".to_owned(), |inner, i| format!("{list}.all(x{i}, {inner})"))
    };
    check(&nested(EXPR_LOOPS_MAX), &json!(true));
    let error = Expr::parse(&nested(EXPR_LOOPS_MAX + 1)).err();
    assert!(error.is_some_and(|e| e.message.contains("more than 2 loops inside each other")));
    // One after the other, they add up.
    let row = (0..8).fold(list.to_owned(), |before, i| format!("{before}.filter(x{i}, x{i} > 1)"));
    check(&format!("size({row})"), &json!(9));
}

/// The types of the names in these tests.
fn type_of(path: &[String]) -> Type {
    match path.join(".").as_str() {
        "params.n" | "tasks.orders.rows" => Type::Int,
        "params.ratio" => Type::Double,
        "params.region" | "run.interval.start" => Type::Text,
        "params.on" => Type::Bool,
        "params" | "run" | "run.interval" | "tasks" | "tasks.orders" => Type::map(),
        "params.list" => Type::List(Box::new(Type::Int)),
        _ => Type::Dynamic,
    }
}

/// What is wrong with an expression, each with the piece of it that is marked and the help.
fn problems(source: &str) -> String {
    let errors = match Expr::parse(source) {
        Ok(expr) => expr.check(&type_of).errors,
        Err(error) => vec![error],
    };
    let shown = errors.iter().map(|error| {
        let place = error.offset.zip(error.length).map(|(at, length)| &source[at..at + length]);
        let help = error.help.as_deref().unwrap_or("-");
        format!("{} [{}] ({help})", error.message, place.unwrap_or("?"))
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_environment_can_be_made() {
    assert_eq!(functions::environment().err(), None);
}

#[test]
fn types_of_good_expressions() {
    let check = |source: &str, expected: &Type| {
        let checked = Expr::parse(source).expect("parses").check(&type_of);
        assert_eq!((&checked.kind, checked.errors), (expected, Vec::new()), "{source}");
    };
    let list = |item: Type| Type::List(Box::new(item));
    check("params.n + 1", &Type::Int);
    check("params.ratio * 2.0 - double(params.n)", &Type::Double);
    check("params.n > params.ratio || params.n == params.ratio", &Type::Bool);
    check("params.region + '-' + string(params.n)", &Type::Text);
    check("params.list.map(x, string(x))", &list(Type::Text));
    check("params.list.filter(x, x > 1)", &list(Type::Int));
    check("params.list.map(x, x > 1, [x])", &list(list(Type::Int)));
    check("params.list.all(x, x > 0) && params.list.exists_one(x, x == 2)", &Type::Bool);
    check("{'a': 1, 'b': 2}.map(k, k + '!')", &list(Type::Text));
    check("params.on ? params.n : 'none'", &Type::Dynamic);
    check("params.on ? [] : [1]", &list(Type::Int));
    check("[1] + []", &list(Type::Int));
    check("params.list[0]", &Type::Int);
    check("params.unknown.deep[3].x + 1", &Type::Dynamic);
    check("has(tasks.orders.rows) && has(params.unknown.x)", &Type::Bool);
    check("null == params.region", &Type::Bool);
    check("max(params.list)", &Type::Int);
    check("max(params.n, 3, 4)", &Type::Int);
    check("timestamp(run.interval.start) + duration('2h')", &Type::Instant);
    check("timestamp(run.interval.start) - timestamp('2026-01-01')", &Type::Span);
    check("date(timestamp(run.interval.start) + duration('2h'))", &Type::Text);
    check("params.region.split(',')", &list(Type::Text));
    check("params.list.sort().reverse()", &list(Type::Int));
    check("json(params.region).a.b > 3", &Type::Bool);
    check("-params.n", &Type::Int);
    check("params.region in ['eu', 'us'] && 'a' in {'a': 1}", &Type::Bool);
}

#[test]
fn every_function_does_what_its_example_says() {
    let scope = match json!({
        "params": {
            "name": "eu-Shop", "names": "a,b", "text": "12", "a": 3, "b": 5, "share": 0.256,
            "since": "2026-01-01", "customer": "c17",
        },
        "vars": {"regions": ["us", "eu", "us"], "files": ["x", "y", "z"], "weights": [1, 2.5]},
        "run": {"dag": "orders", "interval": {
            "start": "2026-03-28T23:30:00Z", "end": "2026-03-29T23:30:00Z"}},
        "tasks": {
            "orders": {"rows": 12},
            "report": {"outputs": {"summary": "{\"total\": 7}", "total": null}},
        },
    }) {
        Value::Object(map) => map,
        _ => Scope::new(),
    };
    let mut shown = String::new();
    for function in FUNCTIONS {
        let expr = Expr::parse(function.example).expect(function.example);
        assert_eq!(expr.check(&|_| Type::Dynamic).errors, [], "{}", function.example);
        let value = expr.eval(&scope).expect(function.example);
        shown.push_str(&format!("{} = {value}\n", function.example));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn functions_refuse_what_they_cannot_take() {
    let check = |source: &str, expected: &str| {
        let error = Expr::parse(source).and_then(|e| e.eval(&scope()));
        let message = error.map_or_else(|e| e.message, |value| value.to_string());
        assert!(message.contains(expected), "{source}: {message}");
    };
    check("timestamp('soon')", "`soon` is not a date or an instant");
    check("duration('5x')", "`5x` is not a duration");
    check("date('soon')", "`soon` is not a date or an instant");
    check("date('2026-01-01', 'Mars')", "knows no zone `Mars`");
    check("start_of('fortnight', '2026-01-01')", "knows no `fortnight`");
    check("format_time('2026-01-01', '%Q')", "knows no form `%Q`");
    check("range(2000000)", "makes at most 1000000 numbers");
    check("zip([1], [1, 2])", "takes lists of one length, not of 1 and 2 items");
    check("cross(range(2000), range(2000))", "makes at most 1000000 pairs");
    check("bucket('a', 0)", "at least one bucket");
    check("min([])", "of an empty list is nothing");
    check("min(1, 'a')", "cannot compare");
    check("sum(['a'])", "one item is a string");
    check("sum([9223372036854775807, 1])", "beyond 64 bits");
    check("round(1.0e300)", "has no whole number");
    check("abs(-9223372036854775807 - 1)", "has no whole number");
    check("json('{')", "is given no JSON");
    check("add_days('9999-12-31', 1)", "leaves the years 1 to 9999");
    check("add_days('2026-01-01', 9223372036854775807)", "leaves the years 1 to 9999");
    check("lower(params.list[0])", "takes a string here, not 1");
}

#[test]
fn time_is_told_in_zones() {
    check(
        "start_of('day', '2026-03-29T12:00:00Z', 'Europe/Zurich')",
        &json!("2026-03-28T23:00:00Z"),
    );
    // Clocks skip midnight there.
    check(
        "start_of('day', '2026-04-24T12:00:00Z', 'Africa/Cairo')",
        &json!("2026-04-23T22:00:00Z"),
    );
    check("start_of('week', '2026-11-29T12:00:00Z')", &json!("2026-11-23T00:00:00Z"));
    check(
        "start_of('month', '2026-03-31T23:00:00Z', 'Europe/Zurich')",
        &json!("2026-03-31T22:00:00Z"),
    );
    check("start_of('year', '2026-01-01')", &json!("2026-01-01T00:00:00Z"));
    check(
        "start_of('hour', '2026-01-01T05:45:59.5Z', 'Asia/Kolkata')",
        &json!("2026-01-01T05:30:00Z"),
    );
    check("timestamp('2026-01-31') == timestamp('2026-01-31T01:00:00+01:00')", &json!(true));
    check("timestamp('2026-01-31') + duration('1d')", &json!("2026-02-01T00:00:00Z"));
    check("timestamp('2026-01-31') - duration('-90m')", &json!("2026-01-31T01:30:00Z"));
    check("timestamp(0)", &json!("1970-01-01T00:00:00Z"));
    check("days_between('2026-03-01', '2026-02-01T23:00:00Z')", &json!(-28));
    check("add_days('2024-02-28', 1)", &json!("2024-02-29"));
    check("date('2026-01-31T23:30:00Z', 'Europe/Zurich')", &json!("2026-02-01"));
}

#[test]
fn wrong_expressions_say_so() {
    let sources = [
        "",
        "1 +",
        "sizes(params.list)",
        "size(params.list, 2)",
        "params.list.size()",
        "params.region.lower()",
        "contains(params.region, 'x')",
        "lower(params.n)",
        "date(1)",
        "'é' + (params.n) ",
        "(params.ratio + 1) * 2.0",
        "params.ratio * params.n",
        "params.region == 3",
        "params.n == 'a'",
        "params.on && params.n",
        "!params.region",
        "params.n.x",
        "params.list[params.region]",
        "params.region[0]",
        "params.list.exists(x, x == 'a')",
        "params.list.map(x, x + 1).exists(y, y.contains('a'))",
        "params.region in params.list",
        "'a' in params.region",
        "run.interval.start < timestamp('2026-01-01')",
        "params.on ? lower(1) : upper((2))",
        "{'a': 1}.a.b",
        "params.list < [1]",
        "-params.region",
    ];
    let shown = sources.map(|source| {
        let problems = problems(source).replace('\n', "\n    ");
        format!("{source}\n    {problems}")
    });
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn values_that_are_not_there_say_so() {
    let nothing = Expr::parse("params.nothing > 1").and_then(|e| e.eval_bool(&scope()));
    assert!(nothing.is_err_and(|e| e.message.contains("nothing")));
    let number = Expr::parse("params.n").and_then(|e| e.eval_bool(&scope()));
    assert_eq!(
        number.map_err(|e| e.message),
        Err("`params.n` gives 3, which is neither true nor false".to_owned())
    );
}

/// Expressions of any shape over the names of these tests, most of them wrong.
fn any_expression() -> impl Strategy<Value = String> {
    let atoms = [
        "params.n",
        "params.ratio",
        "params.region",
        "params.on",
        "params.list",
        "1",
        "2.5",
        "'2026-01-31'",
        "'a'",
        "true",
        "null",
        "[1, 2]",
        "['a']",
        "[]",
        "{'a': 1}",
        "x",
        "timestamp('2026-01-31T00:00:00Z')",
        "duration('1h')",
        "params.unknown",
    ];
    let operators = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"];
    let atom = prop::sample::select(atoms.to_vec()).prop_map(str::to_owned);
    atom.prop_recursive(4, 24, 4, move |inner| {
        let operator = prop::sample::select(operators.to_vec());
        let name = prop::sample::select(FUNCTIONS.iter().map(|f| f.name).collect::<Vec<_>>());
        let arguments = prop::collection::vec(inner.clone(), 0..4);
        let form = prop::sample::select(vec!["all", "exists", "exists_one", "filter", "map"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (name.clone(), arguments.clone())
                .prop_map(|(name, given)| format!("{name}({})", given.join(", "))),
            (inner.clone(), name, arguments)
                .prop_map(|(of, name, given)| format!("{of}.{name}({})", given.join(", "))),
            (inner.clone(), form, inner.clone())
                .prop_map(|(of, form, test)| format!("{of}.{form}(x, {test})")),
            inner.clone().prop_map(|of| format!("!{of}")),
            inner.clone().prop_map(|of| format!("-{of}")),
            inner.prop_map(|of| format!("[{of}]")),
        ]
    })
}

/// Whether a value is one of a type.
fn is_of(value: &Value, kind: &Type) -> bool {
    match kind {
        Type::Dynamic => true,
        Type::Nothing => false,
        Type::Null => value.is_null(),
        Type::Bool => value.is_boolean(),
        Type::Int => value.is_i64(),
        // JSON has no infinity, so that is written as null.
        Type::Double => value.is_f64() || value.is_null(),
        Type::Text | Type::Instant | Type::Span => value.is_string(),
        Type::List(item) => {
            value.as_array().is_some_and(|list| list.iter().all(|v| is_of(v, item)))
        }
        Type::Map(item) => {
            value.as_object().is_some_and(|map| map.values().all(|v| is_of(v, item)))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_the_types_let_through_does_not_fail_for_its_types(source in any_expression()) {
        let Ok(expr) = Expr::parse(&source) else { return Ok(()) };
        let Checked { kind, errors, is_certain } = expr.check(&type_of);
        for error in &errors {
            if let Some((at, length)) = error.offset.zip(error.length) {
                prop_assert!(source.get(at..at + length).is_some(), "{source}: {error:?}");
            }
        }
        if !errors.is_empty() || !is_certain {
            return Ok(());
        }
        let scope = match json!({"params": {
            "n": 3, "ratio": 0.5, "region": "eu", "on": true, "list": [1, 2, 3],
        }}) {
            Value::Object(map) => map,
            _ => Scope::new(),
        };
        match expr.eval(&scope) {
            Ok(value) => prop_assert!(is_of(&value, &kind), "{source} is {kind:?}: {value}"),
            Err(error) => {
                let message = error.message.to_lowercase();
                let blames = ["overload", "unsupported", "unexpected type", "undeclared", "no such overload"];
                prop_assert!(!blames.iter().any(|word| message.contains(word)), "{source}: {message}");
            }
        }
    }
}
