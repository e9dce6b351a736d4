"""Runs the flagship, opens the page of the run, and takes a picture of it."""

import os
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from playwright.sync_api import sync_playwright  # noqa: E402

from tidemill import FLAGSHIP, ROOT, Home  # noqa: E402


def main(path):
    binary = pathlib.Path(os.environ.get("TIDEMILL_BIN", ROOT / "target/debug/tidemill"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Home(binary, folder)
        shutil.copy(FLAGSHIP / "personalize.yaml", home.dags)
        shutil.copytree(FLAGSHIP / "data", home.dags / "data")
        server = home.serve()
        run = server.trigger("personalize")
        server.wait(run)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or "/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=1)
        page.goto(f"{server.address}/runs/{run}")
        page.screenshot(path=path)
        browser.close()
        home.close()
    print(path)


if __name__ == "__main__":
    main(sys.argv[1])
