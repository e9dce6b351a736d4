"""What the pages for those who come from another tool show works as it stands there.

On these pages a `yaml` block whose first line is `dag: NAME` is a DAG of ours; one that is refused
says so there, `# refused: CODE`. A `yaml` block of another tool begins with a comment that names the
tool. A `console` block is a session with `tidemill`, of its own: its commands are played in the folder
of the page's DAGs, and must print what is shown, times and spaces apart.
"""

import ast
import os
import re
import shlex
import subprocess

import pytest

from tidemill import PATIENCE, ROOT, eventually

PAGES = sorted((ROOT / "docs" / "coming-from").glob("[a-z]*.md"))
TOOLS = {"kestra": "# Kestra", "dagu": "# Dagu", "argo": "# Argo Workflows"}
SECRET = {"TIDEMILL_SECRET_SHOP_TOKEN": "s3cr3t-word"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page, language=None):
    """The blocks of a page, as (language, text)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [(is_, text) for is_, text in found if language in (None, is_)]


def ours(page):
    """The DAGs of a page by name, each with its text and the code by which it is refused, or None."""
    dags = {}
    for _, text in blocks(page, "yaml"):
        first = re.match(r"dag: (\w+)(?: +# refused: (TM\d+))?\n", text)
        if first:
            assert first[1] not in dags, f"`{first[1]}` stands there twice"
            dags[first[1]] = (text, first[2])
    return dags


def theirs(page):
    return [text for _, text in blocks(page, "yaml") if not text.startswith("dag:")]


@pytest.fixture
def folder(home, request):
    """A home whose DAGs are those of the page, with the file that the README of the pages shows."""
    page = request.getfixturevalue("page")
    for name, (text, _) in ours(page).items():
        home.dag(name, text)
    ((_, orders),) = blocks(page.parent / "README.md", "csv")
    home.file("inbox/orders.csv", orders)
    return home


def test_there_is_a_page_for_each_tool():
    index = (PAGES[0].parent / "README.md").read_text()
    assert {page.stem for page in PAGES} == {"airflow", "dagster", "prefect", *TOOLS}
    for page in PAGES:
        assert f"({page.name})" in index
        assert len(ours(page)) >= 10, page.stem


@each_page
def test_blocks_are_what_they_seem(page):
    for language, text in blocks(page):
        assert language in {"yaml", "python", "sh", "console"}, text
        if language == "console":
            assert text.startswith("$ ") and "tidemill" in text.split("\n")[0], text
        elif language == "sh":
            subprocess.run(["sh", "-n"], input=text.encode(), check=True)
        elif language == "python":
            ast.parse(text)


@each_page
def test_their_yaml_is_yaml(page, home):
    """Our reader is strict: what it finds nothing against but that it is no DAG of ours is YAML."""
    for number, text in enumerate(theirs(page)):
        assert text.startswith(TOOLS[page.stem]), text
        done = home.call("validate", home.dag(f"theirs_{number}", text), "--json", code=2)
        codes = {found["code"] for found in done.json()["diagnostics"]}
        assert codes and not {code for code in codes if code < "TM0100"}, (codes, text)


@each_page
def test_our_dags_are_valid(page, folder):
    good = [folder.dags / f"{name}.yaml" for name, (_, code) in ours(page).items() if not code]
    found = folder.call("validate", *good, "--json").json()
    assert (found["errors"], found["warnings"], found["files"]) == (0, 0, len(good)), found


@each_page
def test_our_dags_run(page, folder):
    for name, (_, code) in ours(page).items():
        file = folder.dags / f"{name}.yaml"
        if code:
            assert code in folder.call("run", file, code=2).err
            continue
        result = folder.run(file, "--yes", env=SECRET)
        assert result.state == "succeeded", (name, result.value)


@each_page
def test_what_is_said_to_be_reserved_is(page):
    """And so a page is looked at again when a key can be run, or a command is there."""
    language = (ROOT / "docs" / "language.md").read_text()
    tables = language[language.index("<!-- keys: reserved."):].partition("<!-- end -->")[0]
    said = re.findall(r"^\* Reserved, of (a \w+): (.*)$", page.read_text(), re.M)
    assert [of for of, _ in said] == ["a DAG", "a task", "a trigger"]
    for of, keys in said:
        for key in re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", keys)):
            assert f"| `{key}` | {of} |" in tables, f"`{key}` of {of} is not reserved"


@pytest.mark.parametrize("word", ["backfill", "clear"])
def test_what_is_said_to_be_missing_is(home, word):
    assert "unrecognized" in home.call(word, code=2).err


def plain(text):
    """What was printed without its times, and without the spaces that make columns."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
    text = re.sub(r"\b\d+(\.\d+)? (µs|ms|s|min)\b", "SPAN", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def sessions(page):
    """The console blocks of a page, each as a list of (command, what it prints)."""
    for _, text in blocks(page, "console"):
        yield [part.partition("\n")[::2] for part in re.split(r"^\$ ", text, flags=re.M)[1:]]


@each_page
def test_sessions(page, folder):
    for number, session in enumerate(sessions(page)):
        home = folder.folder / f"session-{number}"
        for command, shown in session:
            if command == "tidemill serve --dags . &":
                folder.path = home
                folder.serve()
                continue
            words = shlex.split(command)
            env = dict(word.split("=", 1) for word in words[:words.index("tidemill")])
            words = words[words.index("tidemill") + 1:]

            def play():
                done = subprocess.run(
                    [folder.binary, "--home", home, *words], cwd=folder.dags, timeout=PATIENCE,
                    stdin=subprocess.DEVNULL, capture_output=True, env={**folder.env, **env}, check=False)
                printed = plain(done.stdout.decode() + done.stderr.decode())
                return printed if printed == plain(shown) or words[0] != "questions" else None

            assert eventually(command, play) == plain(shown), command
