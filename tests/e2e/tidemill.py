"""The product from outside: commands, servers, the API. Only what a user has, too."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGSHIP = ROOT / "dags" / "personalize"

# The longest wait for something that is bound to happen. No test waits as long when all is well.
PATIENCE = 60.0


def eventually(what, condition, patience=PATIENCE):
    """Waits until the condition gives something true, and gives that."""
    end = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {patience:.0f} s")
        time.sleep(0.02)


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


class Home:
    """A home and a folder for DAGs, both new, and the commands on them."""

    def __init__(self, binary, folder):
        self.binary = str(binary)
        self.folder = pathlib.Path(folder)
        self.path = self.folder / "home"
        self.dags = self.folder / "dags"
        self.dags.mkdir(exist_ok=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
        self.env["NO_COLOR"] = "1"
        self.servers = []

    def dag(self, name, text):
        """Writes a DAG file and gives its path."""
        path = self.dags / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def file(self, name, content):
        """Writes a file beside the DAGs and gives its path."""
        path = self.dags / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
        return path

    def call(self, *words, code=0, timeout=120, env=None, home=None, cwd=None):
        """Runs a command to its end. `code` is what it must end with; None for anything."""
        command = [self.binary, "--home", str(home or self.path), *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
            env={**self.env, **(env or {})}, check=False, cwd=cwd)
        done = Done(done.returncode, done.stdout.decode(errors="replace"),
                    done.stderr.decode(errors="replace"))
        if code is not None and done.code != code:
            raise AssertionError(
                f"`{' '.join(map(str, words))}` ended with {done.code}, not {code}\n"
                f"{done.out[-4000:]}\n{done.err[-4000:]}")
        return done

    def run(self, file, *words, code=0, **more):
        """`tidemill run FILE --json`; gives the result with the tasks by name."""
        done = self.call("run", file, "--json", *words, code=code, **more)
        return Result(done.json())

    def serve(self, *words, env=None):
        """Starts a server on the folder of DAGs, and waits until it says where it is."""
        server = Server(self, words, env or {})
        self.servers.append(server)
        return server

    def supervisor(self):
        """The process that the commands of the home are children of."""
        return int((self.path / "processes" / "supervisor.lock").read_text())

    def kill_supervisor(self):
        """kill -9, of the supervisor of commands alone."""
        try:
            os.kill(self.supervisor(), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            pass

    def close(self):
        for server in self.servers:
            server.kill()
        # A test that failed half-way leaves commands behind: they work in this folder.
        for pid, _ in processes_with(str(self.folder)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Result:
    """What `run --json` printed."""

    def __init__(self, value):
        self.value = value
        self.run = value["run"]
        self.state = value["state"]
        self.tasks = {task["name"]: task for task in value["tasks"]}

    def states(self):
        return {name: task["state"] for name, task in self.tasks.items()}

    def error(self, task):
        """The error of a task as one text."""
        return json.dumps(self.tasks[task]["error"], ensure_ascii=False)


class Server:
    """`tidemill serve`, running."""

    def __init__(self, home, words, env):
        self.home = home
        command = [home.binary, "--home", str(home.path), "serve", "--dags", str(home.dags),
                   "--bind", "127.0.0.1:0", *words]
        self.log = open(home.folder / "serve.log", "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
            env={**home.env, **env}, start_new_session=True)
        self.address = self._address()

    def _address(self):
        said = b""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.1)
            if ready:
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    break
                said += piece
                found = re.search(rb"serving (http://[0-9.]+:[0-9]+)", said)
                if found:
                    return found.group(1).decode()
        self.kill()
        log = (self.home.folder / "serve.log").read_text(errors="replace")
        raise AssertionError(f"the server did not say where it is: {said!r}\n{log[-4000:]}")

    def ask(self, method, path, body=None, headers=None, timeout=30):
        """A request; gives status, headers and body (JSON where it is)."""
        sent = dict(headers or {})
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.address + path, data, sent, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, answer.headers, _read(answer)
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, _read(answer)

    def get(self, path):
        status, _, body = self.ask("GET", path)
        assert status == 200, f"GET {path} gave {status}: {body}"
        return body

    def trigger(self, dag, params=None):
        """Starts a run; gives its id once the server has acknowledged it."""
        status, _, body = self.ask("POST", f"/api/v1/dags/{dag}/runs", {"params": params or {}})
        assert status == 201, f"the trigger gave {status}: {body}"
        return body["id"]

    def run(self, run):
        return self.get(f"/api/v1/runs/{run}")

    def wait(self, run, patience=PATIENCE):
        """Waits for the end of a run and gives it."""
        ended = {"succeeded", "failed", "cancelled"}
        def look():
            found = self.run(run)
            return found if found["state"] in ended else None
        return eventually(f"the end of {run}", look, patience)

    def kill(self):
        """kill -9, of the server alone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.log.close()
        self.process.stdout.close()

    def stop(self):
        """Asks the server to end; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE)
        self.log.close()
        self.process.stdout.close()
        return code


def _read(answer):
    body = answer.read()
    if body and "json" in (answer.headers.get("Content-Type") or ""):
        return json.loads(body)
    return body.decode(errors="replace")


def processes_with(marker):
    """Processes whose command line or environment holds the marker, this one apart."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            text = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
        except OSError:
            continue
        if state not in "ZX" and marker.encode() in text:
            found.append((int(entry.name), (text.split(b"\0\0")[0]).replace(b"\0", b" ").decode(errors="replace")))
    return found
