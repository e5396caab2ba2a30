"""What a person reads of an error."""

from __future__ import annotations

import pickle

import pytest

from adl.errors import AdlError, CorpusError, Stopped


@pytest.mark.parametrize(
    ("message", "hint", "shown"),
    [
        ("No file x", "Check the path.", "No file x. Check the path."),
        ("Is it x?", "Check.", "Is it x? Check."),
        ("No file x", "", "No file x"),
    ],
)
def test_both_parts_are_shown(message, hint, shown):
    assert str(AdlError(message, hint)) == shown


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(CorpusError("a", "b")))
    assert (type(error), error.message, error.hint) == (CorpusError, "a", "b")


def test_stopped_needs_no_words():
    assert str(Stopped()) == "stopped"
