"""Commands that misbehave: they are ended, their logs are bounded, others go on."""

import os
import re
import time

import pytest

from tidemill import PATIENCE, ROOT, eventually, processes_with


def marker(home):
    """A text that only processes of this test carry."""
    return f"marker-{os.getpid()}-{home.folder.name}"


def dag(home, command, more=""):
    return home.dag("d", f"""
tasks:
  bad:
    run: {command}
    env: {{WHO: {marker(home)}}}
{more}
  other:
    run: [echo, unaffected]
""")


def none_left(home):
    left = [entry for entry in processes_with(marker(home))]
    assert left == [], f"left behind: {left}"


def test_one_that_ignores_term(home):
    path = dag(home, """["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]""",
               "    timeout: 1s")
    began = time.monotonic()
    result = home.run(path, code=1)
    assert result.states() == {"bad": "failed", "other": "succeeded"}
    assert "timeout" in result.error("bad")
    assert time.monotonic() - began < PATIENCE
    none_left(home)


def test_one_that_leaves_a_child_on_the_pipe(home):
    """The task ends with its command; the grandchild that holds the pipe is ended too."""
    path = dag(home, """["sh", "-c", "sleep 600 & echo done"]""")
    began = time.monotonic()
    result = home.run(path)
    assert result.states()["bad"] == "succeeded"
    assert time.monotonic() - began < PATIENCE
    assert home.call("logs", result.run, "bad", "--raw").out == "done\n"
    none_left(home)


def test_one_that_becomes_a_daemon(home):
    """setsid and a double fork do not help."""
    script = "setsid sh -c '(setsid sleep 600 &) ; exit 0' & sleep 0.2; echo gone"
    result = home.run(dag(home, "|\n      " + script))
    assert result.states()["bad"] == "succeeded"
    none_left(home)


def test_one_that_forks_many(home):
    script = "for i in $(seq 100); do sleep 600 & done; echo forked; exit 3"
    result = home.run(dag(home, "|\n      " + script), code=1)
    assert "3" in result.error("bad")
    none_left(home)


def test_one_that_prints_binary(home):
    path = dag(home, r"""["sh", "-c", "head -c 100000 /dev/zero; printf '\\377\\376\\033[2J'"]""")
    result = home.run(path)
    done = home.call("logs", result.run, "bad", "--raw")
    assert len(done.out) >= 100_000
    plain = home.call("logs", result.run, "bad")
    assert plain.code == 0


@pytest.mark.long
@pytest.mark.timeout(170)
def test_one_that_prints_5_gigabytes(home):
    """The log keeps its head and its tail; neither disk nor memory fills."""
    path = dag(home, r"""["sh", "-c", "echo first; head -c 5000000000 /dev/zero | tr '\\0' 'x'; echo; echo last"]""")
    result = home.run(path, timeout=160)
    assert result.state == "succeeded"
    logs = sum(path.stat().st_size for path in home.path.rglob("*") if path.is_file())
    assert logs < 300 * 1024 * 1024
    done = home.call("logs", result.run, "bad", "--raw")
    assert done.out.startswith("first\n") and done.out.endswith("last\n")


def test_one_that_cannot_be_found(home):
    result = home.run(dag(home, "[no-such-program-anywhere]"), code=1)
    assert "no-such-program-anywhere" in result.error("bad")
    assert result.states()["other"] == "succeeded"


def test_one_that_is_killed_from_outside(home):
    result = home.run(dag(home, """["sh", "-c", "kill -9 $$"]"""), code=1)
    assert "9" in result.error("bad") or "KILL" in result.error("bad")


def test_data_never_become_shell(home):
    evil = "$(touch pwned) `touch pwned` '; touch pwned; ' \" && touch pwned # \\"
    path = home.dag("d", """
params:
  word: {type: string}
tasks:
  argv:
    run: [printf, "%s", "${{ params.word }}"]
  shell:
    run: |
      printf '%s' ${{ params.word }}
  quoted:
    run: |
      printf '%s' "<${{ params.word }}>"
""")
    result = home.run(path, "--param", f"word={evil}")
    for task, expected in (("argv", evil), ("shell", evil), ("quoted", f"<{evil}>")):
        assert home.call("logs", result.run, task, "--raw").out == expected, task
    assert not (home.dags / "pwned").exists()


def test_cancelling_ends_the_tree(home):
    dag(home, """["sh", "-c", "trap '' TERM; sleep 600 & sleep 600 & echo up; wait; wait; sleep 600"]""")
    server = home.serve()
    run = server.trigger("d")
    eventually("the command", lambda: len(processes_with(marker(home))) >= 3)
    server.ask("POST", f"/api/v1/runs/{run}/cancel", {})
    assert server.wait(run)["state"] == "cancelled"
    none_left(home)


def test_the_environment_is_an_allow_list(home):
    result = home.run(home.dag("d", "tasks: {show: {run: [env], env: {MINE: yes-mine}}}\n"),
                      env={"SECRET_OF_THE_SHELL": "leak", "LC_ALL": "C"})
    log = home.call("logs", result.run, "show", "--raw").out
    assert "SECRET_OF_THE_SHELL" not in log
    assert "MINE=yes-mine" in log and "TIDEMILL_TASK=show" in log and "LC_ALL=C" in log


def test_rows_that_are_handed_over_are_counted(home):
    """A command with `from` was logged with 0 rows in."""
    path = home.dag("d", """
tasks:
  numbers:
    transform:
      sql: select value as n from generate_series(1, 7)
  use:
    run: test -s "$TIDEMILL_INPUT_NUMBERS"
    from: numbers
""")
    result = home.run(path)
    assert result.tasks["use"]["counts"]["in"] == 7
    assert "succeeded: 7 rows in" in home.call("logs", result.run, "use").out
    assert "7 rows in" in home.call("show", result.run).out


def test_a_command_gets_what_the_manual_lists(home):
    """docs/language.md names each variable that a command gets, and no other."""
    path = home.dag("d", """
tasks:
  numbers:
    transform:
      sql: select 1 as n
  say:
    run: env; cp "$TIDEMILL_INPUT_NUMBERS" "$TIDEMILL_OUTPUT_SCORES"
    from: numbers
    env: {OWN: x}
    outputs: {scores: table}
    for_each: [1]
""")
    result = home.run(path, "--interval", "2026-01-01/2026-01-02")
    said = dict(line.split("=", 1) for line in home.call(
        "logs", result.run, "say[0]", "--raw").out.splitlines())
    page = (ROOT / "docs" / "language.md").read_text()
    chapter = page[page.index("## Commands"):page.index("## Checks")]
    named = {name for name in re.findall(r"`(TIDEMILL_[A-Z_]+)`", chapter)}
    given = {name for name in said if name.startswith("TIDEMILL_")}
    assert {re.sub("_(NUMBERS|SCORES)$", "_NAME", name) for name in given} == named
    assert (said["TIDEMILL_TASK"], said["TIDEMILL_ATTEMPT"], said["OWN"]) == ("say", "1", "x")
    assert said["TIDEMILL_INTERVAL_END"].startswith("2026-01-02")
    for name in said.keys() - given - {"OWN", "PWD", "SHLVL", "_"}:
        assert re.search(rf"\b{name}\b", chapter) or name.startswith("LC_"), f"`{name}`"
