"""A session that is open is seen to be, from this process and others, until it is let go of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.store.lease import Lease, OpenElsewhere, is_open

HOLD = """
import sys
from pathlib import Path
from workbench.store.lease import Lease
lease = Lease.take(Path(sys.argv[1]), "20260314-k3f9x2")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_session_is_held_once(tmp_path):
    lease = Lease.take(tmp_path / "open", "one")
    assert is_open(tmp_path / "open", "one")
    assert not is_open(tmp_path / "open", "other")
    with pytest.raises(OpenElsewhere, match="session one is open in another process"):
        Lease.take(tmp_path / "open", "one")
    lease.release()
    lease.release()
    assert not is_open(tmp_path / "open", "one")
    Lease.take(tmp_path / "open", "one").release()


def test_beside_whoever_holds_it_a_session_is_held_once_that_one_let_go(tmp_path):
    holder = Lease.take(tmp_path, "one")
    beside = Lease.take(tmp_path, "one", even_if_open=True)
    assert not holder.is_of_others()
    assert beside.is_of_others()
    assert beside.is_of_others()
    holder.release()
    assert not beside.is_of_others()
    with pytest.raises(OpenElsewhere):
        Lease.take(tmp_path, "one")
    beside.release()
    assert not is_open(tmp_path, "one")


def test_a_process_that_is_killed_lets_go(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    assert is_open(tmp_path, "20260314-k3f9x2")
    process.kill()
    process.communicate()
    assert not is_open(tmp_path, "20260314-k3f9x2")


def test_an_id_that_is_a_path_stays_in_the_folder(tmp_path):
    folder = tmp_path / "open"
    Lease.take(folder, "../../escaped").release()
    assert [path.name for path in tmp_path.iterdir()] == ["open"]


def test_where_nothing_can_be_written_nobody_is_warned(tmp_path):
    (tmp_path / "file").write_text("")
    folder = Path(tmp_path / "file" / "open")
    Lease.take(folder, "one").release()
    assert not is_open(folder, "one")
