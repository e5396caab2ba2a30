import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

HANGS = """
import subprocess, sys
import pytest

SLEEP = [sys.executable, "-c", "import time; time.sleep(1e6)"]

@pytest.fixture(scope="module")
def server():
    with subprocess.Popen(SLEEP) as process:
        yield process
        assert process.poll() is None
        process.kill()

def test_that_hangs(server):
    start = "import subprocess, sys; print(subprocess.Popen(%r).pid, flush=True); input()" % SLEEP
    process = subprocess.Popen(
        [sys.executable, "-c", start],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )
    # Popen waits for its process on the way out, whatever was raised.
    with process, open("pid", "w") as file:
        file.write(process.stdout.readline())
        file.close()
        process.stdout.read()

def test_after(server):
    assert server.poll() is None
"""


@pytest.mark.slow
def test_what_a_test_started_ends_with_its_time(tmp_path: Path):
    (tmp_path / "test_hangs.py").write_text(HANGS)
    options = ["-p", "tests.processes", "-p", "no:cacheprovider", "-o", "timeout=5", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_hangs.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "from pytest-timeout" in done.stdout
    grandchild = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie"


def test_signals_that_whoever_started_the_tests_ignored_are_heard():
    """As in the background of a script, or under `nohup`."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        assert signal.getsignal(number) is not signal.SIG_IGN
