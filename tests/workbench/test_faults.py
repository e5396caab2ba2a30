"""Exceptions of every known kind are errors in words; bugs keep their trace in a file."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from adl.errors import AdlError, SiteError
from workbench.bounds import LARGEST_NUMBER, refusal
from workbench.engine.protocol import error_data
from workbench.faults import as_error, keep_crash
from workbench.operations import OPERATIONS
from workbench.operations.generation import SteerArguments


def raised(work) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever Python raises
        work()
    return caught.value


KNOWN = {
    "a folder in place of a file": (lambda: Path("/").read_text(), 1, "directory: /"),
    "a missing file": (lambda: Path("/nowhere").read_text(), 1, "/nowhere"),
    "a long name": (lambda: Path("/" + "x" * 300).read_text(), 1, "too long: /xxx"),
    "no text": (b"\xff".decode, 2, "UTF-8"),
    "a surrogate": ("\udcff".encode, 2, "UTF-8"),
    "a NUL in a path": (lambda: Path("a\0b").read_text(), 2, "NUL"),
    "a number for SQLite": (
        lambda: sqlite3.connect(":memory:").execute("SELECT ?", (2**63,)),
        2,
        "too large",
    ),
    "a number for C": (lambda: "x" * 2**63, 2, "too large"),
    "all memory": (lambda: bytearray(2**62), 1, "memory"),
    "a pattern": (lambda: re.compile("(?P<"), 2, "'(?P<'"),
    "a model": (lambda: SteerArguments(seed=-1), 2, "seed"),
    "an unknown home": (lambda: Path("~nobody-here").expanduser(), 2, "home folder"),
    "a broken database": (
        lambda: sqlite3.connect(":memory:").execute("nonsense"),
        1,
        "database",
    ),
    "one of ours": (
        lambda: (_ for _ in ()).throw(SiteError("no layer", "Name one.")),
        2,
        "no layer",
    ),
}


@pytest.mark.parametrize(("work", "code", "named"), KNOWN.values(), ids=KNOWN)
def test_a_known_kind_is_an_error_that_names_what_is_wrong(work, code, named):
    error = as_error(raised(work))
    assert isinstance(error, AdlError)
    assert error.exit_code == code
    assert named in str(error)


def test_deep_nesting_is_an_error():
    def deep(depth: int) -> int:
        return deep(depth + 1)

    assert "nested too deep" in str(as_error(raised(lambda: deep(0))))


def test_what_jinja_refuses_is_an_error_without_loading_jinja_for_others():
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = ImmutableSandboxedEnvironment().from_string("{{ ''.__class__.__mro__ }}")
    error = as_error(raised(template.render))
    assert "chat template" in str(error)
    assert "SecurityError" in str(error)


@pytest.mark.parametrize("bug", [KeyError("x"), TypeError("x"), ValueError("x"), RuntimeError("x")])
def test_what_nobody_foresaw_is_a_bug(bug):
    assert as_error(bug) is None


def test_a_deleted_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "current folder" in str(as_error(raised(os.getcwd)))


def test_a_full_disk_without_a_name_is_the_output():
    error = as_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert "output cannot be written" in str(error)


def test_a_crash_is_kept_for_its_owner_without_secrets(
    workbench_home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    path = keep_crash(
        raised(lambda: {}["of sk-very-secret and organisms/cake"]),
        lambda text: text.replace("cake", "MODEL-B"),
    )
    assert path is not None
    assert path.is_relative_to(workbench_home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = path.read_text()
    assert "Traceback" in kept
    assert "KeyError: 'of [key] and organisms/MODEL-B'" in kept


TOKENS = {
    "HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "NDIF_API_KEY": "ndif0123456789abcdefXYZ",
    "HTTPS_PROXY": "http://user:proxypassw0rd99@proxy:3128",
}


def test_a_crash_keeps_no_token_of_the_environment(
    workbench_home: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    path = keep_crash(raised(lambda: {}["401 for " + " and ".join(TOKENS.values())]))
    assert path is not None
    kept = path.read_text()
    assert "KeyError: '401 for [key] and [key] and http://user:[key]@proxy:3128'" in kept


def test_no_error_of_an_engine_has_a_token_of_its_environment(monkeypatch: pytest.MonkeyPatch):
    token = TOKENS["HF_TOKEN"]
    monkeypatch.setenv("HF_TOKEN", token)
    for error in (SiteError(f"401 for {token}", f"Not {token}."), RuntimeError(token)):
        told = error_data(error)
        assert token not in told.message + told.hint
        assert "[key]" in told.message


def test_a_crash_that_cannot_be_kept_is_not_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(tmp_path / "file"))
    assert keep_crash(KeyError("x")) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (LARGEST_NUMBER + 1, "at most"),
        (-LARGEST_NUMBER - 1, "at least"),
        (float("nan"), "finite"),
        (float("-inf"), "finite"),
        (Path("a\0b"), "NUL"),
        ([1, [2**63]], "at most"),
        ({"x": (0.5, float("inf"))}, "finite"),
    ],
)
def test_what_is_out_of_bounds_is_refused(value, why):
    assert why in (refusal(value) or "")


@pytest.mark.parametrize("value", [0, True, LARGEST_NUMBER, -1.5, "x" * 10**6, "\0", None, b"", []])
def test_what_is_within_bounds_is_not(value):
    assert refusal(value) is None


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_no_operation_takes_a_number_out_of_bounds(operation):
    for name, field in operation.arguments.model_fields.items():
        if field.annotation in {int, int | None}:
            with pytest.raises(ValidationError, match=name):
                operation.arguments(**{name: 2**63})
        if field.annotation in {float, float | None}:
            for value in (float("nan"), float("inf")):
                with pytest.raises(ValidationError, match=name):
                    operation.arguments(**{name: value})
