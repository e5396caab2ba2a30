"""No key is stored, however it is spelled, and nothing that is no key is touched."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workbench.store.spellings import SPELLINGS
from workbench.scrubbing import KEY, Held, Scrubber, protect, scrub, scrubber
from workbench.store.events import Actor, NoteWritten, OperationFailed, OperationStarted
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

SECRET = "sk-proj-T0pS3cr3t/Key+With_All-Of.It9876543210zyxw"
FINDER = Scrubber([SECRET])


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_key_is_found_in_every_spelling(name: str):
    spelled = SPELLINGS[name](SECRET)
    scrubbed = FINDER.scrub(f"It is {spelled}, they say.")
    assert KEY in scrubbed
    assert scrubbed.startswith("It is")
    assert scrubbed.endswith("they say.")
    # Nothing long enough of it is left.
    assert not FINDER.finds(scrubbed)
    assert spelled not in scrubbed


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_a_stream_shows_no_part_of_a_key(name: str, size: int):
    text = f"It is {SPELLINGS[name](SECRET)}, they say. And more follows here, quite a lot of it."
    held = Held(FINDER)
    pieces = [held.feed(text[start : start + size]) for start in range(0, len(text), size)]
    shown = "".join(pieces)
    assert KEY in shown
    assert not FINDER.finds(shown)
    # No piece has more of it than chance would.
    for length in range(8, len(SECRET)):
        assert SECRET[:length] not in shown
    # What is kept back is little.
    assert FINDER.scrub(text).startswith(shown)
    assert len(FINDER.scrub(text)) - len(shown) < 20


@given(st.text(max_size=400), st.integers(1, 30))
def test_a_stream_without_keys_is_as_it_was(text: str, size: int):
    held = Held(FINDER)
    shown = "".join(held.feed(text[start : start + size]) for start in range(0, len(text), size))
    assert text.startswith(shown)
    assert FINDER.scrub(text) == text


@given(
    st.text(alphabet=string.ascii_letters + string.digits + "-_", min_size=20, max_size=80),
    st.sampled_from(sorted(SPELLINGS)),
    st.text(max_size=20),
    st.text(max_size=20),
)
@settings(max_examples=200, deadline=None)
def test_any_key_in_any_text(secret: str, name: str, before: str, after: str):
    finder = Scrubber([secret])
    if sum(map(str.isalnum, secret)) < 2 * 16 + 1:
        return
    text = before + " " + SPELLINGS[name](secret) + " " + after
    assert KEY in finder.scrub(text)
    assert not finder.finds(finder.scrub(text))


@pytest.mark.parametrize("secret", ["none", "ollama", "x", "", "---------"])
def test_a_placeholder_is_no_secret(secret: str):
    finder = Scrubber([secret])
    assert not finder
    assert finder.scrub(f"the model {secret} is running") == f"the model {secret} is running"


def test_a_short_secret_is_hidden_as_a_whole_alone():
    finder = Scrubber(["hunter2hunter"])
    assert finder.scrub("pass hunter2hunter!") == "pass [key]!"
    assert finder.scrub("a hunter2 and a hunter") == "a hunter2 and a hunter"


def test_a_vendors_prefix_alone_is_no_key():
    finder = Scrubber(["sk-ant-api03-" + "Qx7" * 20])
    assert finder.scrub("keys begin with sk-ant-api03-...") == "keys begin with sk-ant-api03-..."


# --- where events are stored ----------------------------------------------------------------------


@pytest.fixture
def protected() -> str:
    protect(SECRET)
    return SECRET


def file_bytes(log: SessionLog) -> bytes:
    return b"".join(path.read_bytes() for path in log.path.parent.glob(log.path.name + "*"))


@pytest.mark.parametrize("name", SPELLINGS)
def test_no_event_holds_a_key(log: SessionLog, protected: str, name: str):
    spelled = SPELLINGS[name](protected)
    session = log.start_session(f"named {spelled}")
    log.append(
        session, NoteWritten(text=f"It is {spelled}."), actor=Actor(kind="human", name=spelled)
    )
    arguments = {"deep": [{spelled: {"list": ["x", spelled]}}]}
    log.append(
        session, OperationStarted(operation="ask", arguments=arguments), operation_id=spelled
    )
    told = log.append(
        session, OperationFailed(error="E", message=f"refused: {spelled}", seconds=1.0)
    )
    assert KEY in told.body.message
    data = file_bytes(log).decode("utf-8", "replace")
    assert spelled not in data
    assert json.dumps(spelled)[1:-1] not in data
    assert not FINDER.finds(data)
    assert log.verify().ok
    assert log.search(protected) == []
    for event in log.events(session):
        assert not FINDER.finds(event.model_dump_json())


def test_what_holds_no_key_is_stored_as_it_is(log: SessionLog, protected: str):
    session = log.start_session("a session")
    written = "a%20b &amp; \\u0041 =3D " + "word " * 1000
    assert log.append(session, NoteWritten(text=written)).body.text == written
    entries = [Entry(NoteWritten(text=str(number))) for number in range(3)]
    assert [event.body.text for event in log.append_many(session, entries)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "variable",
    ["HF_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HUGGING_FACE_HUB_TOKEN", "MY_SECRET"],
)
def test_keys_of_the_environment_are_protected(monkeypatch: pytest.MonkeyPatch, variable: str):
    assert scrub(SECRET) == SECRET
    monkeypatch.setenv(variable, SECRET)
    assert scrub(SECRET) == KEY


def test_a_token_that_was_logged_in_with_is_protected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "token").write_text(SECRET + "\n")
    assert scrub(f"it is {SECRET}") == f"it is {KEY}"


def test_a_proxys_password_is_protected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET.replace('/', '')}@proxy:3128")
    assert KEY in scrub(SECRET.replace("/", ""))


def test_a_switch_is_no_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("USE_TOKEN", "implicitly")
    assert not scrubber() or scrub("implicitly") == "implicitly"
