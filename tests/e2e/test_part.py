"""Runs of a part of a DAG: one task, one and those after it, and files in the place of tasks."""

import json

import pytest

DAG = """
params:
  least: {type: integer, default: 0}
tasks:
  orders:
    ingest:
      csv: {path: orders.csv}
  size:
    run: echo "n=${{ tasks.orders.rows }}" > "$TIDEMILL_OUTPUTS"
    outputs: {n: integer}
  big:
    transform:
      sql: select id, amount from orders where amount >= $least
  report:
    run: echo "$(cat count.txt) of ${{ tasks.size.outputs.n }}, ${{ tasks.big.rows }} are big" >> report.txt
    depends_on: [mark]
  mark:
    run: echo run >> count.txt && sort -u -o count.txt count.txt
    depends_on: [size]
  after:
    run: echo after >> after.txt
    depends_on: [report]
"""


@pytest.fixture
def shop(home):
    home.file("orders.csv", "id,amount\n1,10\n2,20\n3,30\n")
    home.dag("d", DAG)
    return home


def part(home, *words, code=0):
    done = home.call("run", home.dags / "d.yaml", "--json", *words, code=code)
    run = json.loads(done.out)
    return {task["name"]: task for task in run["tasks"]}


def states(tasks):
    return {name: task["state"] for name, task in tasks.items()}


def test_one_task_alone(shop):
    part(shop)
    tasks = part(shop, "--only", "report", "--param", "least=15")
    assert states(tasks) == {"orders": "removed", "size": "succeeded", "big": "succeeded", "report": "succeeded",
                             "mark": "succeeded", "after": "removed"}
    assert tasks["after"]["reason"] == "not part of this run"
    assert tasks["size"]["reason"] == "its result is that of run d.1"
    assert (tasks["size"]["attempts"], tasks["size"]["outputs"], tasks["size"]["reused"]) == (0, {"n": 3}, "d.1")
    assert tasks["report"]["attempts"] == 1
    assert (shop.dags / "report.txt").read_text() == "run of 3, 3 are big\n" * 2
    assert (shop.dags / "after.txt").read_text() == "after\n"


def test_a_task_and_those_after_it(shop):
    part(shop)
    tasks = part(shop, "--from", "big", "--param", "least=15")
    assert [name for name, task in tasks.items() if task["attempts"]] == ["big", "report", "after"]
    assert states(tasks)["orders"] == "succeeded"
    assert (shop.dags / "report.txt").read_text().endswith("run of 3, 2 are big\n")
    # What a part made is there for the next.
    again = part(shop, "--only", "report")
    assert again["big"]["reason"] == "its result is that of run d.2"


def test_rows_of_files(shop):
    shop.file("sample.jsonl", '{"id": 7, "amount": 70}\n')
    tasks = part(shop, "--stub", f"orders={shop.dags / 'sample.jsonl'}")
    assert tasks["orders"]["reason"] == "its rows are those of `sample.jsonl`"
    assert tasks["orders"]["attempts"] == 0 and tasks["big"]["counts"]["out"] == 1
    shop.file("other.csv", "id,amount\n1,1\n2,2\n")
    tasks = part(shop, "--only", "big", "--stub", f"orders={shop.dags / 'other.csv'}")
    assert states(tasks) == {"orders": "succeeded", "size": "removed", "big": "succeeded", "report": "removed",
                             "mark": "removed", "after": "removed"}
    assert tasks["big"]["counts"]["out"] == 2


def test_a_large_table_is_used_again(shop):
    rows = "".join(f"{n},{n}\n" for n in range(300_000))
    shop.file("orders.csv", "id,amount\n" + rows)
    part(shop)
    tasks = part(shop, "--only", "big")
    assert tasks["big"]["counts"]["out"] == 300_000


def test_a_part_that_fails_fails_the_run(shop):
    part(shop)
    (shop.dags / "count.txt").unlink()
    shop.dag("d", DAG.replace("$(cat count.txt)", "$(cat missing.txt || exit 3)").replace("echo \"", "set -e; x=$(cat missing.txt); echo \""))
    tasks = part(shop, "--only", "report", code=1)
    assert states(tasks)["report"] == "failed"


def test_groups_and_mapped_tasks_are_taken_as_a_whole(home):
    home.file("a.csv", "x\n1\n")
    home.dag("d", """
tasks:
  parts:
    for_each: '["a", "a"]'
    ingest: {csv: {path: "${{ item }}.csv"}}
  g:
    tasks:
      sum: {transform: {sql: select sum(x) as s from parts}}
    outputs: {table: sum, total: tasks.sum.rows}
  last:
    transform: {sql: "select s, $n as n from g"}
    bind: {n: tasks.g.outputs.total}
""")
    part(home)
    tasks = part(home, "--only", "last")
    assert tasks["last"]["counts"]["out"] == 1 and tasks["g"]["attempts"] == 0
    tasks = part(home, "--only", "g")
    assert tasks["g"]["attempts"] == 1 and tasks["parts"]["attempts"] == 0
    done = home.call("run", home.dags / "d.yaml", "--only", "g.sum", code=1)
    assert "error[TM0801]: `g.sum` is a member of a group; name the group: `g`" in done.err


SAID = [
    (["--only", "bg"], "`d` has no task `bg`; did you mean `big`?"),
    (["--only", "big"], "`orders` has no result yet that could be used; run the whole DAG first, or give the rows of "
                        "`orders`: `--stub orders=FILE`"),
    (["--stub", "orders"], "`--stub orders` names no file; write `--stub TABLE=FILE`"),
    (["--stub", "orders=x.txt"], "is no `.csv`, `.jsonl` or `.parquet`"),
    (["--stub", "orders=gone.csv"], "gone.csv`; relative paths start at the folder in which the command is"),
    (["--stub", "orders=a.csv", "--stub", "orders=b.csv"], "`--stub orders` is given twice; give it once"),
]


@pytest.mark.parametrize("words,said", SAID)
def test_what_cannot_be(shop, words, said):
    done = shop.call("run", shop.dags / "d.yaml", *words, code=1)
    assert said in done.err


def test_only_and_from_exclude_each_other(shop):
    done = shop.call("run", shop.dags / "d.yaml", "--only", "big", "--from", "big", code=2)
    assert "cannot be used with" in done.err


def test_items_of_an_earlier_run(home):
    file = home.dag("items", """
tasks:
  m:
    for_each: range(3)
    tolerate: 1
    run: "test ${{ item }} -ne 1; echo v=$((TIDEMILL_ITEM * 2)) > $TIDEMILL_OUTPUTS"
    outputs: {v: integer}
  r: {run: [echo, "${{ tasks.m.items }} items, ${{ tasks.m.failed }} failed, ${{ tasks.m.outputs.v }}"]}
""")
    home.run(file)
    result = home.run(file, "--from", "r")
    assert "3 items, 1 failed, [0,4]" in home.call("logs", result.run, "r").out
    told = home.call("show", result.run, "m[0]", code=1).err
    assert "its result is that of run items.1, where its items are" in told
    assert "item 7 of task `m` of run items.1 has not begun" in home.call("show", "items.1", "m[7]", code=1).err
    assert "has not begun" in home.call("logs", "items.1", "m[7]", code=1).err


def test_values_of_a_mapped_group_of_an_earlier_run(home):
    file = home.dag("grouped", """
tasks:
  g:
    for_each: range(2)
    tasks:
      a: {run: "echo v=$((TIDEMILL_ITEM + 5)) > $TIDEMILL_OUTPUTS", outputs: {v: integer}}
    outputs: {twice: "tasks.a.outputs.v * 2"}
  r: {run: [echo, "${{ tasks.g.outputs.twice }}"]}
""")
    first = home.run(file)
    assert "[10,12]" in home.call("logs", first.run, "r").out
    again = home.run(file, "--from", "r")
    assert "[10,12]" in home.call("logs", again.run, "r").out
