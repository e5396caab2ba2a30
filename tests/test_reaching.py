"""A test that reaches for a network fails, whatever became of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import QUICK
from tests.offline import REACHED, is_far

#: 192.0.2.0/24 is for documentation: nothing is there.
REACHING = """
import contextlib, socket, subprocess, sys
import pytest

def reach():
    with contextlib.suppress(OSError), socket.socket() as far:
        far.connect(("192.0.2.1", 443))

def test_that_connects():
    reach()

def test_that_looks_up_a_name():
    with contextlib.suppress(OSError):
        socket.getaddrinfo("nowhere.invalid", 443)

def test_whose_process_connects():
    subprocess.run([sys.executable, "-c", "import tests, test_far as t; t.reach()"], check=True)

def test_that_stays_here():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()
    with pytest.raises(OSError), socket.socket(socket.AF_UNIX) as ours:
        ours.connect("nothing.sock")
"""
BEGINS = """
pytest_plugins = ["tests.reaching"]

def pytest_configure(config):
    from tests.reaching import keep_from_network
    keep_from_network(config)
"""


def test_a_test_that_reaches_for_a_network_fails(tmp_path: Path):
    (tmp_path / "conftest.py").write_text(BEGINS)
    (tmp_path / "test_far.py").write_text(REACHING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml=results.xml"],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if name != REACHED},
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed, 3 errors" in done.stdout, done.stdout + done.stderr
    said = {
        case.get("name"): error.text
        for case in ElementTree.parse(tmp_path / "results.xml").iter("testcase")
        for error in case.iter("error")
    }
    reached = {
        "test_that_connects": "socket.connect '192.0.2.1'",
        "test_that_looks_up_a_name": "socket.getaddrinfo 'nowhere.invalid'",
        "test_whose_process_connects": "socket.connect '192.0.2.1'",
    }
    assert said.keys() == reached.keys()
    for name, what in reached.items():
        assert f"the test reaches for a network: {what}" in said[name]


def test_the_quick_tests_listen(request: pytest.FixtureRequest):
    assert (REACHED in os.environ) == (request.config.option.markexpr == QUICK)


@pytest.mark.parametrize(
    ("host", "far"),
    [
        *(("127.0.0.1", False), ("127.8.8.8", False), ("::1", False), ("localhost", False)),
        *(("", False), (None, False), (b"localhost", False), ("0.0.0.0", False)),
        *(("192.0.2.1", True), ("fe80::1%eth0", True), ("huggingface.co", True), (b"a.b", True)),
    ],
)
def test_far_is_what_is_not_this_machine(host: object, far: bool):
    assert is_far(host) is far
