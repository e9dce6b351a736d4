"""`cache`: a result is used again while what it is made from is as it was."""

import time

import pytest

COUNTED = """
params: {n: {type: integer, default: 1}, other: {type: integer, default: 1}}
tasks:
  rows:
    ingest: {csv: {path: rows.csv}}
  work:
    cache: CACHE
    from: {rows: {table: rows, format: csv}}
    env: {N: "${{ params.n }}", TOKEN: "${{ secrets.token }}"}
    run: |
      echo once >> count.txt
      sh step.sh
      echo n=$N >> $TIDEMILL_OUTPUTS
      cp $TIDEMILL_INPUT_ROWS $TIDEMILL_OUTPUT_WORK
    outputs: {n: integer, work: {type: table, format: csv}}
  read:
    transform: {sql: "select count(*) as n from work"}
  say: {run: [echo, "${{ tasks.work.outputs.n }}"], depends_on: [read]}
"""


@pytest.fixture
def counted(home):
    home.file("rows.csv", "a\n1\n2\n")
    home.file("step.sh", "true\n")
    home.file("secrets.yaml", "token: one\n").chmod(0o600)
    home.dag("counted", COUNTED.replace("CACHE", "1h"))
    return home


def runs(home, *words, **more):
    """Runs the DAG; says how often the command has run so far, and the result."""
    result = home.run(home.dags / "counted.yaml", *words, **more)
    count = home.dags / "count.txt"
    return (len(count.read_text().splitlines()) if count.exists() else 0), result


def test_nothing_changed(counted):
    assert runs(counted)[0] == 1
    times, result = runs(counted)
    assert times == 1
    work = result.tasks["work"]
    assert work["reused"] == "counted.1" and work["outputs"] == {"n": 1}
    assert work["counts"]["out"] == 2 and result.tasks["read"]["state"] == "succeeded"
    assert "nothing has changed since run counted.1" in counted.call("logs", result.run, "work").out
    assert "unchanged since counted.1" in counted.call("run", counted.dags / "counted.yaml").out
    # What the task does not use does not count; nor does a secret's value.
    assert runs(counted, "--param", "other=2")[0] == 1
    counted.file("secrets.yaml", "token: two\n").chmod(0o600)
    assert runs(counted)[0] == 1
    # The result outlasts the run's home being opened anew, and does not hold the secret.
    for path in (counted.path / "results").rglob("*"):
        if path.is_file():
            assert b"token: " not in path.read_bytes()


def test_each_change_counts(counted):
    assert runs(counted)[0] == 1
    assert runs(counted, "--param", "n=2")[0] == 2
    counted.file("rows.csv", "a\n1\n3\n")
    assert runs(counted)[0] == 3
    counted.file("step.sh", "true # as before\n")
    assert runs(counted)[0] == 4
    counted.dag("counted", COUNTED.replace("CACHE", "1h").replace("echo once", "echo  once"))
    assert runs(counted)[0] == 5
    # The first result is still there, under its own key.
    counted.dag("counted", COUNTED.replace("CACHE", "1h"))
    counted.file("step.sh", "true\n")
    assert runs(counted)[0] == 5


def test_it_expires(counted):
    counted.dag("counted", COUNTED.replace("CACHE", "300ms"))
    assert runs(counted)[0] == 1
    time.sleep(0.4)
    assert runs(counted)[0] == 2


def test_a_key_of_ones_own(counted):
    counted.dag("counted", COUNTED.replace("CACHE", "{for: 1h, key: params.other}"))
    assert runs(counted)[0] == 1
    assert runs(counted)[0] == 1
    assert runs(counted, "--param", "other=2")[0] == 2


def test_a_failure_is_not_kept(counted):
    counted.file("step.sh", "exit 3\n")
    assert runs(counted, code=1)[0] == 1
    assert runs(counted, code=1)[0] == 2


def test_a_table_that_is_gone_is_made_again(counted):
    # More than 64 KiB, so that it is a file.
    counted.file("rows.csv", "a\n" + "".join(f"{k * 7919 % 1000003}\n" for k in range(60_000)))
    copy = "cp $TIDEMILL_INPUT_ROWS $TIDEMILL_OUTPUT_WORK"
    assert copy in COUNTED
    text = COUNTED.replace("CACHE", "1h").replace(
        copy, "sed 2d $TIDEMILL_INPUT_ROWS > $TIDEMILL_OUTPUT_WORK")
    counted.dag("counted", text)
    assert runs(counted)[0] == 1
    assert runs(counted)[0] == 1
    found = list((counted.path / "tables").rglob("*.arrow"))
    assert found
    for path in found:
        path.unlink()
    assert runs(counted)[0] == 2


def test_items_have_results_of_their_own(home):
    home.dag("items", """
params: {regions: {type: json, default: [eu, us]}}
tasks:
  each:
    for_each: params.regions
    cache: 1h
    run: 'echo ${{ item }} >> count.txt; echo v=${{ item }} >> $TIDEMILL_OUTPUTS'
    outputs: {v: string}
  say: {run: [echo, "${{ tasks.each.outputs.v }}"]}
""")
    file, count = home.dags / "items.yaml", home.dags / "count.txt"
    home.run(file)
    result = home.run(file, "--param", 'regions=["us", "apac", "eu"]')
    assert sorted(count.read_text().split()) == ["apac", "eu", "us"]
    assert home.call("logs", result.run, "say", "--raw").out == '["us","apac","eu"]\n'


def test_the_number_of_an_item_counts_for_a_command(home):
    home.dag("items", """
params: {items: {type: json, default: [a, b]}}
tasks:
  each:
    for_each: params.items
    cache: 1h
    run: 'echo v=${{ item }}$TIDEMILL_ITEM >> $TIDEMILL_OUTPUTS'
    outputs: {v: string}
  say: {run: [echo, "${{ tasks.each.outputs.v }}"]}
""")
    home.run(home.dags / "items.yaml")
    result = home.run(home.dags / "items.yaml", "--param", 'items=["b", "b"]')
    assert home.call("logs", result.run, "say", "--raw").out == '["b0","b1"]\n'


@pytest.mark.parametrize("action, code", [
    ("noop: ", "TM0112"), ("wait: 1s", "TM0112"), ("load: {csv: {path: a}}", "TM0112"),
    ("tasks: {a: {noop: }}", "TM0112"),
])
def test_where_it_has_no_meaning(home, action, code):
    file = home.dag("wrong", f"tasks:\n  t:\n    cache: 1d\n    {action}\n")
    assert code in home.call("validate", file, code=2).err
