//! The transforms over small tables.

use serde_json::json;

use crate::support::{lines, rows, run, run_in, table, yaml};

#[tokio::test]
async fn rules_score_and_explain() {
    let input = table(
        "id: text, r: int, b: float, mail: bool, old: text",
        &[
            json!({"id": "a", "r": 5, "b": 0.5, "mail": true, "old": "x"}),
            json!({"id": "b", "r": 1, "b": null, "mail": null, "old": "y"}),
            json!({"id": "c", "r": 2, "b": 0.25, "mail": false, "old": "z"}),
        ],
    );
    let settings = "
        from: t
        id: id
        version: '2026-11'
        scale: 10
        score:
          - {name: rfm, value: (r - 1) / 4.0, points: 5}
          - {name: behaviour, value: b, points: 4, explain: What was looked at}
          - {name: mail, where: mail, points: 1}
        bands: [{name: hot, min: 70}, {name: warm, min: 20}, {name: cold}]
        segments:
          - {name: best, where: band = 'hot' and score < 100}
          - {name: few, where: r >= $floor}
          - {name: other}
        keep: [id]
        as: {score: intent}
    ";
    // Segments see the score under the name it has in the result.
    let settings = settings.replace("score < 100", "intent < 100");
    let got = rows("rules", &settings, &[("t", input)], "").await.unwrap();
    let explained = |rfm: &str, behaviour: &str, mail: &str| {
        let text = format!(
            r#"[{{"term":"rfm",{rfm}}},{{"term":"behaviour",{behaviour},"text":"What was looked at"}},{{"term":"mail",{mail}}}]"#
        );
        json!(text).to_string()
    };
    let line = |id, intent, band, segment, explained| {
        format!(
            r#"{{"id":"{id}","intent":{intent},"band":"{band}","segment":"{segment}","rule_version":"2026-11","explained":{explained}}}"#
        )
    };
    assert_eq!(
        got,
        [
            line(
                "a",
                "80.0",
                "hot",
                "best",
                explained(
                    r#""points":50.0,"value":1.0"#,
                    r#""points":20.0,"value":0.5"#,
                    r#""points":10.0,"value":true"#,
                )
            ),
            line(
                "b",
                "0.0",
                "cold",
                "other",
                explained(
                    r#""points":0.0,"value":0.0"#,
                    r#""points":0.0,"value":null"#,
                    r#""points":0.0,"value":false"#,
                )
            ),
            line(
                "c",
                "22.5",
                "warm",
                "few",
                explained(
                    r#""points":12.5,"value":0.25"#,
                    r#""points":10.0,"value":0.25"#,
                    r#""points":0.0,"value":false"#,
                )
            ),
        ]
    );
}

#[tokio::test]
async fn rules_may_only_segment() {
    let input = table("id: int", &[json!({"id": 1}), json!({"id": 2}), json!({"id": 3})]);
    let settings = "{from: t, version: '1', segments: [{name: second, where: id = 2}]}";
    let got = rows("rules", settings, &[("t", input)], "").await.unwrap();
    assert_eq!(
        got,
        [
            r#"{"id":1,"segment":null,"rule_version":"1"}"#,
            r#"{"id":2,"segment":"second","rule_version":"1"}"#,
            r#"{"id":3,"segment":null,"rule_version":"1"}"#,
        ]
    );
}

#[tokio::test]
async fn rules_that_do_not_work() {
    let check = async |settings: &str, expected: &str| {
        let input = table(
            "id: text, x: float, score: float",
            &[json!({"id": "a", "x": 1.0}), json!({"id": "b", "x": 0.0}), json!({"id": "c"})],
        );
        let settings = format!("{{from: t, version: '1', {settings}}}");
        assert_eq!(rows("rules", &settings, &[("t", input)], "").await, Err(expected.to_owned()));
    };
    check(
        "score: [{name: a, value: X, points: 1}], as: {score: s}",
        "there is no column `X` (term `a`, line 1, column 1); did you mean `x`?",
    )
    .await;
    check(
        "score: [{name: a, value: x > 1, points: 1}], as: {score: s}",
        "`x > 1` is no number (term `a`); write it as `where`",
    )
    .await;
    check(
        "score: [{name: a, value: 1 / x, points: 1}], id: id, as: {score: s}",
        "the term `a` gives no finite score (id b); \
         leave out such values in its expression, for example with `nullif`",
    )
    .await;
    check(
        "score: [{name: a, value: x, points: 1}]",
        "the result would have two columns `score`; \
         name the columns of the input to `keep`, or rename one with `as`",
    )
    .await;
    check(
        "score: [{name: a, value: x, points: 1}], keep: [Id]",
        "`keep` names the column `Id`, which the input does not have; did you mean `id`?",
    )
    .await;
}

#[tokio::test]
async fn identities_across_tables() {
    let events = table(
        "anonymous_id: text, customer_id: int",
        &[
            json!({"anonymous_id": "a1", "customer_id": 7}),
            json!({"anonymous_id": "a2"}),
            json!({"anonymous_id": "", "customer_id": 9}),
            json!({"anonymous_id": "a3", "customer_id": 8}),
            json!({"anonymous_id": "a3", "customer_id": 9}),
        ],
    );
    let crm = table(
        "customer_id: text, email: text",
        &[json!({"customer_id": "7", "email": "x@y.test"})],
    );
    let settings = "
        links:
          - {from: events, columns: {anonymous: anonymous_id, customer: customer_id}}
          - {from: crm, columns: {email: [email], customer: customer_id}}
        id: customer
        as: id
    ";
    let outputs = run("identity", settings, &[("events", events), ("crm", crm)]).await.unwrap();
    let line = |kind: &str, value: &str, id: &str, conflict: bool, size: u8| {
        format!(
            r#"{{"identity":"{kind}:{value}","type":"{kind}","value":"{value}","id":"{id}","conflict":{conflict},"group_size":{size}}}"#
        )
    };
    assert_eq!(
        lines(&outputs.table("").unwrap()),
        [
            line("anonymous", "a1", "7", false, 3),
            line("anonymous", "a2", "anonymous:a2", false, 1),
            line("anonymous", "a3", "8", true, 3),
            line("customer", "7", "7", false, 3),
            line("customer", "8", "8", true, 3),
            line("customer", "9", "8", true, 3),
            line("email", "x@y.test", "7", false, 3),
        ]
    );
    assert_eq!(
        lines(&outputs.table("conflicts").unwrap()),
        [
            r#"{"identity":"anonymous:a3","reason":"several_ids","group_size":3,"ids":"[\"8\",\"9\"]"}"#
        ]
    );
}

#[tokio::test]
async fn identities_that_do_not_work() {
    let check = async |columns: &str, expected: &str| {
        let long = "x".repeat(513);
        let t = table("a: text, b: float", &[json!({"a": "1", "b": 1.0}), json!({"a": long})]);
        let settings = format!("{{links: [{{from: t, columns: {columns}}}], id: customer}}");
        assert_eq!(rows("identity", &settings, &[("t", t)], "").await, Err(expected.to_owned()));
    };
    check(
        "{customer: c}",
        "`columns` names the column `c`, which the input does not have; it has: a, b",
    )
    .await;
    check(
        "{customer: a, x: b}",
        "an identity has more than 512 bytes (t, row 2, column a); \
         clean the column first, or leave it out of `columns`",
    )
    .await;
}

#[tokio::test]
async fn recommendations() {
    let buys = [("u1", 5), ("u1", 9), ("u2", 5), ("u2", 9), ("u3", 5), ("u3", 5), ("u4", 10)];
    let mut bought: Vec<_> = buys.iter().map(|(u, i)| json!({"u": u, "i": i})).collect();
    bought.push(json!({"i": 5}));
    let bought = table("u: text, i: int", &bought);
    let all =
        table("who: text", &[json!({"who": "u3"}), json!({"who": "u0"}), json!({"who": "u3"})]);
    let settings = "
        {from: bought, user: u, item: i, users: all, users_column: who, top: 2,
         min_item_users: 2, min_pair: 2, neighbours: 5}
    ";
    let outputs = run("recommend", settings, &[("bought", bought), ("all", all)]).await.unwrap();
    assert_eq!(
        lines(&outputs.table("").unwrap()),
        [
            r#"{"u":"u0","rank":1,"i":5,"score":null,"source":"popular"}"#,
            r#"{"u":"u0","rank":2,"i":9,"score":null,"source":"popular"}"#,
            r#"{"u":"u3","rank":1,"i":9,"score":0.8164965809277261,"source":"item_item"}"#,
            r#"{"u":"u3","rank":2,"i":10,"score":null,"source":"popular"}"#,
        ]
    );
    assert_eq!(
        lines(&outputs.table("neighbours").unwrap()),
        [
            r#"{"i":5,"neighbour":9,"rank":1,"similarity":0.8164965809277261,"users_both":2}"#,
            r#"{"i":9,"neighbour":5,"rank":1,"similarity":0.8164965809277261,"users_both":2}"#,
        ]
    );
    assert_eq!(
        lines(&outputs.table("popularity").unwrap()),
        [
            r#"{"i":5,"users":3,"rank":1}"#,
            r#"{"i":9,"users":2,"rank":2}"#,
            r#"{"i":10,"users":1,"rank":3}"#,
        ]
    );
}

#[tokio::test]
async fn recommendations_that_do_not_work() {
    let check = async |settings: &str, expected: &str| {
        let bought = table("u: text, i: float, rank: int", &[json!({"u": "a", "i": 1.5})]);
        let settings = format!("{{from: t, {settings}}}");
        let got = rows("recommend", &settings, &[("t", bought)], "").await;
        assert_eq!(got, Err(expected.to_owned()));
    };
    check("user: u, item: i, top: 0", "`top` must be from 1 to 1000, not 0").await;
    check(
        "user: u, item: i",
        "`1.5` is no id (t, row 1, column i); \
         an id is a text or a whole number of at most 63 bits",
    )
    .await;
    check(
        "user: u, item: rank",
        "the result would have two columns `rank`; \
         give the column of the input another name first",
    )
    .await;
}

#[tokio::test]
async fn messages() {
    let audience = table(
        "id: int, name: text, recs: text, tags: texts, extra: float",
        &[
            json!({"id": 1, "name": "<Ann>", "recs": "[{\"t\": \"Tea & more\"}]", "tags": ["x", "y"]}),
            json!({"id": 2, "recs": "[]", "tags": []}),
            json!({"id": 3, "name": "Bo", "recs": "[{\"t\": \"Cup\"}, {\"t\": \"Pot\"}]", "extra": 0.5}),
        ],
    );
    let settings = r#"
        from: t
        id: id
        json: [recs]
        columns:
          subject: "{{ name or 'Hello' }}: {{ recs | length }}"
          text: "{% for r in recs %}{{ r.t }};{% endfor %}{{ extra }}{{ tags | default([], true) | join('+') }}"
          html: "<p>{{ name }}</p>{% for r in recs %}<i>{{ r.t }}</i>{% endfor %}"
          raw_html: {text: "{{ name }}", escape: none}
        keep: [id]
    "#;
    let got = rows("render", settings, &[("t", audience)], "").await.unwrap();
    assert_eq!(
        got,
        [
            r#"{"id":1,"subject":"<Ann>: 1","text":"Tea & more;x+y","html":"<p>&lt;Ann&gt;</p><i>Tea &amp; more</i>","raw_html":"<Ann>"}"#,
            r#"{"id":2,"subject":"Hello: 0","text":"","html":"<p></p>","raw_html":""}"#,
            r#"{"id":3,"subject":"Bo: 2","text":"Cup;Pot;0.5","html":"<p>Bo</p><i>Cup</i><i>Pot</i>","raw_html":"Bo"}"#,
        ]
    );
}

#[tokio::test]
async fn messages_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("mail.txt", "{% include 'head.txt' %}\nYours");
    put("head.txt", "Dear {{ name }},");
    put("bad.txt", "\n{% include 'worse.txt' %}");
    put("worse.txt", "\n\n{{ nmae }}");
    let check = async |file: &str, expected: Result<&str, &str>| {
        let t = || table("name: text", &[json!({"name": "Ann & Bo"})]);
        let settings = yaml(&format!("{{from: t, columns: {{html: {{file: {file}}}}}, keep: []}}"));
        let got = run_in(folder.path(), "render", settings, &[("t", t())]).await;
        let got = got.map(|outputs| lines(&outputs.table("").unwrap()).join("\n"));
        let got = got
            .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "."));
        assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned));
    };
    check("mail.txt", Ok(r#"{"html":"Dear Ann &amp; Bo,\nYours"}"#)).await;
    check(
        "bad.txt",
        Err("the template of `html` uses `nmae`, which is no column (row 1, worse.txt:3); \
             did you mean `name`?"),
    )
    .await;
    check(
        "none.txt",
        Err("cannot read the template `./none.txt`: No such file or directory (os error 2)"),
    )
    .await;
}

#[tokio::test]
async fn messages_that_do_not_work() {
    let check = async |settings: &str, expected: &str| {
        let t = table(
            "id: text, recs: text, x: float",
            &[
                json!({"id": "a", "recs": "[]"}),
                json!({"id": "b"}),
                json!({"id": "c", "recs": "["}),
            ],
        );
        let settings = format!("{{from: t, {settings}}}");
        assert_eq!(rows("render", &settings, &[("t", t)], "").await, Err(expected.to_owned()));
    };
    check("columns: {}", "`columns` names no text to write; add a template: `columns: {text: …}`")
        .await;
    check(
        "columns: {a: '{{ recs }}'}, json: [recs], id: id",
        "the text is no JSON: EOF while parsing a list at line 1 column 1 (id c, column recs)",
    )
    .await;
    check(
        "columns: {a: '{{ Recs }}'}, id: id",
        "the template of `a` uses `Recs`, which is no column \
         (id a, line 1 of the template); did you mean `recs`?",
    )
    .await;
    check(
        "columns: {a: '{{ x }}'}, nulls: error",
        "the template of `a` writes `x`, which is null (row 1, line 1 of the template); \
         say what to write instead: `{{ x or 'friend' }}`",
    )
    .await;
    check(
        "columns: {id: 'x'}",
        "the result would have two columns `id`; \
         name the columns of the input to `keep`, or give the text another name",
    )
    .await;
    check("columns: {a: {escape: none}}", "the column `a` must have either `text` or `file`").await;
}
