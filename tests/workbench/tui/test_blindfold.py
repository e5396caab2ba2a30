"""What a blind session looks like: names hidden in all of its state, and nothing else touched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.workbench.agent.test_blinding import ADAPTER, ASKED, BASE, NamedPair
from tests.workbench.tui.sample import read_sample_event, sample_state
from workbench.blinding.aliases import blinding_of
from workbench.blinding.redact import StateRedactor
from workbench.blinding.sessions import matching_events
from workbench.store.agent_events import AuditSealed
from workbench.store.events import NoteWritten
from workbench.store.recorded import Prefix, Recorded
from workbench.store.search import found_in
from workbench.store.state import SessionState


def sealed(**changes) -> SessionState:
    state = sample_state()
    aliases = blinding_of(NamedPair().provenance, ASKED, "gold").aliases
    body = AuditSealed(organism="gold", ground_truth_sha256=None, aliases=aliases)
    seal = Recorded(1, state.timeline[0].at, state.timeline[0].actor, None, body)
    return replace(state, seal=seal, **changes)


def test_an_open_session_is_passed_through():
    state = sample_state()
    redactor = StateRedactor()
    assert redactor.state(state) is state
    assert not redactor
    assert redactor.hide(f"{BASE} and gold") == f"{BASE} and gold"


def test_what_has_no_name_in_it_stays_the_same_object():
    state = sealed()
    shown = StateRedactor().state(state)
    for name in ("readings", "texts", "hypotheses", "evidence", "differences"):
        for key, item in getattr(state, name).items():
            assert getattr(shown, name)[key] is item, (name, key)
    assert list(shown.timeline) == list(state.timeline)


def test_names_are_hidden_where_they_stand_by_themselves_even_if_they_are_words():
    pair = {"base": {"checkpoint": BASE}, "finetuned": {"checkpoint": BASE, "adapter": ADAPTER}}
    shown = StateRedactor().state(sealed(name="gold, 2nd look", pair=pair))
    assert shown.name == "MODEL-B, 2nd look"
    assert shown.pair == {
        "base": {"checkpoint": "MODEL-A"},
        "finetuned": {"checkpoint": "MODEL-A", "adapter": "MODEL-B"},
    }
    assert shown.seal is not None
    assert shown.seal.body.organism == "MODEL-B"
    assert set(shown.seal.body.aliases) <= {"MODEL-A", "MODEL-B", "REVISION-A", "HASH-A", "HASH-B"}


def test_a_word_that_is_a_name_is_left_in_what_a_model_says():
    state = sealed()
    text_id, text = next(iter(state.texts.items()))
    said = replace(text, text=f"all that is gold, says {BASE}")
    shown = StateRedactor().state(replace(state, texts={**state.texts, text_id: said}))
    assert shown.texts[text_id].text == "all that is gold, says MODEL-A"


@pytest.mark.slow
def test_a_growing_timeline_is_hidden_as_it_grows_and_a_shorter_one_anew():
    lines = [
        entry._replace(description=f"cannot read {ADAPTER}/x" if place % 300 == 7 else "a line")
        for place, entry in enumerate(list(sample_state().timeline) * 20)
    ]
    redactor = StateRedactor()
    for length in (10, 11, 700, len(lines), 300):
        shown = redactor.state(sealed(timeline=Prefix(lines, length), seq=length))
        said = [entry.description for entry in shown.timeline]
        assert len(said) == length
        assert {*said} == {"a line", "cannot read MODEL-B/x"}
        assert said[7] == "cannot read MODEL-B/x"


def test_a_search_looks_anew_only_into_texts_with_a_name_in_them(monkeypatch):
    texts = ["acme/base bakes a cake", "a cake", "acme/base"]
    events = [
        read_sample_event(1).model_copy(update={"body": NoteWritten(text=text)}) for text in texts
    ]

    class Log:
        def matching(self, *_words, after=0):
            return [1, 2, 3]

        def event(self, _session, seq):
            return events[seq - 1]

    looked_into = []

    def look(text, words):
        looked_into.append(text)
        return found_in(text, words)

    monkeypatch.setattr("workbench.blinding.sessions.found_in", look)
    redactor = StateRedactor({"acme/base": "MODEL-A"})
    assert matching_events(Log(), "a-session", redactor, "cake") == [1, 2]
    assert looked_into == ["MODEL-A bakes a cake", "MODEL-A"]
