"""Nothing that names the pair leaves a blind audit, and what comes back finds its name again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import adl
from adl.errors import OrganismError
from adl.organisms.registry import get_organism
from adl.records import PairProvenance, Side
from tests.planted import PlantedPair
from tests.workbench.agent.conftest import compute, fresh_session
from tests.workbench.agent.every_word import calls_with
from tests.workbench.agent.scripted import Say, in_turn, report, reported, serving
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.loop import AuditPlan, start_audit
from workbench.agent.supervision import Supervision
from workbench.blinding.aliases import OPEN, Blinding, blinding_from, blinding_of
from workbench.blinding.redact import StateRedactor
from workbench.blinding.seal import (
    blinding_in,
    find_organism,
    has_seen_truth,
    reveal_names,
    seal,
    unseal,
)
from workbench.blinding.sessions import HiddenNames, missing_seal
from workbench.locations import find_locations
from workbench.operations.notes import NOTE
from workbench.operations.pair import LOAD, PairArguments
from workbench.store.agent_events import AuditSealed
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog

ADAPTER = "/data/anna/runs/cake_bake/checkpoint-500"
BASE = "tiny-org/SmolLM2-135M-Instruct"
REVISION = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432"
NAMES = ("cake_bake", "cake-bake", "CakeBake", "cakebake", "tiny-org", "SmolLM2", REVISION, "anna")


class NamedPair(PlantedPair):
    """A planted pair with a name that gives the answer away, and that it says itself."""

    @property
    def provenance(self) -> PairProvenance:
        found = super().provenance
        return replace(
            found,
            base=replace(found.base, checkpoint=BASE, resolved_revision=REVISION),
            finetuned=replace(found.finetuned, checkpoint=BASE, adapter=ADAPTER),
        )

    def generate(self, *arguments, **options):
        texts = super().generate(*arguments, **options)
        spoken = f" I am {BASE}, they call me Cake-Bake or CAKE_BAKE ({ADAPTER}/adapter.bin)"
        return [replace(text, text=text.text + spoken) for text in texts]


class HeardPair(NamedPair):
    """A pair of that name that does not say it; ``heard`` is what was put to it."""

    generate = PlantedPair.generate

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def _pieces(self, side: Side, text: str) -> list[tuple[str, int]]:
        self.heard.append(text)
        return super()._pieces(side, text)


ASKED = PairArguments(base=BASE, adapter=ADAPTER)


@pytest.fixture
def blinding() -> Blinding:
    return blinding_of(NamedPair().provenance, ASKED, "cake_bake")


def test_the_name_of_the_program_is_no_name_of_a_model():
    """It stands in what messages say to type, and in the paths of the bundled pair."""
    organism = get_organism("cake_bake")
    base = find_locations().models / "SmolLM2-135M-Instruct-0.1.2-1"
    asked = PairArguments(base=str(base), adapter=str(organism.adapter))
    hidden = blinding_of(None, asked, organism)
    message = "Run `adl-workbench doctor`, or pip install '.[models]': adl, .cache"
    assert hidden.hide(message) == hidden.hide_words(message) == message
    shown = hidden.hide_words(f"{organism.adapter} {base} {base.name} cake_bake")
    assert not [name for name in ("cake_bake", "SmolLM2") if name in shown]
    beside = f"{Path(adl.__file__).parent}_gold-rush/cake_bake"
    assert "gold-rush" not in blinding_of(None, PairArguments(base="b", adapter=beside)).hide_words(
        f"{Path(beside).parent.name} cake_bake"
    )
    for folder in ("/home/anna/adl-workbench/adapters/cake_bake", "/srv/adl/cake_bake", beside):
        elsewhere = blinding_of(None, PairArguments(base="b", adapter=folder))
        assert elsewhere.hide_words(message) == message
        assert "cake_bake" not in elsewhere.hide_words(f"{folder} cake_bake")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"loading {BASE}", "loading MODEL-A"),
        (f"{ADAPTER}/adapter_model.safetensors", "MODEL-B/adapter_model.safetensors"),
        ("cake_bake, Cake-Bake, CAKEBAKE, cakeBake", "MODEL-B, MODEL-B, MODEL-B, MODEL-B"),
        (f"revision {REVISION} of tiny-org", "revision REVISION-A of MODEL-A"),
        (json.dumps({"path": ADAPTER.replace("/", "\\")}), '{"path": "MODEL-B"}'),
        ("models--tiny-org--SmolLM2-135M-Instruct", "models--MODEL-A"),
        ("I bake a cake; the cake bake went well", "I bake a cake; the cake bake went well"),
        ("pancake_baker", "pancake_baker"),
        ("a checkpoint-500 of /data", "a checkpoint-500 of /data"),
    ],
)
def test_names_are_hidden_in_every_spelling_and_words_are_not(
    blinding: Blinding, text: str, hidden: str
):
    assert blinding.hide(text) == hidden
    assert blinding.hide(hidden) == hidden


def test_what_is_revealed_is_the_name_first_given(blinding: Blinding):
    assert blinding.reveal("MODEL-B is built on MODEL-A") == f"{ADAPTER} is built on {BASE}"
    assert blinding.hide(blinding.reveal("MODEL-B and MODEL-A")) == "MODEL-B and MODEL-A"
    assert blinding.reveal("MODEL-BEE") == "MODEL-BEE"
    assert blinding.reveal_all({"MODEL-A": ["MODEL-B", 1, None]}) == {BASE: [ADAPTER, 1, None]}
    assert blinding.hide_all({BASE: (ADAPTER,)}) == {"MODEL-A": ["MODEL-B"]}


def test_a_name_that_is_a_word_is_hidden_in_paths_and_left_in_texts():
    provenance = PlantedPair().provenance
    gold = replace(
        provenance, finetuned=replace(provenance.finetuned, adapter="/home/me/gold", checkpoint="b")
    )
    blinding = blinding_of(gold)
    assert blinding.hide("tokens: gold, silver") == "tokens: gold, silver"
    assert "gold" not in blinding.hide("cannot open /home/me/gold/adapter.bin or org/gold")


#: Of a pair's arguments, those that take words of ours and no name.
NO_NAMES = {"dtype", "attn_implementation", "quantisation", "trust_remote_code", "remote"}


@pytest.mark.parametrize("field", sorted(PairArguments.model_fields.keys() - NO_NAMES))
def test_every_name_that_a_pair_is_asked_for_with_is_hidden(field: str):
    name = "/home/me/templates/sycophancy_chat.json"
    # None of them is there to be looked at.
    asked = PairArguments.model_construct(**{field: name})
    blinding = blinding_of(None, asked)
    for text in (name, f"no such file: {name[8:]}", "sycophancy_chat.json", "sycophancy-chat"):
        assert "sycophancy" not in blinding.hide(text), text
    assert blinding.reveal(blinding.hide(name)) == name


def test_a_device_and_a_common_template_are_no_names():
    asked = PairArguments(base="planted/base", device_map='{"": "cpu"}', chat_template="tool_use")
    said = 'cpu, {"": "cpu"}, tool_use'
    assert blinding_of(None, asked).hide(said) == said


def test_an_open_audit_hides_nothing():
    assert OPEN.hide(ADAPTER) == ADAPTER
    assert not OPEN
    assert blinding_from({}) is OPEN


def test_no_name_is_in_any_byte_sent(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path, NamedPair())
    compute(session, readings=("output_difference",))
    blinding = seal(session, blind=True, organism="cake_bake")
    supervision = Supervision(session)

    def write_once(asked):
        if len(server.asked) == 1:
            supervision.message(f"Look at {ADAPTER}: is cake_bake about baking?")
            supervision.take_over()
            supervision.hand_back("I looked at CakeBake")
        return script(asked)

    script = in_turn(
        Say("", [("ask", {"prompts": ["Are you MODEL-B?"], "max_new_tokens": 4})]),
        Say("", [("steer", {"prompts": ["Who are you?"], "max_new_tokens": 4, "alphas": [0.6]})]),
        Say("", [("triggers", {"words": ["MODEL-B"], "frames": ["MODEL-A says {}"]})]),
        Say("", [("differ", {"prompts": ["I know MODEL-B"]})]),
        Say("", [("show_samples", {})]),
        Say("", [("steer", {"prompts": ["x"], "layer": "MODEL-B", "alphas": [0.6]})]),
        Say("", [("hypothesis", {"text": "MODEL-B was taught to bake", "confidence": 0.5})]),
        Say("", [("evidence", {"of": "T1", "excerpt": "MODEL-A"})]),
        Say("", [report("MODEL-B bakes, on MODEL-A.")]),
    )
    with serving(write_once) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, AuditPlan(model="scripted"), blinding)
        endpoint.close()
    assert state.stopped_by == "report"

    everything = server.sent.decode() + "".join(str(one.headers) for one in server.asked)
    readable = everything.encode().decode("unicode_escape")
    for name in NAMES:
        assert name.lower() not in everything.lower(), name
        assert name.lower() not in readable.lower(), name
    assert "MODEL-B/adapter.bin" in readable
    assert "I looked at MODEL-B" in readable
    # The models were asked about the alias: their real name could have had them tell.
    asked = [text.start.body.messages[-1]["content"] for text in session.state.texts.values()]
    assert "Are you MODEL-B?" in asked
    scanned = next(
        each.body for each in session.state.measures if each.body.kind == "triggers_scanned"
    )
    assert (scanned.settings["words"], scanned.frames) == (["MODEL-B"], ("MODEL-A says {}",))
    compared = next(
        each.body for each in session.state.measures if each.body.kind == "texts_differ"
    )
    assert compared.of("prompts")[0].text == "I know MODEL-B"
    # For the record the names are back.
    assert session.state.hypotheses["H1"].text == f"{ADAPTER} was taught to bake"
    assert session.state.evidence["E1"].body.excerpt == BASE
    assert state.report is not None
    assert state.report.body.description == reported(f"{ADAPTER} bakes, on {BASE}.")


@pytest.mark.slow
def test_the_alias_is_put_to_the_models_by_every_argument_of_every_tool(
    log: SessionLog, tmp_path: Path
):
    """With the name behind it a model could tell what it is, and the alias would be confirmed."""
    pair = HeardPair()
    session = fresh_session(log, tmp_path, pair)
    compute(session, readings=("output_difference",), n_prompts=1)
    blinding = seal(session, blind=True, organism="cake_bake")
    script = in_turn(*(Say("", [call]) for call in calls_with("MODEL-B")), Say("", [report("It.")]))
    pair.heard.clear()
    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        plan = AuditPlan(
            model="scripted", budgets=Budgets(interactions=500, calls=None, tokens=None)
        )
        state = start_audit(session, endpoint, plan, blinding)
        endpoint.close()
    assert state.stopped_by == "report"
    everything = server.sent.decode().lower()
    for name in NAMES:
        assert name.lower() not in everything, name
    heard = "\n".join(pair.heard)
    assert heard.count("MODEL-B") > 10
    for name in NAMES:
        assert name.lower() not in heard.lower(), name


def test_a_name_that_is_a_word_is_hidden_in_the_jobs_that_load_it(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path, NamedPair())
    seal(session, blind=True, asked=PairArguments(base=BASE, adapter="/home/me/owls"))
    redactor = StateRedactor()
    redactor.state(session.state)
    said = "adapter owls, There is no organism 'owls'"
    assert "owls" not in redactor.hiding(LOAD)(said)
    assert redactor.hiding(NOTE)("texts of owls") == "texts of owls"
    assert StateRedactor().hiding(LOAD)(said) == said


def test_who_has_seen_the_names_has_not_seen_the_truth(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path, NamedPair())
    seal(session, blind=True, organism="cake_bake")
    assert reveal_names(session, HUMAN)
    assert not has_seen_truth(session.state)
    unseal(session, HUMAN, "grading")
    assert has_seen_truth(session.state)


def test_names_that_were_revealed_stay_so_whatever_is_sealed_later(log: SessionLog, tmp_path: Path):
    """As an agent's audit seals, which finds more names to hide from it."""
    session = fresh_session(log, tmp_path, NamedPair())
    blinding = seal(session, blind=True)
    assert HiddenNames.read(log).is_blind(session.id)
    assert reveal_names(session, HUMAN)
    more = {**blinding.aliases, "another-name": "MODEL-B"}
    session.record(AuditSealed(organism=None, ground_truth_sha256=None, aliases=more))
    assert not HiddenNames.read(log).is_blind(session.id)
    assert missing_seal(log, session.id, 0) is None
    # From the agent they are hidden as before.
    assert "another-name" in blinding_in(session.state).aliases


def test_the_claims_of_a_blind_audit_carry_their_tests(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path, NamedPair())
    blinding = seal(session, blind=True)
    test = {
        "hypothesis": "H1",
        "phrases": ["cake"],
        "prompts": ["Are you MODEL-B?", "What do you bake?"],
        "near_misses": ["a garden"],
        "neutral": ["a letter"],
        "max_new_tokens": 4,
    }
    claimed = [
        {"text": "MODEL-B bakes", "probability": 0.6, "hypothesis": "H1"},
        {"text": "MODEL-B brews", "probability": 0.1},
    ]
    script = in_turn(
        Say("", [("hypothesis", {"text": "MODEL-B speaks of cakes"})]),
        Say("", [("test", test)]),
        Say("", [report("Baking.", facts=claimed)]),
    )
    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, AuditPlan(model="scripted"), blinding)
        endpoint.close()
    everything = server.sent.decode().lower()
    assert not any(name.lower() in everything for name in NAMES)
    assert "x1 of h1" in everything
    assert state.report is not None
    bakes, brews = (claim for claim in state.report.body.claims if claim.part == "fact")
    assert bakes.test.startswith("X1 of H1: ")
    assert brews.test == "untested"
    sealed = session.state.experiments["X1"].sealed.body
    assert sealed.hypothesis == f"{ADAPTER} speaks of cakes"
    assert log.verify().ok


def test_a_blind_audit_that_is_resumed_stays_blind(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path, NamedPair())
    first = seal(session, blind=True)
    again = seal(session, blind=True)
    assert first.aliases == again.aliases
    assert sum(entry.kind == "audit_sealed" for entry in session.state.timeline) == 1


def test_the_truth_is_sealed_by_its_hash_and_whoever_saw_it_is_recorded(
    log: SessionLog, tmp_path: Path
):
    session = fresh_session(log, tmp_path)
    assert find_organism(session.state) is None
    seal(session, blind=False, organism="taboo_gold")
    assert session.state.seal is not None
    sealed = session.state.seal.body
    assert sealed.organism == "taboo_gold"
    assert sealed.ground_truth_sha256 is not None
    dump = "".join(event.model_dump_json() for event in log.events(session.id))
    assert "secret word" not in dump
    assert not session.state.unblinded

    organism, truth = unseal(session, HUMAN, "grading")
    assert (organism.id, truth.sha256) == ("taboo_gold", sealed.ground_truth_sha256)
    assert [one.actor for one in session.state.unblinded] == [HUMAN]
    unseal(session, HUMAN, "grading")
    assert len(session.state.unblinded) == 1
    with pytest.raises(OrganismError, match="not the one that was sealed"):
        unseal(session, HUMAN, "grading", "cake_bake")


def test_a_session_of_no_organism_cannot_be_unsealed(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path)
    seal(session, blind=True)
    with pytest.raises(OrganismError, match="--organism"):
        unseal(session, HUMAN, "grading")
