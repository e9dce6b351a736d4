"""The JSON Schema does in an editor what it is for: completion, hover and diagnostics, as the YAML
language server makes them of what `tidemill schema` prints."""

import json
import re

import pytest

from lsp import CURSOR, Editor
from tidemill import ROOT, Home

# `tests/run --quick` does not install the language server.
pytestmark = pytest.mark.long

FAULTY = "nonsense: 1\ntasks: {a: {noop: }}\n"

# To be completed where a `<name>` stands.
DRAFT = """\
dag: draft
<top>
params:
  day:
    <param>
tasks:
  orders:
    <task>
  csv:
    ingest:
      csv:
        path: orders.csv
        <csv>
  flow:
    ingest: {csv: {path: orders.csv, de<flow>}}
  settings:
    ingest:
      csv: <settings>
  source:
    ingest:
      <ingest>
  sink:
    load:
      <load>
  made:
    transform:
      <transform>
  pages:
    ingest:
      http:
        pagination:
          <pagination>
  pause:
    wait:
      <wait>
  values:
    ingest:
      csv:
        path: orders.csv
        header: <header>
        on_bad_row: <on_bad_row>
        rename: <rename>
        columns:
          id: <column>
    trigger_rule: <trigger_rule>
    retry:
      <retry>
    checks:
      - where: id is not null
        on_fail: <on_fail>
"""

# What is offered there, among others.
OFFERED = {
    "top": {"description", "schedule", "timezone", "vars", "defaults"},
    "param": {"type", "default", "enum", "description"},
    "task": {"ingest", "transform", "load", "run", "depends_on", "when", "retry", "checks"},
    "csv": {"delimiter", "encoding", "columns", "rename", "on_bad_row"},
    "flow": {"delimiter", "encoding", "columns"},
    "ingest": {"csv", "jsonl", "parquet", "http"},
    "load": {"csv", "jsonl", "parquet", "outbox", "profiles"},
    "transform": {"sql", "clean", "rules", "identity", "recommend", "render"},
    "pagination": {"page", "cursor"},
    "wait": {"for", "until"},
    "retry": {"limit", "delay", "factor", "max_delay", "jitter"},
    "header": {"true", "false"},
    "on_bad_row": {"stop", "quarantine"},
    "rename": {"snake_case"},
    "column": {"string", "int64", "date", "decimal(10,2)"},
    "trigger_rule": {"all_success", "all_done", "none_failed", "always"},
    "on_fail": {"stop", "quarantine", "warn"},
}

# Where there is something to say.
SAMPLE = """\
dag: sample
schedule: 0 2 * * *
params:
  least: {type: integer, default: 3}
tasks:
  orders:
    ingest:
      csv:
        path: orders.csv
        header: true
        on_bad_row: quarantine
        rename: {ID: id}
    trigger_rule: all_done
    retry: {limit: 3, delay: 10s}
    checks:
      - rows: {min: 1}
  file:
    load:
      parquet: {path: out/orders.parquet, compression: snappy}
    from: orders
"""

# What is wrong in the line, and what the editor says of it.
FAULTS = {
    "an unknown key of a DAG": (
        "tasks: {a: {noop: }}\nscedule: 0 2 * * *  # here\n", "Property scedule is not allowed"),
    "an unknown key of a task": (
        "tasks:\n  a:\n    noop:\n    retries: 3  # here\n", "Property retries is not allowed"),
    "an unknown connector": (
        "tasks:\n  a:\n    ingest:\n      cvs: {path: a.csv}  # here\n", "Property cvs is not allowed"),
    "an unknown setting": (
        "tasks:\n  a:\n    ingest:\n      csv:\n        path: a.csv\n        delimeter: ;  # here\n",
        "Property delimeter is not allowed"),
    "an unknown key of retry": (
        "tasks:\n  a:\n    noop:\n    retry:\n      limits: 3  # here\n", "Property limits is not allowed"),
    "a setting that is missing": (
        "tasks:\n  a:\n    ingest:\n      csv: {}  # here\n", 'Missing property "path"'),
    "a text for a list": ("tags: shop  # here\ntasks: {a: {noop: }}\n", 'Expected "array"'),
    "a text for a number": (
        "tasks:\n  a:\n    noop:\n    max_parallel: many  # here\n", 'Expected "integer"'),
    "a text for true or false": (
        "tasks:\n  a:\n    ingest:\n      csv:\n        path: a.csv\n        header: maybe  # here\n",
        "expression"),
    "a word that is not one of the rules": (
        "tasks:\n  a:\n    noop:\n    trigger_rule: sometimes  # here\n", '"none_failed"'),
    "a word that is not one of a setting's": (
        "tasks:\n  a:\n    ingest:\n      csv:\n        path: a.csv\n        on_bad_row: skip  # here\n",
        '"quarantine"'),
    "a type of column that there is not": (
        "tasks:\n  a:\n    ingest:\n      csv:\n        path: a.csv\n        columns:\n"
        "          id: text  # here\n", "`int64`"),
    "a type of output that there is not": (
        "tasks:\n  a:\n    run: [echo]\n    outputs:\n      total: intger  # here\n", '"integer"'),
    "a span without a unit": (
        "tasks:\n  a:\n    noop:\n    timeout: 3 hours  # here\n", "`10s`"),
    "a name that is none": ("tasks:\n  Big-Task: {noop: }  # here\n", "letter"),
    "two actions": (
        "tasks:\n  a:\n    noop:  # here\n    run: [echo]  # here\n", "one action"),
    "no action": ("tasks:\n  a:  # here\n    depends_on: [b]\n", "needs an action"),
    "two connectors": (
        "tasks:\n  a:\n    ingest:\n      csv: {path: a.csv}  # here\n      jsonl: {path: b}  # here\n",
        "one connector"),
    "two rules in one check": (
        "tasks:\n  a:\n    noop:\n    checks:\n      - where: a > 1  # here\n        unique: a  # here\n",
        "one rule"),
}


@pytest.fixture(scope="module")
def printed(binary, tmp_path_factory):
    """What the binary prints, in a file."""
    path = tmp_path_factory.mktemp("schema") / "dag.schema.json"
    path.write_text(Home(binary, path.parent).call("schema").out)
    return path


@pytest.fixture(scope="module")
def schema(printed):
    return json.loads(printed.read_text())


@pytest.fixture(scope="module")
def editor(printed, tmp_path_factory):
    """An editor whose settings give all YAML files the schema."""
    editor = Editor(tmp_path_factory.mktemp("editor"), {"schemas": {
        printed.as_uri(): ["*.yaml", "!_*.yaml", "!*.test.yaml"]}})
    try:
        editor.wait_until_ready(FAULTY)
        yield editor
    finally:
        editor.close()


@pytest.fixture(scope="module")
def line(printed):
    """The line with which a document names its schema."""
    return f"# yaml-language-server: $schema={printed}\n"


@pytest.fixture(scope="module")
def plain_editor(line, tmp_path_factory):
    """An editor whose settings say nothing of schemas."""
    editor = Editor(tmp_path_factory.mktemp("plain"), {})
    try:
        editor.wait_until_ready(line + FAULTY)
        yield editor
    finally:
        editor.close()


def at(place):
    """The draft with the cursor in one place, and nothing in the others."""
    lines = []
    for line in DRAFT.replace(f"<{place}>", CURSOR).splitlines():
        kept = re.sub(r"<\w+>", "", line)
        if kept.strip():
            lines.append(kept)
    return "\n".join(lines) + "\n"


def words(editor, place):
    return set(editor.open(at(place)).completions())


def task(schema):
    return schema["$defs"]["task"]


def later(mapping):
    """The keys of a mapping that this version knows but cannot run."""
    return [key for key, value in mapping["properties"].items()
            if "cannot run" in json.dumps(value)]


@pytest.mark.parametrize("place", OFFERED)
def test_completion(editor, place):
    assert OFFERED[place] - words(editor, place) == set()


def test_completion_leaves_out_what_is_no_use(editor, schema):
    """Keys that the mapping has already, and keys that this version cannot run."""
    assert not words(editor, "top") & {"dag", "params", "tasks", *later(schema)}
    assert not words(editor, "task") & {*later(task(schema))}
    assert "path" not in words(editor, "csv")


def test_completion_goes_on_after_the_key(editor):
    """What is written for a key ends where its value begins; no example is put there, and no null."""
    for place in ["top", "param", "task", "csv", "ingest", "load", "transform"]:
        for label, item in editor.open(at(place)).completions().items():
            text = item["insertText"]
            assert ":" in text, f"{place}: {label}"
            assert not re.search(r": (\$\{\d+:)?(null|select)", text), f"{place}: {label}"
    # A value that is a mapping has no label of its own.
    assert "[object Object]" not in words(editor, "settings")


@pytest.mark.parametrize("key, said", [
    ("schedule:", "When runs are due"),
    ("tasks:", "The tasks, by name."),
    ("orders:", "one action"),
    ("least:", "param"),
    ("ingest:", "Reads rows from a connector"),
    ("csv:", "Rows from and to files of separated values"),
    ("path:", "Files are read in the order"),
    ("header:", "Whether the first row of each file names the columns."),
    ("on_bad_row:", "What to do with a row"),
    ("on_bad_row:", "`stop`: The source stops with an error"),
    ("rename:", "`{old: new}`"),
    ("trigger_rule:", "What must have become of the tasks before."),
    ("retry:", "How often a failed attempt is tried again, `3`"),
    ("limit:", "Tries after the first one."),
    ("rows:", "The table has so many rows."),
    ("min:", "At least"),
    ("load:", "Writes the table of `from` to a connector"),
    ("compression:", "How columns are packed."),
    ("from:", "The table it reads"),
])
def test_hover(editor, key, said):
    found = hover(editor, key)
    assert said in found
    # No names of the program's own, no remains of what the server puts together.
    assert "Config" not in found and "||" not in found, found


def hover(editor, key, line=""):
    assert key in SAMPLE
    text = line + SAMPLE.replace(key, key[:2] + CURSOR + key[2:], 1)
    return editor.open(text).hover()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(editor, fault):
    """It is said at its line, and nothing is said of the others."""
    text, said = FAULTS[fault]
    here = [i for i, line in enumerate(text.splitlines(), 1) if line.endswith("# here")]
    found = editor.open(text).diagnostics()
    assert sorted(line for line, _ in found) == here, found
    assert all(said in message for _, message in found), found


def test_keys_that_cannot_run_yet(editor, schema):
    """Each is said to be one, as `validate` does, whatever its value."""
    keys = later(task(schema))
    text = "tasks:\n  a:\n    noop:\n" + "".join(f"    {key}: 1\n" for key in keys)
    found = editor.open(text).diagnostics()
    said = {line for line, message in found if "cannot run it yet" in message}
    assert said == {4 + i for i in range(len(keys))}, found


def test_sound_documents(editor):
    """The sample, and every DAG of the repository."""
    assert editor.open(SAMPLE).diagnostics() == []
    paths = sorted(path for path in (ROOT / "dags").rglob("*.yaml") 
                   if ".test." not in path.name and not path.name.startswith("_"))
    assert paths
    found = {path.name: editor.open(path.read_text()).diagnostics() for path in paths}
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_what_stands_beside_dags_is_left_alone(editor):
    """As the documentation says, patterns leave out what is no DAG."""
    for name in ("_defaults.yaml", "orders.test.yaml"):
        assert editor.open("owner: me\n", name).diagnostics() == []
    assert editor.open("owner: me\n", "orders.yaml").diagnostics() != []


def test_a_document_that_names_its_schema(plain_editor, line):
    assert "schedule" in plain_editor.open(line + at("top")).completions()
    assert "When runs are due" in hover(plain_editor, "schedule:", line)
    text, said = FAULTS["an unknown key of a DAG"]
    ((where, message),) = plain_editor.open(line + text).diagnostics()
    assert where == 3 and said in message
    assert plain_editor.open(line + SAMPLE).diagnostics() == []
    # Without the line nothing is known of it.
    assert plain_editor.open(text).diagnostics() == []


def test_files_of_tests_have_a_schema_of_their_own(plain_editor, binary, tmp_path):
    """What editors offer, say and mark in `orders.test.yaml`."""
    path = tmp_path / "tests.schema.json"
    path.write_text(Home(binary, tmp_path).call("schema", "--tests").out)
    line = f"# yaml-language-server: $schema={path}\n"
    text = line + "tests:\n  one:\n    params: {}\n    " + CURSOR + "\n    expect:\n      state: failed\n"
    assert {"stubs", "answers", "now"} <= set(plain_editor.open(text).completions())
    text = line + "tests:\n  one:\n    expect:\n      tasks:\n        a: " + CURSOR + "\n"
    assert {"skipped", "upstream_failed"} <= set(plain_editor.open(text).completions())
    text = line + "tests:\n  one:\n    stubs: {a: {rwos: []}}  # here\n    expect: {state: failed}\n"
    ((where, message),) = plain_editor.open(text).diagnostics()
    assert where == 4 and "rwos is not allowed" in message
    for path in sorted((ROOT / "dags").rglob("*.test.yaml")):
        assert plain_editor.open(line + path.read_text()).diagnostics() == [], path.name
