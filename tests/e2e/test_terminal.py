"""What happens at a terminal: whoever sits there is asked, and may leave at any time."""

import fcntl
import os
import select
import signal
import subprocess
import termios
import time

import pytest


class Typist:
    """A command at a terminal."""

    def __init__(self, home, *words):
        ours, theirs = os.openpty()
        command = [home.binary, "--home", str(home.path), *map(str, words)]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=home.env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        self.terminal, self.seen = ours, ""

    def sees(self, text, patience=30):
        """Waits for a text, and forgets what was shown up to it."""
        end = time.monotonic() + patience
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            try:
                read = os.read(self.terminal, 4096) if ready else b""
            except OSError:  # Linux says so when the other end is closed.
                read = b""
            assert read, f"no {text!r} in {self.seen!r}"
            self.seen += read.decode(errors="replace")
        self.seen = self.seen[self.seen.index(text) + len(text):]

    def types(self, text):
        os.write(self.terminal, text.encode())

    def ends(self, patience=30):
        code = self.process.wait(patience)
        os.close(self.terminal)
        return code


ASKS = """
tasks:
  ask:
    approve:
      message: May it go on?
      params:
        limit: {type: integer, default: 5}
        tone: {type: string, enum: [warm, dry]}
  go: {run: [echo, "${{ tasks.ask.outputs.limit }}", "${{ tasks.ask.outputs.tone }}"]}
"""


def test_who_sits_at_the_terminal_is_asked_for_everything(home):
    file = home.dag("asks", ASKS)
    typist = Typist(home, "run", file)
    typist.sees("May it go on?")
    typist.sees("yes or no? ")
    typist.types("maybe\n")
    typist.sees("`maybe` is neither yes nor no")
    typist.types("Yes\n")
    typist.sees("limit (integer, or Enter for 5): ")
    typist.types("many\n")
    typist.sees("`limit` must be an integer")
    typist.types("\n")
    typist.sees("tone (string): ")
    typist.types("loud\n")
    typist.sees('`tone` must be one of "warm", "dry"')
    typist.types("dry\n")
    typist.sees("succeeded")
    assert typist.ends() == 0
    assert "5 dry" in home.call("logs", "asks.1", "go").out
    typist = Typist(home, "run", file)
    typist.sees("yes or no? ")
    typist.types("n\n")
    assert typist.ends() == 1
    assert "said no" in home.call("show", "asks.2").out


@pytest.mark.parametrize("how", ["keys", signal.SIGTERM])
def test_a_run_that_asks_can_be_cancelled(home, how):
    typist = Typist(home, "run", home.dag("asks", ASKS))
    typist.sees("yes or no? ")
    if how == "keys":
        typist.types("\x03")
    else:
        typist.process.send_signal(how)
    typist.sees("cancelling")
    assert typist.ends() == 1
    assert "cancelled" in home.call("show", "asks.1").out


def test_answers_beforehand(home):
    file = home.dag("asks", ASKS)
    home.call("run", file, "--yes", "--answer", "ask.tone=warm", "--answer", "ask.limit=7")
    assert "7 warm" in home.call("logs", "asks.1", "go").out
    told = home.call("run", file, "--yes", code=1)
    assert "`tone` has no default: give it with `--answer ask.tone=VALUE`" in told.out
    told = home.call("run", file, "--yes", "--answer", "ask.tone=dry", "--answer", "asc.tone=dry")
    assert "nothing asked for `--answer asc.tone`" in told.err
    assert "does not say what it answers" in home.call("run", file, "--yes", "--answer", "tone=dry", code=1).err
    assert "--yes" in home.call("run", file, "--answer", "ask.tone=dry", code=2).err


def test_who_waits_for_a_triggered_run_may_leave(home):
    home.dag("asks", ASKS)
    server = home.serve()
    typist = Typist(home, "trigger", "asks", "--wait")
    typist.sees("answer with `tidemill approve asks.1 ask`")
    typist.types("\x03")
    typist.sees("run asks.1 goes on")
    assert typist.ends() == 1
    tasks = server.run("asks.1")["tasks"]
    assert [task["state"] for task in tasks if task["name"] == "ask"] == ["waiting"]
