"""What the documentation shows works as it stands there."""

import csv
import gzip
import re

from tidemill import FLAGSHIP, ROOT


def blocks(path, language):
    text = (ROOT / path).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_first_dag_of_the_readme(home):
    text = blocks("README.md", "yaml")[0]
    name = re.match(r"# (\w+)\.yaml", text).group(1)
    path = home.dag(name, text)
    assert home.call("validate", path).code == 0
    assert home.run(path).state == "succeeded"
    rows = list(csv.reader((home.dags / "out" / "squares.csv").open()))
    assert rows[0] == ["n", "square"] and rows[-1] == ["10", "100"] and len(rows) == 11
    plan = home.call("plan", path).out
    assert "numbers" in plan and "save" in plan
    server = home.serve()
    assert server.wait(server.trigger("hello"))["state"] == "succeeded"


def test_the_whole_example_of_the_language(home):
    (text, *_) = blocks("docs/language.md", "yaml")
    assert text.startswith("dag:")
    path = home.dag("orders_daily", text)
    home.file("inbox/a.csv", "order_id,customer_id,region,amount\n1,c1,eu,2.50\n2,c1,us,1\n3,c2,eu,-1\n")
    (home.dags / "inbox" / "a.csv").rename(home.dags / "inbox" / "a.csv.gz")
    packed = home.dags / "inbox" / "a.csv.gz"
    packed.write_bytes(gzip.compress(packed.read_bytes()))
    result = home.run(path)
    assert result.state == "succeeded"
    assert result.tasks["orders"]["counts"]["out"] == 2
    assert (home.dags / "out" / "totals.parquet").exists()


def test_commands_that_leave_tables_and_values(home):
    yaml = blocks("docs/language.md", "yaml")
    (scores,) = [text for text in yaml if text.startswith("dag: scores")]
    (large,) = [text for text in yaml if text.startswith("dag: large_orders")]
    (program,) = blocks("docs/language.md", "python")
    home.file("orders.csv", "order_id,customer_id,amount\n1,a,10.5\n2,b,300\n3,a,90\n")
    home.file("score.py", program)
    result = home.run(home.dag("scores", scores))
    assert result.states() == {"orders": "succeeded", "score": "succeeded", "best": "succeeded"}
    assert result.tasks["best"]["counts"]["out"] == 2
    result = home.run(home.dag("large_orders", large))
    assert result.tasks["large"]["counts"] == {
        "in": 3, "out": 1, "duplicates": 0, "rejected": {}}


def test_every_dag_of_the_language_is_valid(home):
    home.dag("profiles", "params: {day: {type: timestamp}}\ntasks: {score: {run: [echo], outputs: {rows: integer}}}\n")
    found = [text for text in blocks("docs/language.md", "yaml") if text.startswith("dag: ")]
    assert len(found) >= 7
    for text in found:
        name = re.match(r"dag: (\w+)", text).group(1)
        home.call("validate", home.dag(name, text))


def test_the_tests_of_the_language(home):
    yaml = blocks("docs/language.md", "yaml")
    (tests,) = [text for text in yaml if text.startswith("# orders_daily.test.yaml")]
    home.dag("orders_daily", yaml[0])
    home.file("orders_daily.test.yaml", tests)
    home.call("test", home.dags)
    home.file("orders_daily.test.yaml", tests.replace("amount: 12.50}", "amount: 9.50}"))
    done = home.call("test", "dags", code=1, cwd=home.dags.parent)
    (shown,) = [text for text in blocks("docs/language.md", "console") if "tidemill test" in text]
    without_times = lambda text: re.sub(r" +\d+ ms", "", text)  # noqa: E731
    assert without_times(done.out) == without_times(shown.split("\n", 1)[1])


def test_generated_pages_are_fresh(home):
    home.call("docs", ROOT / "docs", "--check")


def test_the_rules_are_documented_as_they_are(home):
    """docs/personalization.md names every task, weight and reason of the DAG."""
    page = (ROOT / "docs" / "personalization.md").read_text()
    dag = (FLAGSHIP / "personalize.yaml").read_text()
    for task in re.findall(r"^  ([a-z_]+):", dag[dag.index("\ntasks:"):], re.M):
        assert f"`{task}`" in page, f"task `{task}` is not documented"
    for reason in re.findall(r"reason: ([a-z_]+)", dag):
        assert f"`{reason}`" in page, f"reason `{reason}` is not documented"
    for event, weight in re.findall(r"\('([a-z_]+)', (\d+)\)", dag):
        assert re.search(rf"`{event}`[^|\n]*\| {weight} \|", page), f"weight of `{event}`"


def test_links_lead_somewhere():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "dags").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if not re.match(r"[a-z]+:", target):
                assert (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"
