//! Connections, pools, and files that are no text.

use std::path::Path;

use serde_json::json;
use tidemill_model::schedule::{Calendar, Roll};
use tidemill_spec::{
    Diagnostic, Severity, SourceText, decode, load_dag, parse_calendars, parse_connections,
    parse_pools, unread,
};

use crate::support::connection_types;

fn source(text: &str) -> SourceText<'_> {
    SourceText { path: Path::new("dags/connections.yaml"), text }
}

/// Each finding in one line.
fn short(found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(|d| format!("{}:{} {} {}", d.line, d.column, d.code, d.message)).collect()
}

#[test]
fn connections() {
    let text = "\
# where things are
shop_api:
  type: http
  base_url: https://shop.test
  retries: 3
  token: {secret: shop_token}
mail: {type: smtp}
";
    let (connections, found) = parse_connections(source(text), &connection_types());
    assert_eq!(short(&found), Vec::<String>::new());
    assert_eq!(connections.len(), 2);
    assert_eq!((connections[0].name.as_str(), connections[0].kind.as_str()), ("shop_api", "http"));
    assert_eq!(
        serde_json::Value::Object(connections[0].fields.clone()),
        json!({"base_url": "https://shop.test", "retries": 3})
    );
    assert_eq!(connections[0].secrets, [("token".to_owned(), "shop_token".to_owned())]);
}

#[test]
fn wrong_connections_leave_the_good_ones() {
    let text = "\
Bad Name: {type: http, base_url: a}
none:
no_type: {base_url: a}
type_list: {type: [http]}
open: {type: http, base_url: a, password: hunter2}
bad_secret: {type: http, base_url: a, token: {secret: 'a b'}, user: {secret: a, other: b}}
good: {type: smtp}
good: {type: smtp}
typo: {type: htttp, base_url: a}
field: {type: http, base_url: a, tokn: {secret: t}}
within: {type: http, base_url: a, token: {secrt: t}}
without: {type: http, baseurl: a}
kind: {type: http, base_url: 5}
";
    let (connections, found) = parse_connections(source(text), &connection_types());
    let names: Vec<&str> = connections.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["open", "good"]);
    assert_eq!(
        short(&found),
        [
            "1:1 TM0104 `Bad Name` is not a connection name",
            "2:1 TM0103 connection `none` must be a mapping, not nothing",
            "3:1 TM0102 connection `no_type` has no `type`",
            "4:19 TM0103 `type` must be a string, not a list",
            "5:43 TM0409 `password` is written in the open",
            "6:55 TM0104 `a b` is not the name of a secret",
            "6:81 TM0101 `user` of connection `bad_secret` has no key `other`",
            "8:1 TM0005 the key `good` is given twice",
            "9:14 TM0105 there are no connections of type `htttp`",
            "10:34 TM0101 connection `field` has no key `tokn`",
            "11:42 TM0102 `token` of connection `within` needs the key `secret`",
            "11:43 TM0101 `token` of connection `within` has no key `secrt`",
            "12:1 TM0102 connection `without` needs the key `base_url`",
            "12:23 TM0101 connection `without` has no key `baseurl`",
            "13:30 TM0103 `base_url` of connection `kind` must be a string, not an integer",
        ]
    );
}

#[test]
fn pools() {
    let (pools, found) = parse_pools(source("default: 8\nloads: {slots: 2}\n"));
    assert_eq!(short(&found), Vec::<String>::new());
    let pools: Vec<(String, u32)> = pools.into_iter().map(|(n, s)| (n.to_string(), s)).collect();
    assert_eq!(pools, [("default".to_owned(), 8), ("loads".to_owned(), 2)]);

    let text = "a: 0\nb: many\nc: {slot: 3}\nD: 3\ne: -1\nf: {slots: 2.5}\ng: 3\n";
    let (pools, found) = parse_pools(source(text));
    assert_eq!(pools.len(), 1);
    assert_eq!(
        short(&found),
        [
            "1:4 TM0105 a pool has at least one slot",
            "2:4 TM0103 pool `b` must be an integer or a mapping, not a string",
            "3:1 TM0102 pool `c` has no `slots`",
            "3:5 TM0101 pool `c` has no key `slot`",
            "4:1 TM0104 `D` is not a pool name",
            "5:4 TM0105 `slots` must be at least 0 and at most 1000000, not -1",
            "6:12 TM0103 `slots` must be an integer, not a number",
        ]
    );
}

#[test]
fn calendars() {
    let text = "\
ch: {holidays: [2026-08-01, 2026-01-01, 2026-08-01]}
bank: {holidays: [2025-12-26], weekends: [sun], roll: previous, include: [ch]}
factory: {weekends: [], include: [bank]}
";
    let (calendars, found) = parse_calendars(source(text));
    assert_eq!(short(&found), Vec::<String>::new());
    let names: Vec<&str> = calendars.iter().map(|calendar| calendar.name.as_str()).collect();
    assert_eq!(names, ["ch", "bank", "factory"]);
    let [ch, bank, factory] = calendars.as_slice() else { panic!("three calendars") };
    let days = |calendar: &Calendar| {
        calendar.holidays.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(days(ch), "2026-01-01 2026-08-01");
    // Bit 0 is Sunday.
    assert_eq!((ch.weekend, ch.roll), (0b100_0001, Roll::Skip));
    assert_eq!((bank.weekend, bank.roll), (0b000_0001, Roll::Previous));
    // Those that it includes, however far.
    assert_eq!(days(bank), "2025-12-26 2026-01-01 2026-08-01");
    assert_eq!(days(factory), "2025-12-26 2026-01-01 2026-08-01");
    assert_eq!(factory.weekend, 0);
}

#[test]
fn wrong_calendars_leave_the_good_ones() {
    let text = "\
good: {roll: next}
A: {roll: next}
b: {holidays: [2026-02-30, soon, 5], weekends: [sat, sunday], roll: nxt}
c: {weekends: [mon, tue, wed, thu, fri, sat, sun]}
d: {holiday: [2026-01-01], include: [goood]}
e: {include: [f]}
f: {include: [e, f, good]}
g: 2026-01-01
h:
";
    let (calendars, found) = parse_calendars(source(text));
    let names: Vec<&str> = calendars.iter().map(|calendar| calendar.name.as_str()).collect();
    assert_eq!(names, ["good", "e", "f"]);
    assert_eq!(
        short(&found),
        [
            "2:1 TM0104 `A` is not a calendar name",
            "3:16 TM0503 `2026-02-30` is no day",
            "3:28 TM0503 `soon` is no day",
            "3:34 TM0103 `holidays[2]` of calendar `b` must be a string, not an integer",
            "3:54 TM0105 `weekends[1]` of calendar `b` must be one of `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, not `sunday`",
            "3:69 TM0105 `roll` of calendar `b` must be one of `skip`, `next`, `previous`, not `nxt`",
            "4:15 TM0105 no day of calendar `c` counts",
            "5:5 TM0101 calendar `d` has no key `holiday`",
            "5:38 TM0507 calendar `d` includes `goood`, which does not exist",
            "6:15 TM0105 calendar `e` includes itself",
            "7:15 TM0105 calendar `f` includes itself",
            "7:18 TM0105 calendar `f` includes itself",
            "8:4 TM0103 calendar `g` must be a mapping, not a string",
            "9:1 TM0103 calendar `h` must be a mapping, not nothing",
        ]
    );
}

#[test]
fn empty_files_hold_nothing() {
    for text in ["", "\n", "# nothing\n", "~\n", "{}\n", "x-note: a\n"] {
        assert_eq!(
            parse_connections(source(text), &connection_types()),
            (Vec::new(), Vec::new()),
            "{text}"
        );
        assert_eq!(parse_pools(source(text)), (Vec::new(), Vec::new()), "{text}");
        assert_eq!(parse_calendars(source(text)), (Vec::new(), Vec::new()), "{text}");
    }
    let (_, found) = parse_pools(source("- a\n"));
    assert_eq!(short(&found), ["1:1 TM0103 the file is a list, not a mapping"]);
}

#[test]
fn a_name_that_nothing_reads_is_told() {
    for (name, told) in [
        ("_defaults.yml", "1:1 TM0013 `_defaults.yml` is not read; rename it to `_defaults.yaml`"),
        ("pools.yml", "1:1 TM0013 `pools.yml` is not read; rename it to `pools.yaml`"),
        ("_defaults.yaml", ""),
        ("orders.yml", ""),
        ("orders.test.yml", ""),
    ] {
        let found = unread(&Path::new("dags").join(name));
        assert!(found.as_ref().is_none_or(|d| d.severity == Severity::Warning && !d.blocks_run));
        let line = found.map(|found| {
            let help = found.help.clone().unwrap_or_default();
            format!("{}; {help}", short(&[found]).remove(0))
        });
        assert_eq!(line.unwrap_or_default(), told, "{name}");
    }
    // Nor is it a DAG.
    let source = SourceText { path: Path::new("dags/_defaults.yml"), text: "owner: me\n" };
    let loaded = load_dag(source, crate::support::catalog());
    assert!(loaded.dag.is_none());
    assert_eq!(short(&loaded.diagnostics), ["1:1 TM0013 `_defaults.yml` is not read"]);
}

#[test]
fn what_is_no_text() {
    let path = Path::new("a.yaml");
    assert_eq!(decode(path, "größe: 1".as_bytes()), Ok("größe: 1"));
    let shown = |bytes: &[u8]| {
        let found = decode(path, bytes).expect_err("no text");
        short(&[*found]).remove(0)
    };
    assert_eq!(shown(b"a: 1\nb: \xc3\n"), "2:4 TM0003 the file is no UTF-8: byte 0xc3");
    assert_eq!(shown(b"\xff\xfea\0"), "1:1 TM0003 it looks like UTF-16: byte 0xff");
    assert_eq!(
        shown("\u{feff}a: ".bytes().chain([0xf0]).collect::<Vec<_>>().as_slice()),
        "1:4 TM0003 the file is no UTF-8: byte 0xf0"
    );
}

#[test]
fn a_bound_without_end_is_told_without_its_digits() {
    let dag = crate::support::good("tasks: {a: {transform: {sql: select 1 as n}}}\n");
    let text = "tests:\n  t:\n    expect: {tables: {a: {rows: [{n: 1}], tolerance: -1}}}\n";
    let (_, found) = tidemill_spec::test_file::parse_tests(source(text), &dag);
    assert_eq!(short(&found), ["3:54 TM0105 `tolerance` must be at least 0, not -1"]);
    assert_eq!(found[0].help.as_deref(), Some("write `tolerance: 0`"));
}
