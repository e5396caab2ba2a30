"""What a test leaves behind is found and named."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from tests import leftovers
from tests.leftovers import Found
from workbench.scrubbing import protect, scrub


def test_nothing_is_left_by_one_who_left_nothing(monkeypatch: pytest.MonkeyPatch):
    found = Found()
    ends = threading.Thread(target=int, name="ends")
    ends.start()
    # New modules are no leftovers: they would be loaded by the next.
    monkeypatch.setitem(sys.modules, "never_heard_of", ModuleType("never_heard_of"))
    assert found.left() == []


def test_a_thread_that_goes_on_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leftovers, "END_WITHIN", 0.0)
    found, over = Found(), threading.Event()
    goes_on = threading.Thread(target=over.wait, name="models")
    goes_on.start()
    left = found.left()
    over.set()
    goes_on.join()
    assert left == ["the thread 'models'"]
    assert found.left() == []


@pytest.mark.parametrize("change", ["set", "changed", "removed"])
def test_a_variable_is_named(monkeypatch: pytest.MonkeyPatch, change: str):
    if change != "set":
        monkeypatch.setenv("LEFT", "before")
    found = Found()
    if change == "removed":
        monkeypatch.delenv("LEFT")
    else:
        monkeypatch.setenv("LEFT", "after")
    assert found.left() == ["the variable LEFT"]


def test_folder_and_stand_in_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    found = Found()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tests.planted", ModuleType("tests.planted"))
    assert found.left() == ["the folder the process is in", "another module tests.planted"]


def test_a_handler_of_a_signal_is_named():
    found = Found()
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    left = found.left()
    signal.signal(signal.SIGHUP, before)
    assert left == ["the handler of SIGHUP"]


def test_the_collector_works_and_leaves_out_what_lasts():
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000


@pytest.mark.parametrize("turn", ["first", "second"])
def test_a_key_is_protected_in_one_test_alone(turn: str):
    key = "sk-0123456789abcdef"
    assert scrub(key) == key, turn
    protect(key)
    assert scrub(key) != key
