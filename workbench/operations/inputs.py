"""Inputs that can be refused before a model is loaded: files, organisms, layers and positions.

A field means the same in every operation, so each is checked here by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from adl.difference import parse_positions
from adl.errors import AdlError, CorpusError, OrganismError
from adl.generation.steering import require_draws
from adl.measures.scanning import bundled_prompts, chosen_kinds
from adl.pair.protocol import ALL_LAYERS, check_layer, named_layers
from adl.paths import expanded
from adl.records import POOLED
from adl.text.corpus import CorpusSource
from adl.text.files import check_readable
from adl.text.prompts import load_prompts
from workbench.operations.difference import MeasureArguments
from workbench.operations.documents import DocumentArguments, none_named
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.experiment_sealing import check_before_the_pair
from workbench.operations.recorded_texts import no_position
from workbench.operations.running import Arguments
from workbench.operations.unprompted import UnpromptedArguments
from workbench.organisms import named_organism

A = TypeVar("A", bound=Arguments)
#: Fields of operations on a pair that may name a file.
FILES = ("corpus", "documents", "prompt_file")


def check_inputs(*several: Arguments, is_new: bool = False) -> None:
    """Refuse what would fail later whatever the models are. Raises the `AdlError` of the input.

    Documents are ground truth: only that they can be read is looked at. ``is_new`` for a session
    that has nothing yet: what it will have is known then.
    """
    for arguments in several:
        if isinstance(arguments, DocumentArguments) and arguments.needs_documents:
            raise none_named()
        if isinstance(arguments, ExperimentArguments):
            check_before_the_pair(arguments, is_new=is_new)
        for name in type(arguments).model_fields:
            value = getattr(arguments, name)
            if name in _CHECKS and value is not None:
                _CHECKS[name](value, arguments)

    measured = [each for each in several if isinstance(each, MeasureArguments)]
    if is_new and measured:
        _check_positions(several, (*parse_positions(measured[0].positions).labels, POOLED))


def _check_positions(several: Iterable[Arguments], there: tuple[str, ...]) -> None:
    """Refuse a position that will not be measured, where it is one of something that steers."""
    for arguments in several:
        position = getattr(arguments, "position", None)
        steers = getattr(arguments, "alpha", True)
        if position is not None and steers and position not in there:
            raise no_position(position, there)


def with_absolute_files(arguments: A) -> A:
    """Return the arguments with names of files that hold in every folder."""
    named = {name: getattr(arguments, name, None) for name in FILES}
    found = {
        name: str(expanded(value).absolute())
        for name, value in named.items()
        if value is not None and expanded(value).exists()
    }
    return arguments.model_copy(update=found) if found else arguments


def _readable(error: type[AdlError]) -> Callable[[str, Any], None]:
    return lambda path, _: check_readable(expanded(path), error)


def _corpus(spec: str, arguments: Any) -> None:
    CorpusSource.parse(spec, getattr(arguments, "text_column", None)).open()


def _layers(layers: Iterable[str], _arguments: Any) -> None:
    for layer in named_layers(layers):
        if layer != ALL_LAYERS:
            check_layer(layer)


def _draws(temperature: float, arguments: Any) -> None:
    # A test may generate nothing: `check_before_the_pair` knows.
    if isinstance(arguments, UnpromptedArguments):
        require_draws(arguments.most_of_a_start, temperature)
    elif not isinstance(arguments, ExperimentArguments):
        require_draws(getattr(arguments, "n_samples", 1), temperature)


_CHECKS: dict[str, Callable[[Any, Any], object]] = {
    "corpus": _corpus,
    "documents": _readable(CorpusError),
    "facts": _readable(OrganismError),
    "kinds": lambda kinds, _: chosen_kinds(bundled_prompts(), kinds),
    "layer": lambda layer, _: check_layer(layer),
    "layers": _layers,
    "organism": lambda name, _: named_organism(name),
    "positions": lambda positions, _: parse_positions(positions),
    "prompt_file": lambda path, _: load_prompts(Path(path)),
    "temperature": _draws,
    "truth": _readable(OrganismError),
    "truth_of": lambda name, _: named_organism(name),
}
