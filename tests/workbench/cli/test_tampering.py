"""The commands that show a session is whole: heads given, exports signed, space given back."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.workbench.store.samples import record_audit
from tests.workbench.store.test_heads import cut
from workbench.cli.tree import app
from workbench.locations import find_locations
from workbench.store.events import NoteWritten
from workbench.store.heads import heads_file
from workbench.store.lease import Lease
from workbench.store.log import SessionLog
from workbench.store.rows import Entry


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def database(workbench_home: Path) -> Path:
    return workbench_home / "sessions.db"


@pytest.fixture
def session(database: Path) -> str:
    with SessionLog.open(database) as log:
        return record_audit(log)


@pytest.mark.slow
def test_a_head_is_printed_in_words_and_taken_back(database: Path, session: str) -> None:
    code, _, said = run("sessions", "verify")
    assert code == 0
    head = next(word for word in said.split() if word.startswith("24:")).rstrip(",")
    assert f"head of {session}: {head}" in said
    assert run("sessions", "verify", session, "--expect", head)[0] == 0
    assert run("sessions", "verify", "--expect", head)[0] == 0
    heads_file(database).unlink()
    cut(database, session, 20)
    code, _, said = run("sessions", "verify")
    assert (code, "would leave no trace" in said) == (0, True)
    code, shown, _ = run("sessions", "verify", session, "--expect", head)
    assert code == 1
    assert "tail" in shown
    for wrong in ("24", "24:xyz", f"0{head}x"):
        assert run("sessions", "verify", session, "--expect", wrong)[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", [("export", "jsonl"), ("sessions", "export")])
def test_a_signed_export_is_checked(
    database: Path, session: str, tmp_path: Path, how: tuple[str, str]
) -> None:
    assert shutil.which("ssh-keygen"), "install openssh-client to run this test"
    keys = {}
    for name in ("ours", "theirs"):
        keys[name] = tmp_path / name
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys[name]]
        subprocess.run(make, check=True)
    allowed = tmp_path / "allowed"
    public = keys["ours"].with_suffix(".pub").read_text()
    allowed.write_text(f"auditor@example.org {public}")
    out = tmp_path / "audit.out"
    code, shown, said = run(*how, session, out, "--sign", keys["ours"], "--json")
    assert code == 0, said
    signature = Path(json.loads(shown)["signature"])
    assert signature.stat().st_mode & 0o777 == 0o600
    check = ["sessions", "verify", session, "--against", out, "--allowed-signers", allowed]
    code, shown, said = run(*check, "--json")
    assert code == 0, said
    assert json.loads(shown)["signed_by"] == "auditor@example.org"
    assert run(*check, "--signer", "auditor@example.org")[0] == 0
    code, _, said = run(*check, "--signer", "someone@else")
    assert code == 2
    assert "ssh-keygen refused" in said
    # A cut session does not fit its signed export.
    heads_file(database).unlink()
    cut(database, session, 20)
    assert run(*check)[0] == 1
    # Neither does an export that was changed, nor one signed by somebody else, nor no signature.
    other = tmp_path / "other.out"
    assert run(*how, session, other, "--sign", keys["theirs"])[0] == 0
    check[4] = other
    assert run(*check)[0] == 2
    with out.open("ab") as file:
        file.write(b"\n")
    check[4] = out
    assert run(*check)[0] == 2
    signature.unlink()
    assert run(*check)[0] == 2
    # What cannot be signed is not written.
    code, _, _ = run(*how, session, tmp_path / "new.out", "--sign", tmp_path / "nokey")
    assert code == 2
    assert not (tmp_path / "new.out").exists()


@pytest.mark.slow
def test_deleting_gives_space_back_when_asked(database: Path, session: str) -> None:
    with SessionLog.open(database) as log:
        big = log.start_session("big", then=[Entry(NoteWritten(text="word " * 500_000))] * 2)
    size = database.stat().st_size
    code, _, said = run("sessions", "delete", big, "--confirm", "another")
    assert code == 2
    assert "nothing was deleted" in said
    assert run("sessions", "delete", big, "--confirm", "big")[0] == 0
    assert database.stat().st_size == size
    code, shown, _ = run("sessions", "vacuum", "--json")
    before, after = json.loads(shown)["bytes"]
    assert (code, before) == (0, size)
    assert after == database.stat().st_size < size / 4
    with SessionLog.open(database) as log:
        assert log.verify().ok
        assert [one.id for one in log.sessions()] == [session]
        again = log.start_session("again", then=[Entry(NoteWritten(text="word " * 500_000))])
    assert run("sessions", "delete", again, "--confirm", "again", "--vacuum")[0] == 0
    assert database.stat().st_size <= after


def test_a_session_that_is_open_is_neither_deleted_nor_copied_around(
    database: Path, session: str
) -> None:
    lease = Lease.take(find_locations().leases, session)
    try:
        for command in (("vacuum",), ("delete", session, "--confirm", "cakes")):
            code, _, said = run("sessions", *command)
            assert code == 2
            assert "is open in another process" in said
    finally:
        lease.release()
    with SessionLog.open(database) as log:
        assert log.verify(session).ok
    assert run("sessions", "vacuum", "--database", database.with_name("none.db"))[0] == 2


def test_a_branch_is_whole_or_not_there(
    database: Path, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.replay.branch import branch
    from workbench.store import transfer

    insert, copied = transfer.insert_event, []

    def failing(*arguments: object) -> None:
        copied.append(arguments)
        if len(copied) == 10:
            raise KeyboardInterrupt
        insert(*arguments)  # type: ignore[arg-type]

    with SessionLog.open(database) as log:
        before = log.verify()
        with monkeypatch.context() as patch:
            patch.setattr(transfer, "insert_event", failing)
            with pytest.raises(KeyboardInterrupt):
                branch(log, session, 20)
        assert [one.id for one in log.sessions()] == [session]
        assert log.verify().heads == before.heads
        new = branch(log, session, 20)
        assert log.find_session(new).events == 21
        assert log.verify().ok


def test_a_mark_with_its_link_is_whole_or_not_there(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adl.artifacts import ArrayCache
    from workbench.operations.hypotheses import MARK, MarkArguments
    from workbench.operations.running import Session
    from workbench.operations.running import run as run_operation
    from workbench.store.events import HUMAN, HypothesisStated
    from workbench.store.rows import Draft

    insert = Draft.insert

    def failing(self: Draft, *arguments: object, **options: object) -> object:
        if self.body.kind == "evidence_linked":
            raise KeyboardInterrupt
        return insert(self, *arguments, **options)  # type: ignore[arg-type]

    stated = Entry(HypothesisStated(hypothesis_id="H1", text="of cakes"))
    with SessionLog.open(database) as log:
        session = Session(log, log.start_session("s", then=[stated]), ArrayCache(Path()))
        marking = MarkArguments(seq=1, excerpt="x", hypothesis="H1")
        with monkeypatch.context() as patch:
            patch.setattr(Draft, "insert", failing)
            with pytest.raises(KeyboardInterrupt):
                run_operation(session, MARK, marking, actor=HUMAN)
        session.catch_up()
        assert not session.state.evidence
        run_operation(session, MARK, marking, actor=HUMAN)
        assert dict(session.state.hypotheses["H1"].evidence) == {"E1": "for"}
