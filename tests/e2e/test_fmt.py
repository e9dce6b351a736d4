"""`tidemill fmt`: files in their one form, and nothing but their layout changed."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

import pytest

from test_docs import blocks
from tidemill import ROOT, eventually

UNTIDY = """\
# What a shop sold.
tasks:
  totals:   # by region
    # three times
    retry: 3
    transform:
      sql: |
        select region, sum(amount) as amount  -- no '#' is a comment here
        from orders group by region
    checks: [{unique: region}]


  orders: {depends_on: [first], ingest: {csv: {path: 'orders.csv'}}}
  first: {noop: {}}
params: {least: {default: 0, type: number}}   # beside
dag: shop
# at the end
"""
TIDY = """\
# What a shop sold.
dag: shop
params: {least: {type: number, default: 0}}   # beside

tasks:
  totals:   # by region
    transform:
      sql: |
        select region, sum(amount) as amount  -- no '#' is a comment here
        from orders group by region
    # three times
    retry:
      limit: 3
    checks: [{unique: [region]}]

  orders: {ingest: {csv: {path: orders.csv}}, depends_on: [first]}
  first: {noop: {}}
# at the end
"""
SMALL = "tasks: {a: {retry: 1, run: [x]}}\n"
SMALL_TIDY = "tasks: {a: {run: [x], retry: {limit: 1}}}\n"

# Files of all kinds as they are written, and as they should be.
FILES = {
    "shop.yaml": (UNTIDY, TIDY),
    "more/deep/small.yml": (SMALL, SMALL_TIDY),
    "shop.test.yaml": (
        "tests:\n  one:\n    expect: {tables: {a: [{b: 1}]}, state: succeeded}\n    params: {least: 1}\n",
        "tests:\n  one:\n    params: {least: 1}\n    expect: {state: succeeded, tables: {a: [{b: 1}]}}\n"),
    "_defaults.yaml": (
        "defaults:\n  retry: 3\nowner: 'me'\n", "owner: me\n\ndefaults:\n  retry:\n    limit: 3\n"),
    "connections.yaml": (
        "shop:\n   type: 'http'\n   base_url: https://shop.test\n", "shop:\n  type: http\n  base_url: https://shop.test\n"),
    "pools.yaml": ("slow:   2\n", "slow:\n  slots: 2\n"),
    "calendars.yaml": (
        "ch:\n   days: ['2026-01-01']\n", None),
}
# What is none of its business.
OTHERS = {"secrets.yaml": "key:   'x'\n", ".hidden.yaml": SMALL, ".git/a.yaml": SMALL, "notes.txt": "a:   b\n",
          "data.json": '{"a":   1}\n'}


def fmt(home, *words, code=0):
    return home.call("fmt", *words, code=code, cwd=home.folder)


def piped(home, text):
    """What `fmt -` makes of a text."""
    given = text if isinstance(text, bytes) else text.encode()
    done = subprocess.run([home.binary, "fmt", "-"], input=given, capture_output=True,
                          env=home.env, timeout=60, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def tree(folder):
    """Every file below a folder with its content and mode."""
    return {str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def folder(home):
    for name, (text, _) in FILES.items():
        home.file(name, text)
    for name, text in OTHERS.items():
        home.file(name, text)
    (home.dags / "secrets.yaml").chmod(0o600)
    return home


# ---- In place.

def test_a_file(home):
    path = home.dag("shop", UNTIDY)
    done = fmt(home, "dags/shop.yaml")
    assert (done.out, done.err) == ("dags/shop.yaml\n1 file, 1 changed\n", "")
    assert path.read_text() == TIDY
    before = path.stat()
    assert fmt(home, "dags/shop.yaml").out == "1 file, 0 changed\n"
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino), "it was written again"


def test_a_folder(folder):
    before = tree(folder.dags)
    # Without a path it is that of the DAGs.
    done = fmt(folder)
    said = done.out.splitlines()
    assert said[-1] == f"{len(FILES)} files, {len(FILES)} changed" and done.err == ""
    assert said[:-1] == sorted(f"dags/{name}" for name in FILES)
    after = tree(folder.dags)
    for name, (_, tidy) in FILES.items():
        if tidy is not None:
            assert after[name][0].decode() == tidy, name
    for name in OTHERS:
        assert after[name] == before[name], name
    assert after.keys() == before.keys(), "a file was left behind"
    assert fmt(folder, "dags").out == f"{len(FILES)} files, 0 changed\n"
    assert tree(folder.dags) == after


def test_several_paths(folder):
    done = fmt(folder, "dags/more", "dags/pools.yaml")
    assert done.out == "dags/more/deep/small.yml\ndags/pools.yaml\n2 files, 2 changed\n"
    assert (folder.dags / "shop.yaml").read_text() == UNTIDY


def test_nothing_to_do(home):
    assert fmt(home, "dags").out == "0 files, 0 changed\n"
    assert fmt(home, "--check", "dags").out == "0 files, 0 would change\n"


def test_it_makes_no_home(folder):
    fmt(folder)
    assert not folder.path.exists()


def test_comments_alone(home):
    for name in ("connections.yaml", "pools.yaml", "_defaults.yaml"):
        path = home.file(name, "\n\n# none yet   \n\n\n# shop: {}\n")
        fmt(home, "dags")
        assert path.read_text() == "# none yet\n\n# shop: {}\n", name


# ---- --check.

def test_check_writes_nothing(folder):
    before = tree(folder.dags)
    done = fmt(folder, "--check", code=1)
    assert done.out.splitlines() == sorted(f"dags/{name}" for name in FILES) + [
        f"{len(FILES)} files, {len(FILES)} would change"]
    assert done.err == "error[TM0803]: run `tidemill fmt` to lay them out\n"
    assert tree(folder.dags) == before
    fmt(folder)
    done = fmt(folder, "--check")
    assert (done.out, done.err) == (f"{len(FILES)} files, 0 would change\n", "")


def test_check_of_what_is_wrong(home):
    home.dag("bad", "tasks: [\n")
    home.dag("good", SMALL)
    done = fmt(home, "--check", "dags", code=2)
    assert done.out == "dags/good.yaml\n2 files, 1 would change, 1 refused\n"
    assert done.err.startswith("error[TM0001]: ") and " --> dags/bad.yaml:1:8\n" in done.err


# ---- The standard input.

def test_standard_input(home):
    assert piped(home, UNTIDY) == (0, TIDY, "")
    assert piped(home, TIDY) == (0, TIDY, "")
    code, out, err = piped(home, "tasks:\n  a: {run: [x}\n")
    assert (code, out) == (2, "")
    assert err.startswith("error[TM0001]: ") and " --> <stdin>.yaml:2:" in err
    code, out, err = piped(home, "")
    assert (code, out) == (2, "") and err.startswith("error[TM0011]: the file is empty\n")


@pytest.mark.parametrize("words", [["-", "dags"], ["dags", "-"], ["--check", "-"], ["-", "-"]])
def test_standard_input_stands_alone(home, words):
    home.dag("a", SMALL)
    done = fmt(home, *words, code=1)
    assert (done.out, done.err) == ("", "error[TM0801]: `-` stands alone: it prints the text laid out\n")
    assert (home.dags / "a.yaml").read_text() == SMALL


# ---- What cannot be formatted.

WRONG = {
    "no YAML": (b"tasks: [\n", "TM0001"),
    "a tab": (b"tasks:\n\ta: {run: [x]}\n", "TM0004"),
    "a control character": (b"description: a\x07b\ntasks: {a: {run: [x]}}\n", "TM0003"),
    "no UTF-8": (b"description: \xff\ntasks: {a: {run: [x]}}\n", "TM0003"),
    "a key twice": (b"tasks:\n  a: {run: [x]}\n  a: {run: [y]}\n", "TM0005"),
    "a merge key": (b"x-a: &a {retry: 3}\ntasks: {a: {<<: *a, run: [x]}}\n", "TM0006"),
    "two documents": (b"tasks: {a: {run: [x]}}\n---\na: 1\n", "TM0008"),
    "a list": (b"- a\n", "TM0103"),
    "a word": (b"a\n", "TM0103"),
    "nothing": (b"", "TM0011"),
    "a comment": (b"# none\n", "TM0011"),
}


@pytest.mark.parametrize("text,code", WRONG.values(), ids=WRONG)
def test_a_file_with_errors_is_left_as_it_is(home, text, code):
    bad = home.file("bad.yaml", text)
    good = home.dag("good", SMALL)
    last = home.dag("last", SMALL)
    done = fmt(home, "dags", code=2)
    assert done.out == "dags/good.yaml\ndags/last.yaml\n3 files, 2 changed, 1 refused\n"
    assert done.err.startswith(f"error[{code}]: ") and " --> dags/bad.yaml:" in done.err, done.err
    assert bad.read_bytes() == text
    assert good.read_text() == last.read_text() == SMALL_TIDY
    assert sorted(path.name for path in home.dags.iterdir()) == ["bad.yaml", "good.yaml", "last.yaml"]


@pytest.mark.parametrize("text", [
    "foo: 1\ntasks: {a: {run: [x], bar: 2}}\n",             # keys that nobody knows
    "tasks: {a: {run: [x], retry: many}}\n",                # values that are not allowed
    "tasks: {a: {transform: {sql: select from}}}\n",
    "tasks: {a: {run: [x], depends_on_past: true}}\n",          # keys of the future
])
def test_what_is_wrong_with_the_dag_is_no_matter(home, text):
    path = home.dag("d", text)
    fmt(home, "dags")
    before = home.call("validate", path, code=None)
    path.write_text(text)
    after = home.call("validate", path, code=None)
    heads = lambda done: sorted(re.findall(r"^(?:error|warning)\[.*", done.err, re.M))  # noqa: E731
    assert heads(before) == heads(after) != []


def test_what_is_no_file(home):
    home.dag("a", SMALL)
    done = fmt(home, "dags/none.yaml", "dags/a.yaml", code=2)
    assert done.out == "dags/a.yaml\n2 files, 1 changed, 1 refused\n"
    assert done.err.startswith("error[TM0013]: cannot read `dags/none.yaml`: No such file or directory")
    os.mkfifo(home.dags / "pipe.yaml")
    done = fmt(home, "dags/pipe.yaml", code=2)
    assert "is a pipe or a device, not a file" in done.err
    (home.dags / "away.yaml").symlink_to("nowhere.yaml")
    assert "cannot read `dags/away.yaml`" in fmt(home, "dags/away.yaml", code=2).err


# ---- Files stay what they are.

@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o755])
def test_permissions_stay(home, mode):
    path = home.dag("a", SMALL)
    path.chmod(mode)
    fmt(home, "dags")
    assert path.read_text() == SMALL_TIDY
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners_stay(home):
    path = home.dag("a", SMALL)
    os.chown(path, 1000, 1000)
    fmt(home, "dags")
    assert path.read_text() == SMALL_TIDY
    assert (path.stat().st_uid, path.stat().st_gid) == (1000, 1000)


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace")
def test_nobody_else_reads_a_secret_on_its_way(home):
    """What is written beside a file is never more open than the file."""
    path = home.file("secrets.yaml", "key:   'x'\n")
    path.chmod(0o600)
    trace = home.folder / "trace"
    subprocess.run(["strace", "-f", "-e", "trace=openat", "-o", trace, home.binary, "fmt", path],
                   capture_output=True, env=home.env, timeout=60, check=True)
    (made,) = re.findall(r"openat\(.*?\.secrets\.yaml\..*?O_CREAT.*?, (0\d+)\)", trace.read_text())
    assert int(made, 8) & 0o077 == 0, made


def test_links_stay(home):
    """What a link leads to is formatted, wherever it is."""
    there = home.folder / "elsewhere" / "real.yaml"
    there.parent.mkdir()
    there.write_text(SMALL)
    link = home.dags / "link.yaml"
    link.symlink_to("../elsewhere/real.yaml")
    assert fmt(home, "dags").out == "dags/link.yaml\n1 file, 1 changed\n"
    assert os.readlink(link) == "../elsewhere/real.yaml"
    assert there.read_text() == SMALL_TIDY
    assert [path.name for path in there.parent.iterdir()] == ["real.yaml"]
    # Of two names of one file the first one changes it.
    there.write_text(SMALL)
    (home.dags / "second.yaml").symlink_to("link.yaml")
    assert fmt(home, "dags").out == "dags/link.yaml\n2 files, 1 changed\n"


def test_other_systems(home):
    """CRLF, lone CR and a byte-order mark go; what is said stays."""
    for written in (UNTIDY.replace("\n", "\r\n"), UNTIDY.replace("\n", "\r"), "\ufeff" + UNTIDY,
                    "\ufeff" + UNTIDY.replace("\n", "\r\n"), UNTIDY.rstrip("\n")):
        path = home.dags / "shop.yaml"
        path.write_bytes(written.encode())
        before = version(home, path)
        fmt(home, "dags")
        assert path.read_bytes() == TIDY.encode()
        assert version(home, path) == before
        assert piped(home, written) == (0, TIDY, "")


# ---- Texts mean what they meant.

def version(home, path):
    """The version of a DAG; None if it is none."""
    done = home.call("plan", path, "--json", code=None)
    return done.json()["version"] if done.out else None


TEXTS = {
    "anchors": "x-r: &r {limit: 3}\ntasks:\n  b: {retry: *r, run: [x]}\n  a: {retry: &d 3, run: [x]}\n  c: {retry: *d, run: [y]}\n",
    "an anchor before its alias": "tasks:\n  b:\n    retry: &r {limit: 3}\n    run: [x]\n  c:\n    retry: *r\n    run: [y]\n",
    "blocks": "tasks:\n  a:\n    run: |2+\n        echo a  \n       echo b\n\n\n  b: {run: 'it''s'}\n  c:\n    run: >-\n"
              "      folded\n      text\n\n      more\n        indented\n  d:\n    run: plain\n      over lines\n",
    "a block and a comment": "tasks:\n  a:\n    run: |-\n      x\n# not text\n    retry: 2\n  b:\n    run: |+\n      x\n\n\n# end\n",
    "escapes": 'tasks:\n  a:\n    run: [x]\n    env: {A: " x", B: "x ", C: "a\\nb", D: "\\e\\x41", E: "\\\\", F: "\'", G: \'"\', H: "a\\tb\\u00e9"}\n',
    "words": "tasks:\n  a:\n    run: [x]\n    env: {A: '1', B: 'true', C: \"null\", D: '~', E: '- x', F: 'a: b', G: 'a #b', H: '#x', I: '&x', J: '*x',"
             " K: '!x', L: '|', M: '%x', N: '@x', O: '`x', P: '', Q: 'yes', R: '0o17', S: '1e3', T: '2026-01-01', U: '<<', V: '[x', W: 'x,y', X: 'x:'}\n",
    "numbers": "params: {a: {type: number, default: 1.50}, b: {type: integer, default: +1}, c: {type: json, default: [1e3, 0x1f, 0o17, .5, -0, yes, ~]}}\ntasks: {a: {run: [x]}}\n",
    "quoted over lines": "tasks:\n  a:\n    run: \"one\n      two\\\n      three\n\n      four\"\n  b:\n    run: 'one\n      two\n\n      three'\n",
    "marks": "---\n# c\ntasks: {a: {run: [x]}}\n...\n",
    "keys": "? tasks\n: ? 'a'\n  : \"run\" : [x]\n",
    "brackets": "tasks: {\n  a: {run: [x, # one\n     y # two\n   ]}, # three\n  b: {noop: } # four\n}\n",
    "lists": "tasks:\n  a:\n    run:\n    - x\n    -   y\n  b:\n    transform: {sql: select 1 as x}\n    checks:\n    - unique: x\n      on_fail: warn   # w\n    # c\n    -\n      where: x > 0\n",
    "short forms": "tasks:\n  a: {wait: 10m}\n  b: {approve: Go on?}\n  c: {run: [x], cache: 1d, outputs: {n: integer, t: {type: table}}}\n"
                   "  d: {run: [x], from: c.t}\n  e: {run: [x], from: {z: c.t}}\n  g: {tasks: {m: {transform: {sql: select 1 as x}}}, outputs: m}\n"
                   "  h: {noop: {}}\n  i: {transform: {clean: {from: g, dedupe: [x]}}, checks: [{not_null: x}]}\n",
    "a group": "tasks:\n  g:\n    finally: [{run: [y]}, {timeout: 1m, run: [z]}]\n    outputs: {n: tasks.m.rows, table: m}\n    tasks:\n"
               "      m: {bind: {i: item}, transform: {sql: 'select $i as x'}}\n    for_each: '[1]'\n    retry: 2\n",
    "order that counts": "vars: {a: 1, b: '${{ vars.a }}'}\nparams: {z: {default: 1, type: integer}, a: {type: string, default: x}}\n"
                         "tasks:\n  t: {transform: {clean: {from: s, columns: {z: x, a: x}}}}\n  s: {transform: {sql: 'select 1 as x'}}\n",
    "keys of the future": "retry: 2\nconcurrency: 1\ntriggers: [{when: 'true', cron: '0 2 * * *'}]\ntasks:\n  a: {depends_on_past: true, rate: {per: 1m, limit: 10}, run: [x]}\n",
    "expressions": "tasks:\n  a: {run: ['${{ run.id }}', \"${{ 'a' }}\", 'a: b', http://x.y/z], when: \"run.number > 1\"}\n",
    "other letters": "description: \"größe 😀 \\U0001F600 \\N \\L\"\ntasks: {a: {run: [\"ä\", '日本語']}}\n",
    "comments": "# head\n\n# second\ntasks: # t\n  # before a\n  a: # beside a\n    # before retry\n    retry: # r\n      # in retry\n      limit: 3 # l\n"
                "      # end of retry\n    # before run\n    run: # c\n      # first\n      - x # one\n      # last\n    # end of a\n  # between\n\n"
                "  # before b\n  b: {noop: } # bb\n  # end of tasks\n# end\n",
    "long": "description: " + "word " * 60 + "\ntasks: {a: {run: [x, '" + "y" * 150 + "'], env: {" + ", ".join(f"V{n}: value" for n in range(30)) + "}}}\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_means_what_it_meant(home, text):
    path = home.dag("d", text)
    before = version(home, path)
    fmt(home, "dags")
    tidy = path.read_text()
    assert version(home, path) == before is not None
    assert comments(tidy) == comments(text)
    assert fmt(home, "dags").out == "1 file, 0 changed\n"
    assert piped(home, text) == (0, tidy, "")
    assert all(line == line.rstrip() for line in tidy.split("\n") if "echo" not in line)


def comments(text):
    return sorted(re.findall(r"(?:^|(?<=\s))# [a-z ]+", text, re.M))


def test_the_documentation(home):
    """All YAML that it shows can be formatted, and the DAGs in it stay what they are."""
    texts = [text for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
             for text in blocks(page.relative_to(ROOT), "yaml")]
    paths = [home.dag(f"text{n}", text) for n, text in enumerate(texts)]
    before = {path: version(home, path) for path, text in zip(paths, texts) if re.search("^tasks:", text, re.M)}
    refused = fmt(home, code=None).err
    assert set(re.findall(r"^error\[(.*?)\]", refused, re.M)) <= {"TM0001", "TM0008", "TM0103"}
    assert f"{len(paths)} files, 0 changed" in fmt(home, code=None).out
    assert {path: version(home, path) for path in before} == before
    assert sum(version is not None for version in before.values()) > 20


# ---- Elsewhere nothing changes.

def test_the_dags_of_the_repository(home):
    """Formatted, they have the same versions, and their tests pass as before."""
    copy = home.dags / "all"
    shutil.copytree(ROOT / "dags", copy, ignore=shutil.ignore_patterns("out"))
    files = [path for path in sorted(copy.rglob("*.yaml"))
             if not path.name.endswith(".test.yaml") and not path.name.startswith("_")
             and path.stem not in ("connections", "pools", "calendars", "secrets")]
    assert len(files) > 20
    versions = lambda: {path.name: version(home, path) for path in files}  # noqa: E731
    # Personalization has no tests of its own, and its data are fetched.
    tested = [path for path in files if path.with_suffix(".test.yaml").exists()]
    results = lambda: sorted(  # noqa: E731
        (test["file"], test["name"], test["passed"]) for test in home.call("test", copy, "--json").json()["tests"])
    told, ran = versions(), results()
    assert None not in told.values() and {name for name, *_ in ran} == {
        str(path.with_suffix(".test.yaml")) for path in tested}
    home.call("fmt", copy)
    home.call("fmt", "--check", copy)
    assert versions() == told
    assert results() == ran and all(passed for *_, passed in ran)
    done = home.call("validate", copy)
    assert ": 0 errors, 0 warnings\n" in done.out


def test_a_server_makes_no_new_version(home):
    home.dag("shop", UNTIDY)
    home.file("orders.csv", "region,amount\neu,1\n")
    home.file("_defaults.yaml", "defaults: {retry: 3}\nowner: 'me'\n")
    server = home.serve()
    before = server.get("/api/v1/dags/shop")
    first = server.trigger("shop")
    assert server.wait(first)["state"] == "succeeded"
    assert fmt(home).out.endswith("2 files, 2 changed\n")
    # The text that is shown is the new one, the DAG is the old one.
    eventually("the new text", lambda: server.get("/api/v1/dags/shop")["source"] == TIDY)
    after = server.get("/api/v1/dags/shop")
    differ = {key for key in before if before[key] != after[key]}
    assert differ <= {"source", "recent"}, differ
    second = server.trigger("shop")
    assert server.wait(second)["state"] == "succeeded"
    assert server.run(second)["version"] == server.run(first)["version"] == before["version"]
    assert "this is the deployed version" in home.call("plan", home.dags / "shop.yaml").out
    # A change of what it says does make one.
    (home.dags / "shop.yaml").write_text(TIDY.replace("limit: 3", "limit: 4"))
    eventually("the new version", lambda: server.get("/api/v1/dags/shop")["version"] != before["version"])


def test_a_server_never_sees_half_a_file(home):
    """The new text is put in the place of the old one at once."""
    path = home.dag("d", "tasks:\n" + "".join(f"  t{n}: {{retry: 3, run: [echo, a]}}\n" for n in range(3000)))
    formatting = subprocess.Popen([home.binary, "fmt", str(path)], stdout=subprocess.DEVNULL)
    seen = set()
    while formatting.poll() is None:
        seen.add(len(path.read_bytes()))
    seen.add(len(path.read_bytes()))
    assert formatting.returncode == 0 and len(seen) <= 2, seen


# ---- What may not be written, and what is left alone.

@pytest.fixture
def somebody(home):
    """`fmt` as a user who is not root, in a folder of theirs; what it is called on, and how."""
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    binary = folder / "tidemill"
    dags = folder / "dags"
    dags.mkdir()
    me = os.geteuid()
    if me == 0:
        shutil.copy2(home.binary, binary)
        binary.chmod(0o755)
        folder.chmod(0o755)
        os.chown(dags, 65534, 65534)
    else:
        binary.symlink_to(home.binary)

    def write(name, text, mode=0o644):
        path = dags / name
        path.write_text(text)
        path.chmod(mode)
        if me == 0:
            os.chown(path, 65534, 65534)
        return path

    def call(*words):
        user = {"user": 65534, "group": 65534, "extra_groups": []} if me == 0 else {}
        return subprocess.run([str(binary), "fmt", *map(str, words)], capture_output=True, text=True,
                              env=home.env, cwd=folder, timeout=60, check=False, **user)

    yield dags, write, call
    dags.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written(somebody):
    dags, write, call = somebody
    path = write("a.yaml", SMALL)
    dags.chmod(0o555)
    done = call("dags")
    assert done.returncode == 2 and done.stdout == "1 file, 0 changed, 1 refused\n"
    assert done.stderr == "error[TM0805]: cannot write `dags/a.yaml`: Permission denied (os error 13)\n\n"
    assert path.read_text() == SMALL
    assert call("--check", "dags").stdout == "dags/a.yaml\n1 file, 1 would change\n"


def test_a_file_that_cannot_be_read(somebody):
    _, write, call = somebody
    write("a.yaml", SMALL, 0o000)
    other = write("b.yaml", SMALL)
    done = call("dags")
    assert done.returncode == 2
    assert done.stderr.startswith("error[TM0013]: cannot read `dags/a.yaml`: Permission denied")
    assert other.read_text() == SMALL_TIDY


def test_a_file_that_may_not_be_written_is_not(somebody):
    """That its folder may be written is no reason to put another file in its place."""
    _, write, call = somebody
    path = write("a.yaml", SMALL, 0o444)
    done = call("dags")
    assert path.read_text() == SMALL
    assert done.returncode == 2 and done.stdout == "1 file, 0 changed, 1 refused\n"
    assert done.stderr.startswith("error[TM0805]: cannot write `dags/a.yaml`: "), done.stderr


def test_a_file_that_cannot_be_written_keeps_no_other_from_it(somebody):
    dags, write, call = somebody
    write("z.yaml", SMALL)
    (dags / "a").mkdir()
    (dags / "a" / "a.yaml").write_text(SMALL)
    (dags / "a").chmod(0o555)
    done = call("dags")
    assert done.stderr.startswith("error[TM0805]: cannot write `dags/a/a.yaml`: ") and done.returncode == 2
    assert done.stdout == "dags/z.yaml\n2 files, 1 changed, 1 refused\n"
    assert (dags / "z.yaml").read_text() == SMALL_TIDY


def test_what_is_no_dag_to_a_server_is_left_alone(home):
    """A server takes no DAGs from these folders: the YAML in them is of others."""
    home.dag("a", SMALL)
    for name in ("data", "out", "target"):
        home.file(f"{name}/list.yaml", "- a\n-   b\n")
        home.file(f"{name}/more.yaml", "tasks:   1\n")
    before = tree(home.dags)
    assert fmt(home, "dags").out == "dags/a.yaml\n1 file, 1 changed\n"
    after = tree(home.dags)
    assert {name for name in before if before[name] != after[name]} == {"a.yaml"}


def test_a_link_to_a_folder_above(home):
    home.dag("a", SMALL)
    (home.dags / "loop").symlink_to(".")
    assert fmt(home, "--check", "dags", code=1).out == "dags/a.yaml\n1 file, 1 would change\n"


def test_a_link_to_a_folder_elsewhere(home):
    home.dag("a", SMALL)
    there = home.folder / "elsewhere" / "b.yaml"
    there.parent.mkdir()
    there.write_text(SMALL)
    (home.dags / "away").symlink_to("../elsewhere")
    assert fmt(home, "dags").out == "dags/a.yaml\n1 file, 1 changed\n"
    assert there.read_text() == SMALL
