"""An editor without a screen: it speaks the Language Server Protocol with the YAML server."""

import itertools
import json
import pathlib
import queue
import shutil
import subprocess
import threading

import pytest

from tidemill import PATIENCE, ROOT, eventually

SERVER = ROOT / "tests/editor/node_modules/yaml-language-server/bin/yaml-language-server"
CURSOR = "¦"


def yaml_server():
    """The command that starts the server; a failure that says how to get it if it is not there."""
    node = shutil.which("node")
    if not node:
        pytest.fail("there is no `node`; install the packages `nodejs` and `npm`", pytrace=False)
    if not SERVER.exists():
        pytest.fail(f"there is no `{SERVER.relative_to(ROOT)}`; get it with `npm ci` in `tests/editor`",
                    pytrace=False)
    return [node, str(SERVER), "--stdio"]


class Connection:
    """A language server as a child process: requests and notifications there and back.

    `answer(method, params)` answers what the server asks for; `notice(method, params)` gets what it
    tells. Both are called by the thread that reads.
    """

    def __init__(self, command, log, answer, notice):
        self.log = pathlib.Path(log)
        self.answer, self.notice = answer, notice
        self.numbers = itertools.count(1)
        self.waiting = {}
        self.lock = threading.Lock()
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def request(self, method, params=None, patience=PATIENCE):
        """Asks, waits for the answer, and gives it; an error of the server is an error here."""
        number, answered = next(self.numbers), queue.Queue()
        self.waiting[number] = answered
        self._send({"id": number, "method": method, "params": params})
        try:
            message = answered.get(timeout=patience)
        except queue.Empty:
            raise AssertionError(f"no answer to `{method}` within {patience:.0f} s\n{self.said()}") from None
        if message is None:
            raise AssertionError(f"the server ended instead of answering `{method}`\n{self.said()}")
        if "error" in message:
            raise AssertionError(f"`{method}`: {message['error']}")
        return message.get("result")

    def notify(self, method, params=None):
        self._send({"method": method, "params": params})

    def said(self):
        """The end of what the server wrote to its standard error."""
        return self.log.read_text(errors="replace")[-4000:]

    def close(self):
        """Asks the server to end, and makes it."""
        try:
            self.request("shutdown", patience=10)
            self.notify("exit")
            self.process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def _send(self, message):
        if message.get("params", ...) is None:
            del message["params"]
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        with self.lock:
            self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            self.process.stdin.flush()

    def _read(self):
        while message := self._message():
            if "method" not in message:
                answered = self.waiting.pop(message["id"], None)
                if answered:
                    answered.put(message)
            elif "id" in message:
                result = self.answer(message["method"], message.get("params"))
                self._send({"id": message["id"], "result": result})
            else:
                self.notice(message["method"], message.get("params"))
        for answered in list(self.waiting.values()):
            answered.put(None)

    def _message(self):
        """The next message; None at the end."""
        length = 0
        for line in self.process.stdout:
            name, _, value = line.strip().partition(b":")
            if not name:
                return json.loads(self.process.stdout.read(length))
            if name.lower() == b"content-length":
                length = int(value)
        return None


class Editor:
    """An editor with documents in a folder; `yaml` are its settings of the YAML server."""

    def __init__(self, folder, yaml):
        self.folder = pathlib.Path(folder)
        self.settings = {"yaml": {"schemaStore": {"enable": False}, **yaml}}
        self.opened = itertools.count(1)
        self.found = {}
        self.checked = threading.Condition()
        self.server = Connection(yaml_server(), self.folder / "server.log", self._answer, self._notice)
        text = {"completion": {"completionItem": {"documentationFormat": ["markdown"]}},
                "hover": {"contentFormat": ["markdown"]}}
        self.server.request("initialize", {
            "processId": None, "rootUri": self.folder.as_uri(),
            "capabilities": {"workspace": {"configuration": True}, "textDocument": text}})
        self.server.notify("initialized", {})

    def open(self, text, name=None):
        """Opens a document, which is not on disk; CURSOR in it is where the cursor stands."""
        before, cursor, after = text.partition(CURSOR)
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        path = self.folder / (name or f"{next(self.opened)}.yaml")
        document = Document(self, path.as_uri(), before + after,
                            {"line": line, "character": column} if cursor else None)
        self.server.notify("textDocument/didOpen", {"textDocument": {
            "uri": document.uri, "languageId": "yaml", "version": 1, "text": document.text}})
        return document

    def wait_until_ready(self, faulty):
        """Waits until a document that has faults is known to have them: from then on the schema is
        there, and a document that is said to have none has none."""
        document = self.open(faulty)
        eventually("a fault in the first document", lambda: self.found.get(document.uri))

    def close(self):
        self.server.close()

    def _answer(self, method, params):
        if method != "workspace/configuration":
            return None
        return [self.settings.get(item.get("section")) for item in params["items"]]

    def _notice(self, method, params):
        if method == "textDocument/publishDiagnostics":
            with self.checked:
                self.found[params["uri"]] = params["diagnostics"]
                self.checked.notify_all()


class Document:
    """A document that is open in an editor."""

    def __init__(self, editor, uri, text, cursor):
        self.editor, self.uri, self.text, self.cursor = editor, uri, text, cursor

    def diagnostics(self):
        """What is wrong with it, as pairs of a line (from 1) and a message."""
        with self.editor.checked:
            if not self.editor.checked.wait_for(lambda: self.uri in self.editor.found, PATIENCE):
                raise AssertionError(f"{self.uri} was not checked\n{self.editor.server.said()}")
            return [(entry["range"]["start"]["line"] + 1, entry["message"])
                    for entry in self.editor.found[self.uri]]

    def completions(self):
        """What can stand at the cursor, by label."""
        found = self._ask("completion")
        return {item["label"]: item for item in (found or {}).get("items", [])}

    def hover(self):
        """What is said about the place of the cursor."""
        found = self._ask("hover")
        return found["contents"]["value"] if found else ""

    def _ask(self, what):
        return self.editor.server.request(f"textDocument/{what}", {
            "textDocument": {"uri": self.uri}, "position": self.cursor})
