"""Which pair is meant, and what is recorded of it; the loading itself is tested with the pair."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from adl.errors import AdlError, DeviceOutOfMemory, HubUnreachable, PairError, Stopped
from adl.organisms.registry import BUNDLED_ORGANISMS
from adl.records import PairSpec, SideSpec
from tests.planted import N_LAYERS, PlantedPair
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do, kinds
from workbench.operations.pair import LOAD, PairArguments, load_models, resolve_pair, split_revision
from workbench.operations.running import Session
from workbench.scrubbing import scrub

NAMED = PairArguments(base="org/base@v1", adapter="org/cakes@abc")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PairSpec]:
    """What is asked of the loading, which gives a planted pair in place of a real one."""
    specs: list[PairSpec] = []

    def load(spec: PairSpec, hashes: object) -> PlantedPair:
        specs.append(spec)
        return PlantedPair()

    module = SimpleNamespace(NnsightPair=SimpleNamespace(load=load))
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.pair", module)
    return specs


@pytest.fixture
def without_pair(log, cache) -> Session:
    return Session(log, log.start_session("no pair"), cache)


def test_a_loaded_pair_is_recorded_with_all_that_names_it(without_pair: Session, asked):
    outcome = do(without_pair, LOAD, NAMED)
    assert asked == [
        PairSpec(
            base=SideSpec("org/base", "v1"),
            finetuned=SideSpec("org/base", "v1", "org/cakes", "abc"),
        )
    ]
    pair = without_pair.require_pair()
    assert without_pair.state.pair == {
        **pair.provenance.as_dict(),
        "devices": list(pair.provenance.devices),
    }
    assert outcome.summary == {"n_layers": N_LAYERS, "memory": pair.memory()}
    assert kinds(without_pair)[1:] == ["operation_started", "pair_loaded", "operation_finished"]
    assert committed(without_pair)[1].body.arguments["adapter"] == "org/cakes@abc"
    assert_as_recorded(without_pair)


def test_a_stop_before_the_weights_are_read_loads_nothing(without_pair: Session, asked):
    stop = Stop(lambda stage, done, _total: (stage, done) == ("load", 0))
    with pytest.raises(Stopped):
        do(without_pair, LOAD, NAMED, stop)
    assert asked == []
    assert without_pair.pair is None
    assert kinds(without_pair)[-1] == "operation_stopped"


@pytest.mark.parametrize(
    "error",
    [
        PairError("base: 'org/base' is not a model on the hub", "Check the name."),
        HubUnreachable("base: the hub does not answer", "Check the network."),
        DeviceOutOfMemory("no room for 14 GB", "Load in 4 bits."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_load_keeps_the_pair_that_was_there(session: Session, monkeypatch, error):
    before = session.pair

    def refuse(_spec: PairSpec, _hashes: object) -> PlantedPair:
        raise error

    module = SimpleNamespace(NnsightPair=SimpleNamespace(load=refuse))
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.pair", module)
    with pytest.raises(type(error)):
        do(session, LOAD, NAMED)
    assert session.pair is before
    last = committed(session)[-1].body
    assert (last.kind, last.error) == ("operation_failed", type(error).__name__)
    assert (last.message, last.way_out) == (error.message, error.hint)


@pytest.mark.parametrize(
    ("arguments", "named", "hint"),
    [
        ({}, "no base", "--demo"),
        ({"adapter": "org/cakes"}, "no base", "--base"),
        ({"base": "org/base"}, "adapter or a finetuned", "--adapter"),
        ({"organism": "cake_bake", "base": "org/base"}, "whole pair", "--base"),
        ({"organism": "cake_bak"}, "'cake_bak'", "cake_bake"),
        ({"organism": "../cake_bake"}, "'../cake_bake'", "cake_bake"),
    ],
    ids=str,
)
def test_what_makes_no_pair_is_named_with_the_way_out(
    without_pair: Session, asked, arguments, named, hint
):
    with pytest.raises(AdlError) as raised:
        do(without_pair, LOAD, PairArguments(**arguments))
    assert named in raised.value.message
    assert hint in raised.value.hint
    assert asked == []
    assert kinds(without_pair)[-1] == "operation_failed"


def test_an_adapter_may_be_on_another_checkpoint_than_the_base():
    arguments = PairArguments(base="org/base@v1", finetuned="org/chat@v2", adapter="me/cakes@v3")
    spec = resolve_pair(arguments)
    assert spec.base == SideSpec("org/base", "v1")
    assert spec.finetuned == SideSpec("org/chat", "v2", "me/cakes", "v3")
    assert not spec.shares_weights


def test_a_bundled_organism_is_an_adapter_on_the_embedded_base(monkeypatch):
    said: list[str] = []

    def prepared(_cache: Path, say) -> Path:
        say("converting")
        return Path("/models/embedded")

    monkeypatch.setitem(
        sys.modules, "adl.pair.nnsight.demo", SimpleNamespace(prepared_base=prepared)
    )
    spec = resolve_pair(PairArguments(organism="taboo_gold"), said.append)
    assert spec.base == SideSpec("/models/embedded")
    assert spec.finetuned.checkpoint == "/models/embedded"
    assert spec.finetuned.adapter == str(BUNDLED_ORGANISMS / "taboo_gold")
    assert said == ["converting"]


def test_how_to_load_is_passed_on():
    spec = resolve_pair(
        PairArguments(
            base="a/b",
            finetuned="c/d",
            dtype="bfloat16",
            device_map="auto",
            offload_folder="/scratch",
            attn_implementation="eager",
            quantisation="4bit",
            trust_remote_code=True,
        )
    )
    assert (spec.dtype, spec.device_map, spec.attn_implementation) == ("bfloat16", "auto", "eager")
    assert spec.offload_folder == "/scratch"
    assert (spec.quantisation, spec.trust_remote_code) == ("4bit", True)
    assert not resolve_pair(PairArguments(base="a/b", finetuned="c/d")).trust_remote_code
    assert not spec.shares_weights


def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path: Path):
    folder = tmp_path / "run@home"
    folder.mkdir()
    assert split_revision(str(folder)) == (str(folder), None)
    assert split_revision("org/model@main") == ("org/model", "main")
    assert split_revision("org/model") == ("org/model", None)
    assert split_revision("org/model@") == ("org/model", None)


@pytest.mark.parametrize(
    "name", ["x" * 300, "org/" + "y" * 5000, "~nobody-at-all/model"], ids=["long", "longer", "home"]
)
def test_a_name_that_can_be_no_folder_is_an_id(name):
    assert split_revision(f"{name}@v2") == (name, "v2")


@pytest.mark.parametrize(
    "pair",
    [
        {"organism": "cake_bake"},
        {"base": "embedded", "adapter": "org/adapter"},
        {"base": "org/base", "finetuned": "embedded"},
    ],
)
def test_the_bundled_models_are_at_no_service(pair):
    with pytest.raises(PairError, match="are not at ndif") as caught:
        load_models(PairArguments(remote="ndif", **pair))
    assert caught.value.concerns == "remote"


def test_a_pair_that_a_service_runs_is_loaded_by_its_own_class(monkeypatch):
    """And the key of nnsight's own settings is kept out of what is recorded."""
    from adl.callbacks import asked_to_stop
    from adl.pair.nnsight import ndif, remote_pair

    asked = []

    def load(spec, _hashes):
        asked.append((spec, asked_to_stop()))
        return SimpleNamespace()

    key = "0f1e2d3c4b5a69788796"
    monkeypatch.setattr(ndif.CONFIG.API, "APIKEY", key)
    monkeypatch.setattr(remote_pair.RemotePair, "load", load)
    arguments = PairArguments(base="org/base", finetuned="org/tuned", remote="ndif")
    answers = iter([False, True, False])
    load_models(arguments, should_stop=lambda: next(answers))
    assert [(spec.remote, spec.base.checkpoint, stop) for spec, stop in asked] == [
        ("ndif", "org/base", True)
    ]
    assert scrub(f"refused {key}") == "refused [key]"
