from __future__ import annotations

import base64
import gzip
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.workbench.replay.audits import Audit
from tests.workbench.store.samples import record_audit
from tests.workbench.store.test_transfer import contents
from workbench.report.errors import ExportError
from workbench.report.jsonl import export_jsonl, import_jsonl, schema
from workbench.store.encoding import LONGEST_BODY
from workbench.store.errors import StoreError
from workbench.store.events import NoteWritten
from workbench.store.log import SessionLog
from workbench.store.state import fold


def lines_of(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("name", ["audit.jsonl", "audit.jsonl.gz"])
def test_a_session_goes_out_and_back_bit_for_bit(
    log: SessionLog, recorded: Audit, tmp_path: Path, name: str
) -> None:
    log.append(recorded.session_id, NoteWritten(text="\x1b[31m \ud800 \U0001f382 \x00"))
    first = export_jsonl(log, recorded.session_id, tmp_path / "out" / name)
    assert [entry.name for entry in first.parent.iterdir()] == [name]
    with SessionLog.open(tmp_path / "new.db") as new:
        assert import_jsonl(new, first) == recorded.session_id
        report = new.verify()
        assert report.ok, report.problems
        assert report.heads == {
            recorded.session_id: log.verify(recorded.session_id).heads.popitem()[1]
        }
        assert contents(new.path, recorded.session_id) == contents(log.path, recorded.session_id)
        assert fold(new.events(recorded.session_id)) == fold(log.events(recorded.session_id))
        assert new.search("sponge")
        again = export_jsonl(new, recorded.session_id, tmp_path / f"again-{name}")
        assert again.read_bytes() == first.read_bytes()
        assert new.append(recorded.session_id, NoteWritten(text="on")).seq > 1
    if name.endswith(".gz"):
        assert first.stat().st_size < recorded.path.stat().st_size / 4


@pytest.mark.slow
def test_every_line_fits_the_published_schema(
    log: SessionLog, recorded: Audit, tmp_path: Path
) -> None:
    other = record_audit(log)
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    kinds = set()
    for session in (recorded.session_id, other):
        for line in lines_of(export_jsonl(log, session, tmp_path / f"{session}.jsonl")):
            validator.validate(line)
            kinds.add(line["line"])
    assert kinds == {"session", "array", "event", "end"}
    assert not validator.is_valid({"line": "event", "seq": 1})
    assert not validator.is_valid({"line": "event", "body": {"kind": "unheard_of"}})


def test_hashes_can_be_derived_from_the_lines_alone(
    log: SessionLog, recorded: Audit, tmp_path: Path
) -> None:
    """What a reader in another language does, with nothing of ours."""

    def canonical(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    previous, arrays, named = "", set(), set()
    for line in lines_of(export_jsonl(log, recorded.session_id, tmp_path / "a.jsonl")):
        if line["line"] == "array":
            head = line["dtype"] + json.dumps(line["shape"])
            data = base64.b64decode(line["data"])
            assert hashlib.sha256(head.encode() + data).hexdigest() == line["sha256"]
            arrays.add(line["sha256"])
        if line["line"] == "event":
            envelope = {
                name: line[name] for name in ("session_id", "seq", "at", "operation_id", "previous")
            }
            envelope["actor"] = [line["actor"]["kind"], line["actor"]["name"]]
            envelope["body"] = canonical(line["body"])
            assert hashlib.sha256(canonical(envelope).encode()).hexdigest() == line["sha256"]
            assert line["previous"] == previous
            previous = line["sha256"]
            refs = {ref["sha256"] for ref in line["body"].get("arrays", {}).values()}
            assert refs <= arrays  # an array stands before the event that names it
            named |= refs
    assert arrays == named != set()


def test_an_event_of_an_older_program_keeps_its_hash(log: SessionLog, tmp_path: Path) -> None:
    """A field that came later must not be written into what was hashed without it."""
    from workbench.store.encoding import canonical_json, event_hash
    from workbench.store.events import SYSTEM
    from workbench.store.rows import insert_event

    session = log.start_session("old")
    (first,) = log.events(session)
    body = canonical_json({"kind": "operation_stopped", "reason": "a key", "seconds": 1})
    older = json.loads(body) | {"kind": "session_closed", "outcome": "stopped"}
    older = {key: older[key] for key in ("kind", "outcome")}  # as if `reason` were not known yet
    text = canonical_json(older)
    at = "2026-01-01T00:00:00.000000Z"
    digest = event_hash(
        session_id=session,
        seq=2,
        at=at,
        actor=SYSTEM,
        operation_id=None,
        body_text=text,
        previous=first.sha256,
    )
    with sqlite3.connect(log.path) as connection:
        row = (session, 2, at, "system", "", "session_closed", None, text, first.sha256, digest)
        insert_event(connection, row, "", [])
    assert log.verify(session).ok
    written = export_jsonl(log, session, tmp_path / "old.jsonl")
    with SessionLog.open(tmp_path / "new.db") as new:
        import_jsonl(new, written)
        assert contents(new.path, session) == contents(log.path, session)


def test_a_file_that_is_there_is_not_overwritten(
    log: SessionLog, recorded: Audit, tmp_path: Path
) -> None:
    target = tmp_path / "a.jsonl"
    target.write_text("mine")
    with pytest.raises(ExportError, match="exists already"):
        export_jsonl(log, recorded.session_id, target)
    assert target.read_text() == "mine"
    with pytest.raises(ExportError, match="cannot be written"):
        export_jsonl(log, recorded.session_id, target / "below" / "a.jsonl")
    with pytest.raises(StoreError, match="nonesuch"):
        export_jsonl(log, "nonesuch", tmp_path / "b.jsonl")
    assert not (tmp_path / "b.jsonl").exists()


def changed(lines: list[dict[str, Any]], what: str) -> list[Any]:
    event = next(i for i, line in enumerate(lines) if line.get("seq") == 3)
    array = next(i for i, line in enumerate(lines) if line["line"] == "array")
    copy = [dict(line) for line in lines]
    match what:
        case "word":
            copy[event]["body"] = copy[event]["body"] | {"operation": "steal"}
        case "number":
            copy[array]["data"] = base64.b64encode(bytes(8) + b"x").decode()
        case "dropped event":
            del copy[event]
        case "dropped array":
            del copy[array]
        case "other chain":
            copy[-2] |= {"previous": "0" * 64}
        case "cut":
            del copy[-3:]
        case "cut, with the end":
            del copy[-3:-1]
        case "more":
            copy.append(copy[-2])
        case "unknown kind":
            copy[event]["body"] = {"kind": "unheard_of"}
        case "two sessions":
            copy.append(copy[0])
        case "no session":
            del copy[0]
        case "not base64":
            copy[array]["data"] = "!"
        case "later version":
            copy[0]["version"] = 2
        case "list":
            return [*copy, []]
    return copy


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("word", "does not verify"),
        ("number", "does not verify"),
        ("dropped event", "line|does not verify"),
        ("dropped array", "array arrays.* is missing"),
        ("other chain", "does not verify"),
        ("cut", "ends after line .*cut"),
        ("cut, with the end", "should be the last"),
        ("more", "has ended"),
        ("unknown kind", "event 3: its body cannot be read"),
        ("two sessions", "line \\d+"),
        ("no session", "line 1"),
        ("not base64", "line \\d+"),
        ("later version", "line 1.*version"),
        ("list", "line \\d+ is no JSON object"),
    ],
)
def test_what_was_changed_is_not_imported(
    log: SessionLog, recorded: Audit, tmp_path: Path, what: str, said: str
) -> None:
    lines = lines_of(export_jsonl(log, recorded.session_id, tmp_path / "a.jsonl"))
    spoilt = tmp_path / "spoilt.jsonl"
    spoilt.write_text("".join(json.dumps(line) + "\n" for line in changed(lines, what)))
    with SessionLog.open(tmp_path / "new.db") as new:
        with pytest.raises((ExportError, StoreError), match=said):
            import_jsonl(new, spoilt)
        assert new.sessions() == []
        assert new.verify().ok


def test_files_that_are_no_session_are_named(log: SessionLog, tmp_path: Path) -> None:
    for name, data, said in [
        ("empty.jsonl", b"", "is empty"),
        ("text.jsonl", b"hello\n", "line 1 is not JSON"),
        ("deep.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("cut.jsonl.gz", gzip.compress(b"x" * 1000)[:20], "damaged|not JSON"),
        ("spoilt.jsonl.gz", gzip.compress(b"{}" * 900)[:-9] + b"x" * 9, "damaged|not JSON"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ExportError, match=said):
            import_jsonl(log, tmp_path / name)
    with pytest.raises(ExportError, match="cannot be read"):
        import_jsonl(log, tmp_path / "missing.jsonl")


def test_a_session_is_imported_once(log: SessionLog, recorded: Audit, tmp_path: Path) -> None:
    written = export_jsonl(log, recorded.session_id, tmp_path / "a.jsonl")
    with pytest.raises(StoreError, match="already"):
        import_jsonl(log, written)


@pytest.mark.slow
def test_what_is_recorded_can_be_exported_and_imported(log: SessionLog, tmp_path: Path) -> None:
    session = log.start_session("long")
    # As JSON, a letter of most scripts takes six bytes.
    letters = LONGEST_BODY // 6 - 10
    log.append(session, NoteWritten(text="\u0436" * letters))
    with pytest.raises(StoreError, match="15.0 MiB long, and one of at most 15 MiB") as refused:
        log.append(session, NoteWritten(text="\u0436" * (letters + 20)))
    assert "nothing was stored" in refused.value.hint
    written = export_jsonl(log, session, tmp_path / "long.jsonl")
    with SessionLog.open(tmp_path / "other.db") as other:
        import_jsonl(other, written)
        assert other.verify().ok
        assert len(list(other.events(session))) == 2
