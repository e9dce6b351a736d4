"""What the end-to-end tests share: the binary, homes, servers, and options."""

import os
import pathlib

import pytest

from tidemill import ROOT, Home

def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave the long tests out")
    parser.addoption("--long", action="store_true", help="kill 10,000 times instead of 100")


def pytest_collection_modifyitems(config, items):
    for item in items:
        # Nothing here may hang: a test that does is a failure with a stack.
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180))
    if config.getoption("--quick"):
        keep = [item for item in items if "long" not in item.keywords]
        config.hook.pytest_deselected(items=[item for item in items if item not in keep])
        items[:] = keep


def pytest_configure(config):
    config.addinivalue_line("markers", "long: left out with --quick")


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("TIDEMILL_BIN")
    if not path:
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        path = target / "debug" / "tidemill"
    path = pathlib.Path(path).resolve()
    if not path.exists():
        pytest.exit(f"there is no binary `{path}`; run `cargo build` first", 2)
    return path


@pytest.fixture
def home(binary, tmp_path):
    """A home of its own, and what can be done with it; servers that it started are stopped."""
    home = Home(binary, tmp_path)
    yield home
    home.close()
