"""The model pair: its arguments, and loading it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop, stopped_by
from adl.errors import PairError, Stopped, concerning, install_extra
from adl.organisms.registry import BUNDLED_ORGANISMS, EMBEDDED_BASE, Organism
from adl.pair.protocol import ModelPair
from adl.paths import expanded
from adl.records import PairSpec, Quantisation, Remote, SideSpec
from workbench.locations import find_locations
from workbench.operations.running import Arguments, Context, Operation, Stage, Summary
from workbench.organisms import named_organism
from workbench.scrubbing import protect
from workbench.store.events import PairLoaded
from workbench.store.state import OperationState

if TYPE_CHECKING:
    from adl.pair.nnsight.pair import NnsightPair

DEMO_ORGANISM = "cake_bake"
#: The fields that name a pair; the others say how to load it.
PAIR_NAMES = ("organism", "base", "adapter", "finetuned")
#: What the extra `models` installs, by the names that are imported.
MODEL_LIBRARIES = frozenset(
    {"accelerate", "gguf", "huggingface_hub", "nnsight", "peft", "torch", "transformers"}
)


class PairArguments(Arguments):
    """A pair and how to load it: an organism, or a base with an adapter or a checkpoint.

    With both, the adapter is on the finetuned checkpoint.
    """

    organism: str | None = Field(None, description="Id of a model organism, bundled or your own.")
    base: str | None = Field(
        None, description="Base: ID[@revision], a folder, a GGUF file, or embedded."
    )
    adapter: str | None = Field(None, description="LoRA/PEFT adapter: ID[@revision] or a folder.")
    finetuned: str | None = Field(
        None,
        description="Finetuned: ID[@revision], a folder or a GGUF file; or an adapter's folder.",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Numbers the weights are loaded as; auto takes the checkpoint's."
    )
    device_map: str | None = Field(
        None,
        description="Where weights go: auto, cpu, cuda:0, or a JSON table of modules and devices "
        "(0, cpu, disk), written out or in a file NAME.json; none takes a GPU if there is one.",
    )
    offload_folder: str | None = Field(
        None,
        description="Folder for weights that the device map puts on the disk; none is a temporary one.",
    )
    attn_implementation: str | None = Field(None, description="eager, sdpa or flash_attention_2.")
    quantisation: Quantisation | None = Field(None, description="Load quantised.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the checkpoint.")
    chat_template: str | None = Field(
        None, description="Name of one of the sides' chat templates, or a file with one."
    )
    remote: Remote | None = Field(
        None,
        description="Service that runs the models, both hosted there: ndif, with the key in "
        "NDIF_API_KEY; none runs them here.",
    )


def asked_pairs(operations: Mapping[str, OperationState]) -> list[PairArguments]:
    """Every pair that a session was asked to load, in order.

    One that was asked for with arguments that this version does not know is left out.
    """
    loads = [operation for operation in operations.values() if operation.name == LOAD.name]
    found = [_arguments(operation) for operation in loads]
    return [pair for pair in found if pair is not None]


def loaded_pair(operations: Mapping[str, OperationState]) -> PairArguments | None:
    """The pair that was loaded last in a session, as it was asked for.

    None if no loading came to its end, or if this version does not know the arguments of the last.
    """
    loads = [
        operation
        for operation in operations.values()
        if operation.name == LOAD.name and operation.status == "finished"
    ]
    return _arguments(loads[-1]) if loads else None


def _arguments(load: OperationState) -> PairArguments | None:
    try:
        return PairArguments.model_validate(load.arguments)
    except ValidationError:
        return None


def load(context: Context, arguments: PairArguments) -> Summary:
    """Load both models; one copy of the weights is enough if the finetuned side is an adapter."""
    loader = context.session.loader or load_models
    pair = loader(arguments, context.progress, context.should_stop)
    context.record(PairLoaded(pair=pair.provenance.as_dict()))
    context.session.pair = pair
    context.progress("load", 1, 1)
    return loaded_summary(pair)


LoadModels = Callable[[PairArguments, StageProgress, ShouldStop], ModelPair]
"""Loads a pair without a session, as `load_models` does."""


def load_models(
    arguments: PairArguments,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
) -> ModelPair:
    """Load a pair without a session. Raises ``PairError`` and its kin, and ``Stopped``."""
    # Loading is the one thing that needs torch: importing it here keeps it out of every session
    # that is only read, and out of --help.
    with _model_libraries():
        from adl.pair.hub_download import watched
        from adl.pair.weight_hashes import FileHashes

        kind = pair_kind(arguments)
        progress("load", 0, 1)
        spec = resolve_pair(arguments, lambda line: progress(line, 0, 1))
    _check_stop(should_stop)
    if arguments.remote is not None:
        from adl.pair.nnsight.ndif import Ndif

        # It may be in nnsight's own settings, where nothing else looks for keys.
        protect(Ndif().key)
    hashes = FileHashes(
        find_locations().hashes,
        lambda done, total: progress("hash the files", done >> 20, total >> 20),
        should_stop,
    )
    with (
        watched(
            lambda done, total: progress("download", done >> 20, total >> 20),
            should_stop,
        ),
        stopped_by(should_stop),
    ):
        pair = kind.load(spec, hashes)
    _check_stop(should_stop)
    return pair


def pair_kind(arguments: PairArguments) -> type[NnsightPair]:
    """Return the class that loads the pair: one that runs here, or one that a service runs."""
    if arguments.remote is not None:
        from adl.pair.nnsight.remote_pair import RemotePair

        return RemotePair
    from adl.pair.nnsight.pair import NnsightPair

    return NnsightPair


def check_pair(arguments: PairArguments) -> None:
    """Refuse, before anything is loaded, names that make no pair.

    Raises ``PairError``, and ``OrganismError`` for an organism that is not known.
    """
    if arguments.remote is not None:
        _check_remote(arguments)
    if arguments.organism is not None:
        if arguments.base or arguments.adapter or arguments.finetuned:
            raise PairError(
                "an organism is a whole pair", "Leave out --base, --adapter and --finetuned."
            )
        named_organism(arguments.organism)
        return
    if arguments.base is None:
        raise PairError(
            "no base model is named",
            "Give --demo, --organism, or --base with --adapter or --finetuned.",
        )
    if arguments.adapter is None and arguments.finetuned is None:
        raise PairError(
            "a pair needs an adapter or a finetuned checkpoint",
            "Give --adapter, --finetuned, or both for an adapter on another checkpoint than the base.",
        )


def _check_remote(arguments: PairArguments) -> None:
    """Refuse models that are only here. Raises ``PairError``."""
    bundled = arguments.organism is not None and (
        named_organism(arguments.organism).folder.parent == BUNDLED_ORGANISMS
    )
    if bundled or EMBEDDED_BASE in (arguments.base, arguments.finetuned):
        raise PairError(
            f"the models that come with the program are not at {arguments.remote}",
            "Give --base and --adapter or --finetuned by ids that it hosts, or leave out --remote.",
            concerns="remote",
        )


def loaded_summary(pair: ModelPair) -> Summary:
    """Return the summary of the operation that loaded a pair."""
    return {"n_layers": pair.provenance.n_layers, "memory": pair.memory()}


def _check_stop(should_stop: ShouldStop) -> None:
    if should_stop():
        raise Stopped("stopped on request")


@contextmanager
def _model_libraries() -> Iterator[None]:
    """Turn a missing model library into a ``PairError`` that names what to install."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in MODEL_LIBRARIES:
            raise
        raise PairError(
            f"no model can be loaded: the library {exc.name} is not installed",
            f"Install the libraries that run models: {install_extra('models')}. "
            "Recorded sessions are replayed, compared and reported without it.",
        ) from exc


LOAD = Operation(
    "load_pair",
    "Load a model pair",
    PairArguments,
    load,
    place="pane",
    stages=lambda _: (Stage("load", 3), Stage("hash the files", 5)),
)


def resolve_pair(arguments: PairArguments, say: Any = lambda _line: None) -> PairSpec:
    """Return the checkpoints to load, preparing the embedded base on first use.

    Raises ``PairError`` for arguments that make no pair.
    """
    base, finetuned = _sides(arguments, say)
    return PairSpec(
        base=base,
        finetuned=finetuned,
        dtype=arguments.dtype,
        device_map=arguments.device_map,
        offload_folder=arguments.offload_folder,
        attn_implementation=arguments.attn_implementation,
        quantisation=arguments.quantisation,
        trust_remote_code=arguments.trust_remote_code,
        chat_template=arguments.chat_template,
        remote=arguments.remote,
    )


def split_revision(text: str) -> tuple[str, str | None]:
    """Split ``ID@revision``; the name of a folder may hold an @."""
    try:
        if expanded(text).exists():
            return text, None
    except (OSError, RuntimeError):
        pass  # too long for a path, or the home of nobody: it can only be an id
    name, _, revision = text.partition("@")
    return name, revision or None


def environment() -> dict[str, Any]:
    """Return versions, platform and command line, as a session records them."""
    return {
        "program": f"adl-workbench {version('adl-workbench')}",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _sides(arguments: PairArguments, say: Any) -> tuple[SideSpec, SideSpec]:
    check_pair(arguments)
    if arguments.organism is not None:
        return _organism_sides(named_organism(arguments.organism), say)
    assert arguments.base is not None
    return _named_sides(arguments.base, arguments.adapter, arguments.finetuned, say)


class DemoPair(PairArguments):
    """The demo pair, asked for as the demo: one of its names is the answer, so all are hidden.

    Who names its organism knows it, and sees the names.
    """


def subject_of(pair: PairArguments, *, hidden: bool = False) -> str:
    """A short name of what is audited, empty for no pair.

    With its names ``hidden`` it is empty, too, except for the demo: that it is the demo may be told.
    """
    if hidden:
        return "demo organism" if pair.organism == DEMO_ORGANISM else ""
    return Path(pair.organism or pair.adapter or pair.finetuned or "").name


def base_side(base: str, say: Any = lambda _line: None) -> SideSpec:
    """Return the side to load as base; ``embedded`` is the bundled model."""
    if base != EMBEDDED_BASE:
        return SideSpec(*split_revision(base))
    # Imported here for the same reason as in `load`.
    from adl.pair.nnsight.demo import prepared_base

    with concerning("base"):
        return SideSpec(str(prepared_base(find_locations().models, say)))


def _named_sides(
    base: str, adapter: str | None, finetuned: str | None, say: Any
) -> tuple[SideSpec, SideSpec]:
    side = base_side(base, say)
    under = base_side(finetuned, say) if finetuned else side
    name, adapter_revision = split_revision(adapter) if adapter else (None, None)
    return side, SideSpec(under.checkpoint, under.revision, name, adapter_revision)


def _organism_sides(organism: Organism, say: Any) -> tuple[SideSpec, SideSpec]:
    # The bundled organisms were trained on the embedded weights, so those are their base, and no
    # network is needed.
    bundled = organism.folder.parent == BUNDLED_ORGANISMS
    base = EMBEDDED_BASE if bundled else organism.base
    return _named_sides(base, organism.adapter, organism.finetuned, say)
