"""`tidemill test`: tests beside DAGs."""

import json

DAG = """
params: {least: {type: number, default: 0}, who: {type: string, default: eu}}
schedule: "0 2 * * *"
timezone: Europe/Zurich
tasks:
  orders:
    ingest:
      http: {url: "https://shop.example/orders?who=${{ params.who }}"}
    checks:
      - where: amount >= 0
        on_fail: quarantine
  totals:
    transform:
      sql: |
        select region, sum(amount) as amount, count(*) as n from orders
        where amount >= $least group by region
  score:
    from: {totals: {table: totals, format: csv}}
    run: [python3, nothing.py, "${{ params.who }}"]
    retry: {limit: 2, delay: 5m}
    outputs: {best: string}
  pause: {wait: 6h, depends_on: [score]}
  ask:
    approve: {message: "Send ${{ tasks.score.outputs.best }}?", params: {limit: {type: integer, default: 3}}}
    depends_on: [pause]
  send:
    load: {csv: {path: "out-${{ tasks.ask.outputs.limit }}.csv"}}
    from: totals
  gone:
    trigger_rule: all_failed
    depends_on: [ask]
    run: [echo, "no"]
"""

TESTS = """
x-rows: &rows
  - {region: eu, amount: 1.5}
  - {region: eu, amount: 2.25}
  - {region: us, amount: -1}
tests:
  all_of_it:
    now: 2026-03-28T12:00:00Z
    stubs:
      orders: *rows
      score: {outputs: {best: eu}, fails: busy, times: 2, takes: 3h}
    answers: {ask: {values: {limit: 7}}}
    expect:
      state: succeeded
      tasks: {send: succeeded, gone: skipped, score: succeeded}
      tables:
        totals:
          - {region: eu, amount: 3.75, n: 2}
        orders.rejects:
          - {region: us, amount: -1}
      outputs:
        score: {best: eu}
        ask: {limit: 7, by: test}
      rendered:
        orders: {ingest: {http: {url: "https://shop.example/orders?who=eu"}}}
        score: {run: [python3, nothing.py, eu]}
        send: {load: {csv: {path: out-7.csv}}}
      next_ticks: ["2026-03-29T02:00:00+01:00", "2026-03-30T02:00:00+02:00"]

  from_a_file:
    params: {least: 2, who: us}
    connectors:
      http: {file: some.csv, columns: {region: string, amount: "decimal(9,2)"}}
    stubs:
      score: {outputs: {best: us}}
    answers: {ask: false}
    expect:
      state: failed
      tasks: {ask: failed, send: upstream_failed, gone: succeeded}
      tables:
        totals: {rows: [{amount: 2.249}], tolerance: 0.01}
      errors: {ask: said no}

  too_often:
    stubs:
      orders: *rows
      score: {fails: busy}
    expect: {state: failed, errors: {score: busy}}
"""


def prepare(home, dag=DAG, tests=TESTS):
    home.file("some.csv", "region,amount\nus,2.25\n")
    home.dag("shop", dag)
    return home.file("shop.test.yaml", tests)


def test_they_pass_and_reach_nothing(home):
    prepare(home)
    done = home.call("test", home.dags)
    assert "3 tests passed, 0 failed" in done.out, done.out
    assert not list(home.dags.glob("out*")) and not home.path.exists()
    told = home.call("test", home.dags / "shop.yaml", "--json", "--name", "file").json()
    assert (told["passed"], [test["name"] for test in told["tests"]]) == (1, ["from_a_file"])


def test_what_differs_is_shown_and_can_be_taken_over(home):
    wrong = (TESTS.replace("amount: 3.75, n: 2", "amount: 4, n: 2")
             .replace("      state: failed\n", "      state: succeeded # ?\n")
             .replace("out-7.csv", "out-8.csv").replace("by: test", "by: ada")
             .replace("29T02:00:00+01:00", "29T03:00:00+01:00"))
    path = prepare(home, tests=wrong)
    done = home.call("test", path, code=1)
    for line in ['- region: "eu", amount: 4, n: 2', '+ region: "eu", amount: 3.75, n: 2',
                 "- succeeded", "+ failed", "`ask` failed", '- load.csv.path: "out-8.csv"',
                 '+ load.csv.path: "out-7.csv"', '- by: "ada"', '+ by: "test"',
                 "+ 2026-03-29T01:00:00Z", f"{path}:{1 + wrong.splitlines().index('        totals:')}", "1 test passed, 2 failed"]:
        assert line in done.out, (line, done.out)
    updated = home.call("test", path, "--update")
    assert "5 values updated" in updated.out, updated.out
    text = path.read_text()
    assert "- {region: eu, amount: 3.75, n: 2}" in text and "x-rows: &rows" in text, text
    assert "3 tests passed" in home.call("test", path).out


def test_what_reaches_out_needs_a_stub(home):
    prepare(home, tests="tests:\n  t:\n    expect: {state: succeeded}\n")
    done = home.call("test", home.dags, code=1)
    assert "does not say what `orders` gives" in done.out and "stubs: {orders:" in done.out
    prepare(home, tests="tests:\n  t:\n    stubs: {orders: [{region: a, amount: 1}]}\n"
                        "    expect: {state: succeeded}\n")
    assert "does not say what `score` gives" in home.call("test", home.dags, code=1).out
    prepare(home, tests="tests:\n  t:\n    stubs:\n      orders: [{region: a, amount: 1}]\n"
                        "      score: {outputs: {best: a}}\n    expect: {state: succeeded}\n")
    done = home.call("test", home.dags, code=1)
    assert "`ask`" in done.out and "answers" in done.out, done.out


def test_groups_maps_and_calls(home):
    home.dag("child", "params: {n: {type: integer}}\ntasks:\n"
                      "  rows: {transform: {sql: select $n as n}}\n")
    home.dag("parent", """
tasks:
  each:
    for_each: "[1, 2, 3]"
    tolerate: 1
    tasks:
      fetch: {ingest: {http: {url: "https://a.example/${{ item }}"}}}
      twice: {transform: {sql: 'select n * 2 as n, $i as i from fetch'}, bind: {i: item}}
    outputs: twice
  child: {call: {dag: child, params: {n: 5}, table: rows}}
  other: {call: {dag: child, params: {n: 6}, table: rows}}
  sum:
    transform:
      sql: |
        select sum(each.n) + max(child.n) + max(other.n) as n from each, child, other
""")
    home.file("parent.test.yaml", """
tests:
  t:
    stubs:
      each.fetch: [{n: 10}]
      other: {rows: [{n: 100}]}
    expect:
      tables:
        each: [{n: 20, i: 1, _item: 0}, {n: 20, i: 2, _item: 1}, {n: 20, i: 3, _item: 2}]
        child: [{n: 5}]
        sum: [{n: 165}]
      rendered:
        each[1].fetch: {ingest: {http: {url: "https://a.example/2"}}}
""")
    home.call("test", home.dags / "parent.yaml")


def test_a_command_can_be_real(home):
    home.dag("real", "tasks:\n  a:\n    run: 'echo n=3 >> $TIDEMILL_OUTPUTS'\n"
                     "    outputs: {n: integer}\n  b: {run: [echo, '${{ tasks.a.outputs.n }}']}\n")
    home.file("real.test.yaml", "tests:\n  t:\n    real: [a]\n    expect:\n"
                                "      rendered: {b: {run: [echo, '3']}}\n")
    home.call("test", home.dags)


def test_what_does_not_fit_the_dag_is_told(home):
    start = "tests:\n  t:\n    stubs:\n      orders: [{region: a, amount: 1}]\n"
    expect = "    expect: {state: succeeded}\n"
    for more, code, told in [
        ("      score: {outputs: {best: [1]}}\n", 1, "output `best` must be"),
        ("      score: {outputs: {}}\n", 1, "gives no value for its output `best`"),
        ("      score: {outputs: {best: a, more: 1}}\n", 1, "`more`"),
        ("      score: {outputs: {best: a}}\n    answers: {ask: {values: {limit: many}}}\n", 1,
         "`answers`: "),
        ("      ask: {outputs: {limit: 1}}\n", 2, "write what a person says in `answers`"),
        ("      pause: {fails: no}\n", 2, "a stub of `pause` has no meaning"),
        ("    real: [totals]\n", 2, "`totals` is no command"),
        ("    answers: {orders: true}\n", 2, "`orders` asks nothing"),
    ]:
        prepare(home, tests=start + more + expect)
        done = home.call("test", home.dags, code=code)
        assert told in done.out + done.err, (more, done.out, done.err)


def test_time_limits_hold_for_stubs(home):
    home.dag("slow", "tasks:\n  a: {ingest: {csv: {path: a.csv}}, timeout: 30s}\n"
                     "  b: {run: [x], timeout: 1m}\n")
    home.file("slow.test.yaml", "tests:\n  t:\n    stubs:\n      a: {rows: [{n: 1}], takes: 1h}\n"
                                "      b: {takes: 59s}\n    expect:\n      tasks: {a: failed, b: succeeded}\n"
                                "      errors: {a: timeout of 30}\n")
    home.call("test", home.dags)


def test_an_update_breaks_no_file(home):
    dag = home.dag("u", "tasks:\n  a: {transform: {sql: 'select 7 as \"Order ID\", 1 as inf'}}\n")
    for text, told in [
        ("\ufefftests:\n  t:\n    expect:\n      state: failed\n", "state: succeeded"),
        ("tests:\n  t:\n    expect: &e\n      state: failed\n  u:\n    expect: *e\n", "state: failed"),
        ("tests:\n  t:\n    expect:\n      state: &s failed\n  u:\n    expect: {state: *s}\n",
         "state: &s failed"),
        ("tests:\n  t:\n    expect:\n      tables:\n        a:\n        - {\"Order ID\": 8}\n",
         '- {"Order ID": 7}'),
    ]:
        file = home.file("u.test.yaml", text)
        home.call("test", dag, "--update", code=None)
        assert told in file.read_text(), file.read_text()
        assert home.call("test", dag, code=None).code in (0, 1)


def test_mistakes_in_a_file_of_tests(home):
    path = prepare(home, tests="""
tests:
  a:
    params: {leest: 1}
    stubs: {ordrs: [], score: {outptus: {}}}
    expect: {state: fine, tasks: {send: done}, tables: {totls: []}, next_ticks: [soon]}
  b: {}
  c: {stubs: {orders: {rows: 3}}, expect: {}}
""")
    done = home.call("test", path, code=2)
    for text in ["no param `leest`", "did you mean `least`", "no task `ordrs`", "`outptus`",
                 "did you mean `outputs`", "expects nothing", "no task `totls`", "no instant",
                 "shop.test.yaml:4:14"]:
        assert text in done.err, (text, done.err)
    home.file("alone.test.yaml", "tests: {}\n")
    assert "about no DAG" in home.call("test", home.dags / "alone.test.yaml", code=2).err
    home.dag("none", "tasks: {a: {noop: }}\n")
    assert "has no tests" in home.call("test", home.dags / "none.yaml", code=1).err
    # A server takes no notice of them.
    assert "shop.test" not in json.dumps(home.serve().get("/api/v1/dags"))


def test_a_file_of_tests_without_its_dag_is_no_secret(home):
    home.dag("one", "tasks: {a: {noop: }}\n")
    home.file("one.test.yaml", "tests: {works: {expect: {state: succeeded}}}\n")
    home.file("ghost.test.yaml", "tests: {works: {expect: {state: succeeded}}}\n")
    done = home.call("test", home.dags, code=2)
    assert "ghost.test.yaml` is about no DAG" in done.err and "1 test passed" in done.out
    done = home.call("validate", home.dags, code=2)
    assert "ghost.test.yaml` is about no DAG" in done.err and "3 files checked: 1 error" in done.out
    (home.dags / "ghost.test.yaml").unlink()
    assert "no test has `zzz` in its name" in home.call("test", home.dags, "--name", "zzz", code=1).err
    home.file("one.test.yaml", "tests: {works: {expect: {stat: succeeded}}}\n")
    assert "did you mean `state`?" in home.call("validate", home.dags / "one.yaml", code=2).err


def test_two_files_with_one_name_are_told(home):
    home.dag("one", "tasks: {a: {noop: }}\n")
    home.dag("two", "dag: one\ntasks: {a: {noop: }}\n")
    done = home.call("validate", home.dags, code=2)
    assert "`one` is already the name of the DAG in" in done.err


def test_what_waits_has_settings_too(home):
    home.dag("child", "params: {n: {type: integer}}\ntasks: {a: {run: [echo, hi]}}\n")
    home.dag("parent", """
tasks:
  rows: {ingest: {http: {url: "https://shop.example/x"}}}
  ask: {approve: "Send ${{ tasks.rows.rows }}?"}
  pause: {wait: 1h, depends_on: [ask]}
  first: {call: {dag: child, params: {n: "${{ tasks.rows.rows }}"}}, depends_on: [pause]}
  second: {call: {dag: child, params: {n: "${{ tasks.rows.rows + 1 }}"}}}
""")
    home.file("parent.test.yaml", """
tests:
  asked:
    now: 2026-01-01T00:00:00Z
    stubs: {rows: [{a: 1}, {a: 2}], second: {}}
    answers: {ask: true}
    expect:
      rendered:
        ask: {approve: {message: "Send 2?"}}
        pause: {wait: {until: "2026-01-01T01:00:00Z"}}
        first: {call: {dag: child, params: {n: 2}}}
        second: {call: {params: {n: 3}}}
""")
    home.call("test", home.dags)


def test_an_update_loses_no_expectation(home):
    home.dag("one", "tasks: {a: {transform: {sql: 'select 1 as best, 2 as other'}}}\n")
    text = """tests:
  works:
    expect:
      tables:
        a:
          - {bst: 3, other: 3}  # what we want
"""
    file = home.file("one.test.yaml", text)
    done = home.call("test", home.dags, "--update", code=None)
    assert file.read_text() == text, done.out
    assert "1 value stays as it is: the run made nothing that could be written there" in done.out


def test_items_have_outputs_of_their_own(home):
    home.dag("each", """
tasks:
  m:
    for_each: range(3)
    run: "echo v=$((TIDEMILL_ITEM * 2)) > $TIDEMILL_OUTPUTS"
    outputs: {v: integer}
""")
    text = "tests: {t: {real: [m], expect: {outputs: {'m[0]': {v: 0}, 'm[2]': {v: 4}}}}}\n"
    home.file("each.test.yaml", text)
    home.call("test", home.dags)
    home.file("each.test.yaml", text.replace("v: 4", "v: 5"))
    assert "+ v: 4" in home.call("test", home.dags, code=1).out
