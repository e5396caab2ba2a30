"""Every operation on models whose weights wait on the disk finds what it finds on models in memory."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from torch.utils._python_dispatch import _disable_current_modes
from transformers import AutoModelForCausalLM

from adl.artifacts import ArrayCache
from adl.errors import AdlError
from adl.pair.nnsight.offloading import DataNeeded
from adl.readings.registry import READINGS
from tests.tiny_models import (
    SENTENCES,
    TinyFolders,
    perturb,
    tiny_model,
    tiny_tokenizer,
    write_adapter,
    write_model,
)
from workbench.operations import OPERATIONS
from workbench.operations.amplify import AmplifyArguments
from workbench.operations.differing import DIFFER
from workbench.operations.hypotheses import ADD_HYPOTHESIS
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.running import Arguments, Operation, Session, run
from workbench.replay.recompute import recompute
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog

pytestmark = pytest.mark.slow

ON_DISK = {"": "disk", "model.rotary_emb": "cpu", "model.layers.0": "cpu"}
#: By the name of a field, whatever the operation: what it has to be given, and what keeps it small.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("n_samples", "n_prompts", "n_null", "topics"), 3),
    **dict.fromkeys(("n_passages", "n_unprompted", "n_random", "top"), 8),
    **dict.fromkeys(("max_new_tokens", "rounds"), 2),
    "n_texts": 32,
    "max_tokens": 24,
    "n_words": 20,
    "layers": ("0.5", "3"),
    "prefixes": ("The river",),
    "prompt": SENTENCES[0],
    "hypothesis": "H1",
    "phrases": ("river",),
}
#: Other than that for single operations: each passage is run by itself, and brings all weights.
SMALLER: dict[str, dict[str, Any]] = {DIFFER.name: {"n_texts": 8}}
CLOSE = 1e-4


def examining() -> list[Operation[Any]]:
    return [
        operation
        for operation in OPERATIONS.values()
        if operation.uses_models and operation.examines and operation is not LOAD
    ]


def small(operation: Operation[Any], **chosen: Any) -> Arguments:
    """The operation's arguments, as small as they may be."""
    given = SMALL | SMALLER.get(operation.name, {})
    fields = operation.arguments.model_fields
    return operation.arguments(**{name: given[name] for name in fields if name in given} | chosen)


def variants(operation: Operation[Any]) -> Iterator[Arguments]:
    """The smallest arguments, and with each choice of each field that has a few."""
    yield small(operation)
    for name, field in operation.arguments.model_fields.items():
        if typing.get_origin(field.annotation) is Literal:
            for value in typing.get_args(field.annotation):
                if value != field.default:
                    yield small(operation, **{name: value})


@contextmanager
def no_data_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No tensor without data is read, but where transformers makes a model of such."""
    for name in ("from_pretrained", "from_config"):
        made = getattr(AutoModelForCausalLM, name)

        def unwatched(*args: Any, made: Any = made, **options: Any) -> Any:
            with _disable_current_modes():
                return made(*args, **options)

        monkeypatch.setattr(AutoModelForCausalLM, name, unwatched)
    with DataNeeded():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    folder = tmp_path_factory.mktemp("llama")
    # No rows without a token, which random models would write.
    model, full = (tiny_model("llama", vocabulary=len(tiny_tokenizer())) for _ in range(2))
    base = write_model(folder / "base", model)
    adapter = write_adapter(folder / "adapter", model, "llama")
    perturb(full, 99, 0.05)
    return TinyFolders(base, write_model(folder / "finetuned", full), adapter)


@pytest.mark.parametrize("kind", ["checkpoint", "adapter"])
def test_every_operation(
    folders: TinyFolders, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetuned = {"finetuned": folders.finetuned, "adapter": folders.adapter}
    name = "finetuned" if kind == "checkpoint" else "adapter"
    pair = PairArguments(base=str(folders.base), **{name: str(finetuned[name])})
    documents = tmp_path / "documents.txt"
    documents.write_text("\n".join(SENTENCES))
    monkeypatch.setitem(SMALL, "documents", str(documents))
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session = Session(log, log.start_session("in memory"), ArrayCache(tmp_path / "arrays"))
        run(session, LOAD, pair, actor=HUMAN)
        stated = ADD_HYPOTHESIS.arguments(text="It was finetuned on rivers")
        run(session, ADD_HYPOTHESIS, stated, actor=HUMAN)
        for operation in examining():
            for arguments in variants(operation):
                # What is refused here has to be refused there in the same words.
                with suppress(AdlError):
                    run(session, operation, arguments, actor=HUMAN)
        with no_data_read(monkeypatch):
            report = recompute(log, session.id, loading={"device_map": json.dumps(ON_DISK)})
        again = Session(log, report.session, session.cache).state
    assert again.pair is not None
    assert again.pair["devices"] == ["cpu", "disk"]
    for then in report.operations:
        found, name = then.drift, then.name
        assert (name, then.now, then.why) == (name, then.then, then.why)
        assert (name, found.missing, found.extra) == (name, 0, 0)
        same = (name, found.same_lists, found.same_texts)
        assert same == (name, found.lists, found.texts), found.lines
        assert found.relative <= CLOSE, (name, found.lines)
    finished = [each for each in again.operations.values() if each.status == "finished"]
    assert {each.name for each in finished} == {each.name for each in [LOAD, *examining()]}
    assert {key.reading for key in again.readings} == set(READINGS)
    carriers = {each.arguments.get("carrier") for each in finished} - {None}
    wanted = set(typing.get_args(AmplifyArguments.model_fields["carrier"].annotation))
    assert carriers == wanted - ({"adapter"} if kind == "checkpoint" else set())
