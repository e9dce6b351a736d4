"""Files that are no DAGs, of every kind, and good ones beside them."""

import codecs
import os
import random

GOOD = """dag: {name}
tasks:
  say:
    run: [echo, "{name}"]
  after:
    noop: {{}}
    depends_on: [say]
"""

# What the half-written files are cut from: something of most things.
WHOLE = """# What came in the night.
description: "Orders of the day"
schedule: "0 2 * * *"
params:
  region: {type: string, enum: [eu, us], default: eu}
tasks:
  orders:
    ingest:
      csv:
        path: "in/${{ date(run.interval.start) }}/*.csv"
        columns: {id: int64, amount: "decimal(12,2)"}
  big:
    transform:
      sql: |
        select * from orders
        where amount > 100 and region = $region
    when: tasks.orders.rows > 0
  done:
    run: |
      cat <<'END'
      it's ${{ params.region }}
      END
    depends_on: [big]
"""

TASK = "tasks:\n  a: {noop: {}}\n"
JUNK = 24
KINDS = {"list": "[a, 1]", "mapping": "{b: c}", "number": "1.5", "infinity": "-.inf",
         "text": "'a text'", "nothing": "", "boolean": "true"}


def bomb(levels, wide, kind="[]"):
    """Aliases of aliases: `wide` to the power of `levels` values."""
    open_, close = kind
    def row(values):
        return ", ".join(f"k{i}: {v}" if kind == "{}" else v for i, v in enumerate(values))
    text = f"x-0: &a0 {open_}{row(['1'] * wide)}{close}\n"
    for level in range(1, levels):
        text += f"x-{level}: &a{level} {open_}{row([f'*a{level - 1}'] * wide)}{close}\n"
    return text + TASK


def hostile():
    """What is meant to hurt: (name, content, codes), any of the codes will do."""
    deep = 100_000
    yield from [
        ("bomb-laughs", bomb(9, 9), "TM0002"),
        ("bomb-maps", bomb(10, 8, "{}"), "TM0002"),
        ("bomb-long", bomb(50, 2), "TM0009 TM0002"),
        ("bomb-wide", "x-a: &a [" + "1," * 6_000 + "]\nx-b: [" + "*a," * 100 + "]\n" + TASK, "TM0002"),
        ("bomb-texts", "x-a: &a \"" + "x" * 60_000 + "\"\nx-b: [" + "*a," * 101 + "]\n" + TASK, "TM0009"),
        ("bomb-keys", "x-a: &a\n" + "".join(f"  k{i}: v\n" for i in range(9_000))
         + "".join(f"x-{i}: *a\n" for i in range(90)) + TASK, "TM0002"),
        ("aliases-1000", "x-a: &a 1\nx-b: [" + "*a," * 1_000 + "]\n" + TASK, "TM0009"),
        ("cycle-list", "x-a: &a [*a]\n" + TASK, "TM0009"),
        ("cycle-map", "x-a: &a {b: *a}\n" + TASK, "TM0009"),
        ("cycle-key", "x-a: &a {? *a : b}\n" + TASK, "TM0009"),
        ("cycle-root", "&a\ntasks: *a\n", "TM0009"),
        ("cycle-two", "x-a: &a [*b]\nx-b: &b [*a]\n" + TASK, "TM0009"),
        ("deep-open", "[" * deep, "TM0002"),
        ("deep-closed", "x-a: " + "[" * deep + "]" * deep + "\n" + TASK, "TM0002"),
        ("deep-braces", "{a: " * deep, "TM0002"),
        ("deep-braces-closed", "x-a: " + "{a: " * deep + "1" + "}" * deep + "\n" + TASK, "TM0002"),
        ("deep-mixed", "x-a: " + "[{a: " * deep, "TM0002"),
        ("deep-dashes", "- " * deep + "a\n", "TM0002"),
        ("deep-questions", "? " * deep + "a\n", "TM0002"),
        ("deep-anchors", "&a " * deep + "b\n", "TM0001"),
        ("deep-tags", "!a " * deep + "b\n", "TM0001"),
        ("deep-indented", "\n".join(" " * i + "a:" for i in range(3_000)) + " b\n", "TM0002"),
        ("deep-65", "x-a: " + "[" * 65 + "]" * 65 + "\n" + TASK, "TM0002"),
        ("deep-expression", TASK[:-2] + ", when: \"" + "(" * 4_000 + "\"}\n", "TM0201"),
        ("deep-sql", "tasks: {a: {transform: {sql: \"" + "(" * deep + "\"}}}\n", "TM0301"),
        ("sql-casts", "tasks: {a: {transform: {sql: \"select " + "cast(" * 45 + "1\"}}}\n", "TM0301"),
        ("sql-cases", "tasks: {a: {transform: {sql: \"select "
         + "case+++ $c6 urs+or++a " * 45 + "1\"}}}\n", "TM0301"),
        ("loops", TASK[:-2] + ", when: \"" + "[1, 2, 3, 4, 5, 6, 7, 8, 9].all(x, " * 9 + "true"
         + ")" * 9 + "\"}\n", "TM0201"),
        ("params-20000", "params:\n" + "".join(f"  p{i}: {{type: string}}\n" for i in range(20_000))
         + "tasks:\n  a:\n    run: [b]\n    env:\n"
         + "".join(f"      E{i}: ${{{{ params.q{i} }}}}\n" for i in range(20_000)), "TM0202"),
        ("keys-1000000", "x-a:\n" + "".join(f" {i:x}:\n" for i in range(1_000_000)) + TASK, "TM0002"),
        ("items-1000000", "x-a: [" + "1," * 1_000_000 + "]\n" + TASK, "TM0002"),
        ("tasks-400000", "tasks:\n" + "".join(f" t{i:x}:\n" for i in range(400_000)), "TM0106 TM0103 TM0002"),
        ("large-comment", b"#" + b" " * (9 << 20) + b"\n" + TASK.encode(), "TM0002"),
        ("large-100-mb", b"# 0123456789abcdef\n" * 5_263_158, "TM0002"),
        ("long-line", "x-a: " + "é" * 2_000_000 + ": b\n" + TASK, "TM0001"),
        ("long-key", "x" * 2_000_000 + ": 1\n" + TASK, "TM0101 TM0001"),
        ("quotes-open", "x-a: \"" + "\\\"" * 1_000_000, "TM0001"),
        ("block-long", TASK + "  b:\n    run: |\n" + "      echo a\n" * 20_000, "TM0602"),
        ("mistakes-20000", "tasks:\n" + "".join(f"  t{i}: {{nop: {{}}}}\n" for i in range(20_000)), "TM0101 TM0106"),
    ]


def texts():
    """What is no text, or not in the way a text file is: (name, content, codes)."""
    good = GOOD.format(name="x").encode()
    yield from [
        ("bom-twice", codecs.BOM_UTF8 * 2 + good, "TM0003"),
        ("bom-inside", TASK.encode() + codecs.BOM_UTF8 + b"x-a: b\n", "TM0003"),
        ("utf16-le", "\ufeff".encode("utf-16-le") + good.decode().encode("utf-16-le"), "TM0003"),
        ("utf16-be", "\ufeff".encode("utf-16-be") + good.decode().encode("utf-16-be"), "TM0003"),
        ("utf16-le-bare", good.decode().encode("utf-16-le"), "TM0003"),
        ("utf16-be-bare", good.decode().encode("utf-16-be"), "TM0003"),
        ("utf32-le", good.decode().encode("utf-32"), "TM0003"),
        ("latin-1", "tasks:\n  a:\n    run: [echo, é]\n".encode("latin-1"), "TM0003"),
        ("windows-1252", "# “quoted”\n".encode("cp1252") + good, "TM0003"),
        ("shift-jis", "# 日本語\n".encode("shift-jis") + good, "TM0003"),
        ("nul-first", b"\0" + good, "TM0003"),
        ("nul-inside", good.replace(b"say", b"s\0ay"), "TM0003"),
        ("nul-last", good + b"\0", "TM0003"),
        ("nul-only", b"\0" * 4096, "TM0003"),
        ("escape", good.replace(b"echo", b"\x1b[31mecho"), "TM0003"),
        ("bell", b"# \a\n" + good, "TM0003"),
        ("delete", b"x-a: \x7f\n" + good, "TM0003"),
        ("c1", "x-a: \u009b31m\n".encode() + good, "TM0003"),
        ("empty", b"", "TM0011"),
        ("blank", b" \n\n  \n", "TM0011"),
        ("comment-only", b"# nothing yet\n", "TM0011"),
        ("marker-only", b"---\n", "TM0011 TM0103"),
        ("markers-only", b"---\n...\n", "TM0011 TM0103"),
        ("null", b"null\n", "TM0103"),
        ("tilde", b"~\n", "TM0103"),
        ("word", b"hello\n", "TM0103"),
        ("bracket", b"[\n", "TM0001"),
        ("brace", b"{\n", "TM0001"),
        ("brace-empty", b"{}\n", "TM0102"),
        ("json-list", b'[{"tasks": {}}]\n', "TM0103"),
        ("html", b"<!doctype html>\n<html><body>404: not found</body></html>\n", "TM0103 TM0001"),
        ("conflict", b"<<<<<<< HEAD\n" + good + b"=======\n" + good + b">>>>>>> theirs\n", "TM0001 TM0103"),
        ("python", b"import airflow\nwith DAG('x') as dag:\n    task = Task()\n", "TM0001 TM0103"),
        ("gzip", bytes.fromhex("1f8b0800000000000003"), "TM0003"),
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "TM0003"),
        ("elf", b"\x7fELF\x02\x01\x01" + bytes(57), "TM0003"),
    ]
    # Bytes that are no UTF-8: overlong, surrogate, beyond the last, cut, alone.
    for i, bad in enumerate(["c0af", "e080af", "f08080af", "eda080", "edbfbf", "f4908080",
                             "f888808080", "c3", "e282", "f09f92", "80", "bf", "fe", "ff"]):
        yield f"utf8-{i:02}", b"x-a: \"" + bytes.fromhex(bad) + b"\"\n" + good, "TM0003"
    random_bytes = random.Random(4711)
    for i in range(JUNK):
        yield f"junk-{i:02}", random_bytes.randbytes(10 + 200 * i), "TM0003"


def yamls():
    """What YAML readers differ in, and what is no YAML: (name, content, codes)."""
    yield from [
        ("documents-2", TASK + "---\n" + TASK, "TM0008"),
        ("documents-1000", (TASK + "---\n") * 1_000, "TM0008"),
        ("documents-ended", TASK + "...\n" + TASK, "TM0008 TM0001"),
        ("documents-empty", "---\n---\n" + TASK, "TM0008"),
        ("twice-root", "dag: a\n" + TASK + "dag: b\n", "TM0005"),
        ("twice-tasks", TASK + TASK, "TM0005"),
        ("twice-task", TASK + "  a: {noop: {}}\n", "TM0005"),
        ("twice-flow", "tasks: {a: {noop: {}, noop: {}}}\n", "TM0005"),
        ("twice-quoted", TASK + "\"tasks\": {}\n", "TM0005"),
        ("twice-escaped", TASK + "\"\\x74asks\": {}\n", "TM0005"),
        ("twice-tagged", TASK + "!!str tasks: {}\n", "TM0005"),
        ("twice-aliased", "x-a: &a tasks\n" + TASK + "*a : {}\n", "TM0005"),
        ("twice-asked", TASK + "? tasks\n: {}\n", "TM0005"),
        ("tab-indent", "tasks:\n\ta: {noop: {}}\n", "TM0004"),
        ("tab-later", "tasks:\n  a:\n  \tnoop: {}\n", "TM0004 TM0001"),
        ("tab-flow", "tasks: {\n\ta: {noop: {}}\n", "TM0001 TM0004"),
        ("merge", "x-a: &a {timeout: 5s}\ntasks:\n  a: {<<: *a, noop: {}}\n", "TM0006"),
        ("merge-list", "x-a: &a {timeout: 5s}\ntasks:\n  a: {<<: [*a], noop: {}}\n", "TM0006"),
        ("merge-quoted", "tasks:\n  a: {\"<<\": {timeout: 5s}, noop: {}}\n", "TM0006"),
        ("anchor-missing", "tasks:\n  a: *base\n", "TM0009"),
        ("anchor-late", "x-a: *b\nx-b: &b 1\n" + TASK, "TM0009"),
        ("star-cron", "schedule: * * * * *\n" + TASK, "TM0009 TM0001"),
        ("star-slash", "schedule: */5 * * * *\n" + TASK, "TM0009 TM0001"),
        ("expression-flow", "tasks:\n  a: {run: [echo, ${{ params.a }}]}\n", "TM0001"),
        ("expression-brace", "tasks:\n  a:\n    run: [echo]\n    env: {A: ${{ run.id }}}\n", "TM0001"),
        ("expression-colon", "tasks:\n  a:\n    run: echo ${{ params.a ? 'b': 'c' }}\n", "TM0001"),
        ("expression-open", "tasks:\n  a:\n    run: [echo, \"${{ run.id\"]\n", "TM0201"),
        ("expression-key", "${{ run.id }}: a\n" + TASK, "TM0001 TM0101"),
        ("expression-task", "tasks:\n  ${{ run.id }}: {noop: {}}\n", "TM0001 TM0104"),
        ("template-jinja", "{% if a %}\n" + TASK + "{% endif %}\n", "TM0001"),
        ("template-helm", "{{- if .Values.a }}\n" + TASK, "TM0001"),
        ("template-ds", "tasks:\n  a: {run: [echo, {{ ds }}]}\n", "TM0001 TM0103 TM0010"),
        ("quote-open", "tasks:\n  a:\n    run: \"echo\n", "TM0001"),
        ("quote-stray", "tasks:\n  a:\n    run: 'it's'\n", "TM0001"),
        ("escape-unknown", "tasks:\n  a:\n    run: \"\\q\"\n", "TM0001"),
        ("colon-value", "tasks:\n  a:\n    run: echo a: b\n", "TM0001"),
        ("colon-missing", "tasks\n  a:\n    noop: {}\n", "TM0001"),
        ("space-missing", "tasks:\n  a:\n    noop:{}\n    run: b\n", "TM0001 TM0103"),
        ("indent-wrong", "tasks:\n  a:\n    noop: {}\n   b:\n    noop: {}\n", "TM0001"),
        ("indent-less", "tasks:\na:\n  noop: {}\n", "TM0101 TM0102 TM0103"),
        ("list-and-map", "tasks:\n  - a\n  b: {}\n", "TM0001"),
        ("at-sign", "owner: @team\n" + TASK, "TM0001"),
        ("backquote", "owner: `team`\n" + TASK, "TM0001"),
        ("percent", "%YAML 9.9\n---\n" + TASK + "%\n", "TM0001"),
        ("directive", "%FOO\n" + TASK, "TM0001"),
        ("block-indent", "tasks:\n  a:\n    run: |9\n     b\n", "TM0001 TM0103 TM0603"),
        ("key-list", "tasks:\n  [a, b]: {noop: {}}\n", "TM0010"),
        ("key-map", "tasks:\n  {a: b}: {noop: {}}\n", "TM0010"),
        ("key-null", "tasks:\n  ~: {noop: {}}\n", "TM0010 TM0104"),
        ("key-number", "tasks:\n  5: {noop: {}}\n", "TM0104"),
        ("key-empty", "tasks:\n  \"\": {noop: {}}\n", "TM0104"),
        ("key-path", "tasks:\n  ../../etc: {noop: {}}\n", "TM0104"),
    ]
    for tag in ("!!python/object:os.system", "!!python/object/apply:os.system [ls]", "!ruby/object:Gem",
                "!!js/function \"function(){}\"", "!env HOME", "!ref a", "!!binary aGk=", "!!set {a, b}",
                "!!omap [a: b]", "!!timestamp 2026-01-01", "!<tag:example.com,2026:x> a", "! a",
                "!include secrets.yaml", "!vault |\n      abc"):
        name = "".join(c if c.isalnum() else "-" for c in tag.split()[0]).strip("-") or "bare"
        yield f"tag-{name}", f"x-a:\n  b: {tag}\n" + TASK, "TM0007" if tag != "! a" else "ANY"
    for word in ("yes", "no", "on", "off", "y", "n", "Yes", "NO", "On", "OFF"):
        yield f"boolean-key-{word}", f"{word}: {{push: main}}\n" + TASK, "TM0101"
        yield f"boolean-when-{word}", f"tasks:\n  a: {{noop: {{}}, when: {word}}}\n", "TM0202 TM0201 TM0103 TM0205"


def types():
    """Keys with values of types that they do not take: (name, content, codes)."""
    def takes(key):
        return {"description": "text", "owner": "text", "dag": "text", "timezone": "text",
                "schedule": "text", "start": "text", "tags": "list", "params": "mapping",
                "vars": "mapping", "defaults": "mapping", "tasks": "mapping"}.get(key)
    for key in ("dag", "description", "owner", "tags", "timezone", "start", "schedule", "params",
                "vars", "defaults", "tasks"):
        rest = "" if key == "tasks" else TASK
        for kind, value in KINDS.items():
            if kind != takes(key):
                yield f"type-{key}-{kind}", f"{key}: {value}\n" + rest, "ANY"
    for key in ("noop", "ingest", "transform", "load", "run", "wait", "approve", "call", "tasks"):
        for kind in ("list", "number", "boolean", "infinity"):
            if (key, kind) != ("run", "list"):
                yield f"action-{key}-{kind}", f"tasks:\n  a:\n    {key}: {KINDS[kind]}\n", "ANY"
    for key in ("retry", "timeout", "env", "depends_on", "pool", "when", "for_each", "checks",
                "cache", "trigger_rule", "outputs"):
        for kind in ("number", "mapping", "infinity"):
            yield f"modifier-{key}-{kind}", f"tasks:\n  a:\n    run: [b]\n    {key}: {KINDS[kind]}\n", "ANY"


def halves():
    """What an editor or a copy leaves when it stops half-way: (name, content, codes)."""
    for at in range(30, len(WHOLE), 23):
        yield f"half-{at:03}", WHOLE[:at], "ANY"


def all_bad():
    """Every bad file. `ANY`: the language decides whether it is one, and all must agree."""
    for kind in (hostile, texts, yamls, types, halves):
        for name, content, codes in kind():
            content = content if isinstance(content, bytes) else content.encode()
            yield name, content, None if codes == "ANY" else set(codes.split())


def write_all(folder):
    """Writes every file and gives what is known of them: by name, (path, codes)."""
    bad, good = {}, []
    for name, content, codes in all_bad():
        path = folder / f"bad-{name}.yaml"
        path.write_bytes(content)
        assert name not in bad, name
        bad[name] = (path, codes)
    marks = {1: codecs.BOM_UTF8, 2: b"%YAML 1.2\n---\n", 3: b"---\n"}
    for i in range(50):
        name = f"good_{i:02}"
        content = GOOD.format(name=name).encode()
        if i == 4:
            content = content.replace(b"\n", b"\r\n")
        if i == 5:
            content = content.rstrip(b"\n")
        path = folder / f"{name}.yaml"
        path.write_bytes(marks.get(i, b"") + content)
        good.append(name)
    os.mkdir(folder / "folder.yaml")
    os.symlink(folder / "nowhere", folder / "dangling.yaml")
    os.symlink(folder / "circle.yaml", folder / "circle.yaml")
    return bad, good
