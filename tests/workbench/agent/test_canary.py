"""An endpoint sends the key back in every spelling and every place: it is nowhere afterwards."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.workbench.agent.raw_server import Connection, chunk, head, serving_raw
from tests.workbench.agent.scripted import KEY, in_turn, report, reported, serving
from tests.workbench.store.spellings import SPELLINGS
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import EndpointError
from workbench.agent.loop import AuditPlan, start_audit
from workbench.cli import report as reporting
from workbench.operations.running import Session
from workbench.scrubbing import KEY as HIDDEN
from workbench.scrubbing import Scrubber
from workbench.store.agent_events import AgentReplyGrew

FINDER = Scrubber([KEY])
SPELLED = {name: spell(KEY) for name, spell in SPELLINGS.items()}


def assert_clean(text: str, where: str) -> None:
    # Of a long text only what is looked for below, which takes no time.
    assert len(text) > 100_000 or not FINDER.finds(text), where
    for name, spelled in SPELLED.items():
        for written in {
            spelled,
            json.dumps(spelled)[1:-1],
            json.dumps(spelled, ensure_ascii=False)[1:-1],
        }:
            assert written not in text, (where, name)


def file_text(path: Path) -> str:
    return b"".join(one.read_bytes() for one in path.parent.glob(path.name + "*")).decode(
        "utf-8", "replace"
    )


def replies() -> list[bytes]:
    """A reply for each spelling, with it in every field, the text cut into small pieces."""
    found = []
    ways = list(SPELLED.values())
    for start in range(0, len(ways), 11):
        spelled = " ; ".join(ways[start : start + 11])
        text = f"The key is {spelled}, as everybody knows by now, and it is a secret."
        pieces = [text[start : start + 5] for start in range(0, len(text), 5)]
        call = {
            "index": 0,
            "id": f"id-{spelled}",
            "type": "function",
            "function": {
                "name": "note",
                "arguments": json.dumps({"text": text, spelled: [spelled]}),
            },
            "extra_content": {"signature": spelled},
        }
        good = {**call, "index": 1, "id": f"id2-{spelled}"}
        good["function"] = {"name": "note", "arguments": json.dumps({"text": text})}
        stream = b"".join(map(chunk, pieces)) + chunk("", reasoning_content=text)
        stream += chunk("", tool_calls=[call]) + chunk("", tool_calls=[good]) + chunk("", spelled)
        used = {"model": f"m-{spelled}", "choices": [], "usage": {"prompt_tokens": spelled}}
        stream += b"data: " + json.dumps(used).encode() + b"\n\n"
        found.append(head() + stream + b"data: [DONE]\n\n")
    return found


@pytest.mark.slow
def test_a_key_that_is_sent_back_is_nowhere(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workbench.agent.exchange.SECONDS_BETWEEN_PIECES", 0.0)
    left = replies()
    announced = []
    session.log.subscribe(announced.append)

    def respond(connection: Connection) -> None:
        connection.send(left.pop(0) if left else done)

    name, arguments = report(f"It is {KEY}.")
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": "done", "type": "function", "function": function}
    done = head() + chunk("", tool_calls=[call]) + chunk("", "stop") + b"data: [DONE]\n\n"
    plan = AuditPlan(model="scripted", budgets=Budgets(calls=len(left), tokens=None))
    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        start_audit(session, endpoint, plan)
        endpoint.close()
    assert session.state.notes
    assert_clean(file_text(session.log.path), "database")
    assert_clean(repr(session.state), "state")
    assert_clean("".join(event.model_dump_json() for event in announced), "announced")
    # The pieces of each reply as they were shown one after another.
    shown: dict[str, str] = {}
    for event in announced:
        if isinstance(event.body, AgentReplyGrew):
            body = event.body
            shown[body.exchange_id] = shown.get(body.exchange_id, "") + body.text
    assert len(shown) == -(-len(SPELLED) // 11)
    for text in shown.values():
        assert text.count(HIDDEN) >= 9
        assert_clean(text, "stream")
        for length in range(10, len(KEY)):
            assert KEY[:length] not in text
    # Nor is it sent to anybody but in the header.
    for request in server.requests:
        before, _, body = request.partition(b"\r\n\r\n")
        assert KEY.encode() in before
        assert KEY.encode() not in body

    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(reporting.report)
    app.add_typer(reporting.exports, name="export")
    for words in (
        ["report", session.id, "--to", str(tmp_path / "report.md")],
        ["report", session.id, "--format", "html", "--to", str(tmp_path / "report.html")],
        ["export", "jsonl", session.id, str(tmp_path / "session.jsonl")],
        ["export", "inspect", session.id, str(tmp_path / "session.json")],
    ):
        done = CliRunner().invoke(app, [*words, "--database", str(session.log.path)])
        assert_clean(done.output, words[1])
    session.log.export_session(session.id, tmp_path / "exported.db")
    written = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert {"session.jsonl", "exported.db"} <= {one.name for one in written}
    for path in written:
        assert_clean(path.read_bytes().decode("utf-8", "replace"), path.name)


@pytest.mark.parametrize("status", ["401 No", "500 Oops", "200 OK"])
def test_an_error_that_repeats_the_key_is_shown_without_it(session: Session, status: str):
    spelled = " | ".join(SPELLED.values())

    def respond(connection: Connection) -> None:
        body = {"error": {"message": f"Incorrect API key provided: {spelled}.", "code": spelled}}
        connection.send(head("application/json", status) + json.dumps(body).encode())

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        with pytest.raises(EndpointError) as caught:
            start_audit(session, endpoint, AuditPlan(model="scripted"))
        endpoint.close()
    told = "".join(traceback.format_exception(caught.value))
    assert_clean(told + str(caught.value) + file_text(session.log.path), status)


@pytest.mark.slow
def test_a_trace_on_stderr_has_no_key(tmp_path: Path):
    """An error that nobody foresaw, with the key in its words."""
    code = (
        "import sys, workbench.cli as cli\n"
        "from workbench.cli.tree import app\n"
        "from workbench.scrubbing import protect\n"
        f"protect({KEY!r})\n"
        f"def broken(*_a, **_k): raise RuntimeError('refused: ' + {SPELLED['percent']!r} + {KEY!r})\n"
        "app.info.callback = None\n"
        "app.command('broken')(lambda: broken())\n"
        "sys.argv = ['adl-workbench', 'broken']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd()
    )
    assert done.returncode != 0
    assert "refused" in done.stderr
    assert HIDDEN in done.stderr
    assert_clean(re.sub(r"\s", "", done.stderr), "stderr")


def test_keys_of_judge_and_hub_are_hidden_too(session: Session, monkeypatch: pytest.MonkeyPatch):
    hub = "hf_aB3dE5gH7jK9lM1nP2qR4sT6uV8w"
    monkeypatch.setenv("HF_TOKEN", hub)
    judge = "sk-judge-Zy9Xw7Vu5Ts3Rq1Po2Nm4Lk6Ji8"
    with serving(in_turn(report_of(f"{hub} and {judge}"))) as server:
        endpoint = Endpoint(server.settings())
        server.settings(api_key=judge)
        state = start_audit(session, endpoint, AuditPlan(model="scripted"))
        endpoint.close()
    assert state.report is not None
    assert state.report.body.description == reported(f"{HIDDEN} and {HIDDEN}")
    text = file_text(session.log.path)
    assert hub not in text
    assert judge not in text


def report_of(description: str):
    from tests.workbench.agent.scripted import Say

    return Say("", [report(description)])


def test_the_stream_that_scrubs_is_still_a_stream():
    from workbench.cli.streams import ChangedStream

    inner = io.StringIO()
    stream = ChangedStream(inner, FINDER.scrub)
    stream.write(f"a {KEY} b\n")
    stream.writelines([KEY, "\n"])
    stream.flush()
    assert inner.getvalue() == f"a {HIDDEN} b\n{HIDDEN}\n"
