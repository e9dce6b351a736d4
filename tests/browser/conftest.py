"""A server with the flagship and a failing DAG, and a headless Chromium that watches for trouble."""

import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from playwright.sync_api import sync_playwright  # noqa: E402

from tidemill import FLAGSHIP, ROOT, Home  # noqa: E402

FAILING = """
description: The second task fails
tasks:
  extract:
    run: [echo, extracted]
  transform:
    run: |
      echo "dividing"
      echo "ZeroDivisionError: division by zero" >&2
      exit 3
    depends_on: [extract]
  load:
    run: [echo, loaded]
    depends_on: [transform]
"""

SLOW = """
tasks:
  wait:
    run: ["sh", "-c", "echo waiting; sleep 600"]
"""

# Every kind of page, with the server as `site` lays it out.
PAGES = ["/", "/dags", "/dags/personalize", "/dags/failing", "/runs", "/runs/personalize.1",
         "/runs/failing.1", "/runs/personalize.1/tasks/purchases", "/runs/failing.1/tasks/transform",
         "/runs/personalize.1/tables/scores", "/profiles", "/profiles/1"]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    binary = pathlib.Path(os.environ.get("TIDEMILL_BIN", ROOT / "target/debug/tidemill")).resolve()
    if not binary.exists():
        pytest.exit(f"there is no binary `{binary}`; run `cargo build` first", 2)
    home = Home(binary, tmp_path_factory.mktemp("browser"))
    shutil.copy(FLAGSHIP / "personalize.yaml", home.dags)
    shutil.copytree(FLAGSHIP / "data", home.dags / "data")
    home.dag("failing", FAILING)
    home.dag("slow", SLOW)
    home.dag("broken", "tasks:\n  a:\n    runn: [true]\n")
    server = home.serve()
    assert server.wait(server.trigger("personalize"))["state"] == "succeeded"
    assert server.wait(server.trigger("failing"))["state"] == "failed"
    yield server
    home.close()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or "/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, and everything that it should not have done."""

    def __init__(self, context, address):
        self.address = address
        self.complaints = []
        self.page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _request(self, request):
        if not request.url.startswith((self.address, "data:")):
            self.complaints.append(f"asked another host: {request.url}")

    def go(self, path):
        answer = self.page.goto(self.address + path)
        assert answer.status == 200, f"{path}: {answer.status}"
        return self.page


@pytest.fixture
def open_page(chromium, site):
    """Opens a browser window of its own: `open_page(width=..., scripts=...)`."""
    opened = []

    def open_one(width=1280, height=900, scripts=True, dark=False):
        context = chromium.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=scripts,
            color_scheme="dark" if dark else "light")
        context.set_default_timeout(15_000)
        watched = Watched(context, site.address)
        opened.append((context, watched))
        return watched

    yield open_one
    complaints = [entry for _, watched in opened for entry in watched.complaints]
    for context, _ in opened:
        context.close()
    assert complaints == []
