"""Commands that train organisms, or study what mixing in unrelated text does; one or many of them.

the options     repeated ones make several trainings or studies
on workers      with --ray: each training, and each ratio of a study, in a session of its own
in the session  the same operations, which find on the disk what is done; the rest is done here
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from adl.organisms.user_organisms import check_id
from adl.paths import expanded
from adl.words import distinct_number
from workbench.cli import show
from workbench.cli.derived import Given, made, options_of
from workbench.cli.new_files import write_whole
from workbench.cli.options import Json, SessionOptions, options_from, session_options
from workbench.cli.output import print_json, reported_errors, say
from workbench.cli.running import A, Work, working_session
from workbench.cli.spreading import SpreadArguments, pool_for, spread_arguments
from workbench.operations.inputs import check_inputs, with_absolute_files
from workbench.operations.mixing import (
    MIX_STUDY,
    MixArguments,
    measured_ratios,
    study_folder,
    study_name,
    study_ratios,
)
from workbench.operations.training import (
    TRAIN_ORGANISM,
    RecipeArguments,
    TrainArguments,
    base_written,
    is_trained,
)
from workbench.report.errors import ExportError
from workbench.report.mixing_plot import mixing_plot
from workbench.report.mixing_table import (
    LESSON_COLUMNS,
    TRACE_COLUMNS,
    lesson_row,
    mixing_csv,
    trace_row,
)
from workbench.store.training_events import MixtureMeasured, OrganismTrained
from workbench.workers.operation_units import OperationUnit, OperationUnits
from workbench.workers.units import UnitsFailed, spread

_TRAINING = dict.fromkeys(RecipeArguments.model_fields, "Training")
_TRAIN_NAMES = {"max_tokens": "max-tokens"}
_MIX_NAMES = {**_TRAIN_NAMES, "name": "study"}


@options_from(
    given=options_of(
        TrainArguments,
        positional="documents",
        names=_TRAIN_NAMES,
        panels=_TRAINING,
        several=("documents", "id", "truth", "seed"),
    ),
    where=session_options,
    spreading=spread_arguments,
)
def train(
    given: Given, where: SessionOptions, spreading: SpreadArguments, json: Json = False
) -> None:
    """Train LoRA organisms: each file of documents with its --id, and with every --seed.

    Stopped, the same command goes on where it was. With several seeds an organism is called
    ID_seedN.
    """
    trainings = _trainings(given)
    check_inputs(*trainings)
    ids = [training.id for training in trainings]
    with working_session(where, f"train {', '.join(ids)}") as work:
        units = [
            OperationUnit(f"train {each.id}", TRAIN_ORGANISM.name, (_for_workers(each),))
            for each in trainings
            if spreading.ray and not is_trained(each)
        ]
        spread_out = _spread(work, spreading, units)
        found = []
        for training in trainings:
            if f"train {training.id}" not in spread_out.left:
                work.run(TRAIN_ORGANISM, training)
                found.append(_last(work, OrganismTrained))
        if json:
            rows = [organism.model_dump(mode="json") for organism in found]
            several = {"organisms": rows}
            is_one = len(trainings) == len(rows) == 1
            print_json({**_where(work), **(rows[0] if is_one else several)})
        else:
            for organism in found:
                _print_organism(organism)
            say(f"session {work.session.id} in {work.session.log.path}")
        spread_out.raise_failed()


def _print_organism(found: OrganismTrained) -> None:
    show.pairs(
        found.name,
        {
            "folder": found.folder,
            "steps": found.steps,
            "loss over the last ten steps": f"{found.final_loss:.3f} nats per token",
            "tokens learned from": found.tokens,
            "gone on with after step": ", ".join(map(str, found.resumed_at)) or "never",
        },
    )


@options_from(
    given=options_of(
        MixArguments,
        leave_out=("temperature", "part"),
        names=_MIX_NAMES,
        panels=_TRAINING,
        several=("documents", "truth_of", "seed", "layer"),
    ),
    where=session_options,
    spreading=spread_arguments,
)
def mix_study(
    given: Given,
    where: SessionOptions,
    spreading: SpreadArguments,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a table and a plot that are not this study's.")
    ] = False,
    json: Json = False,
) -> None:
    """Train with more and more unrelated text; measure the trace and what was learnt each time.

    Finished ratios are kept: the same command goes on where it was. Writes table.csv and plot.svg
    into the study's folder. Each organism or file of documents is a study with every seed, of which
    every layer is measured.
    """
    studies = _studies(given)
    check_inputs(*(each for study in studies for each in study.layers))
    if not force:
        with reported_errors():
            for study in studies:
                _check_files(study)
    subjects = ", ".join(study.name for study in studies)
    with working_session(where, f"mix-study {subjects}".strip()) as work:
        units = [
            unit for study in studies if spreading.ray for unit in study.units(fresh=study.fresh)
        ]
        spread_out = _spread(work, spreading, units)
        found = [
            _study_layer(work, arguments, study)
            for study in studies
            if not any(unit.name in spread_out.left for unit in study.units(fresh=True))
            for arguments in study.here(is_begun=spread_out.were_workers)
        ]
        if json:
            rows = [
                {
                    "folder": folder,
                    "ratios": [mixture.model_dump(mode="json") for mixture in ratios],
                }
                for folder, ratios in found
            ]
            several = {"studies": rows}
            is_one = len(studies) == len(studies[0].layers) == 1
            print_json({**_where(work), **(rows[0] if is_one and rows else several)})
        else:
            for folder, ratios in found:
                show.table(
                    TRACE_COLUMNS, [trace_row(each) for each in ratios], title=ratios[0].name
                )
                show.table(
                    LESSON_COLUMNS,
                    [lesson_row(each) for each in ratios],
                    title="read out, steered out, learned (nats per token) [95%]",
                )
                say(f"the table and the plot are in {folder}")
            say(f"session {work.session.id} in {work.session.log.path}")
        spread_out.raise_failed()


def _study_layer(
    work: Work, arguments: MixArguments, study: _Study
) -> tuple[str, list[MixtureMeasured]]:
    """Do one layer of a study, or find it done; write its table and plot, and return its ratios."""
    done = work.run(MIX_STUDY, arguments)
    found = [
        recorded.body
        for recorded in work.session.state.trainings
        if recorded.operation_id == done.operation_id and isinstance(recorded.body, MixtureMeasured)
    ]
    table, plot = study.files(arguments)
    write_whole(table, mixing_csv(found), replace=True)
    write_whole(plot, f"{mixing_plot(found)}\n", replace=True)
    return str(done.summary["folder"]), found


def _check_files(study: _Study) -> None:
    """Refuse a study whose table or plot would replace a file that is not its own.

    Its own are those beside a ratio that is measured with the same inputs. Raises ``ExportError``.
    """
    for arguments in study.layers:
        there = [file for file in study.files(arguments) if file.exists() or file.is_symlink()]
        if there and not measured_ratios(arguments):
            raise ExportError(
                f"{there[0]} exists already, and is not of this study",
                "Name another --study or --folder, or replace it with --force.",
            )


# --- several of them ----------------------------------------------------------------------------


def _trainings(given: Given) -> list[TrainArguments]:
    """One for each id and seed. Raises ``BadParameter``, ``OrganismError`` for an id."""
    documents, ids, truths = given["documents"], given["id"], given.get("truth", ())
    if len(documents) != len(ids):
        raise typer.BadParameter(
            f"--id is given {len(ids)} times for {len(documents)} files of documents: give one for each"
        )
    if truths and len(truths) != len(ids):
        raise typer.BadParameter(
            f"--truth is given {len(truths)} times for {len(ids)} organisms: give one for each, or none"
        )
    seeds = _each(given, "seed", TrainArguments)
    found = []
    for place, (path, name) in enumerate(zip(documents, ids, strict=True)):
        for seed in seeds:
            own = {"documents": path, "id": _with_seed(name, seed, seeds), "seed": seed}
            if truths:
                own["truth"] = truths[place]
            found.append(made(TrainArguments, {**given, **own}, **_TRAIN_NAMES))
    _refuse_twice("--id", [training.id for training in found])
    for training in found:
        check_id(training.id)
    return found


@dataclass(frozen=True)
class _Study:
    """A study: its arguments for each layer, which share trainings and a folder."""

    layers: tuple[MixArguments, ...]

    @property
    def name(self) -> str:
        return study_folder(self.layers[0]).name

    @property
    def fresh(self) -> bool:
        return self.layers[0].fresh

    def files(self, arguments: MixArguments) -> tuple[Path, Path]:
        """The files of the table and the plot of one of its layers."""
        folder = study_folder(arguments)
        of_layer = f"_{arguments.layer}" if len(self.layers) > 1 else ""
        return folder / f"table{of_layer}.csv", folder / f"plot{of_layer}.svg"

    def here(self, *, is_begun: bool) -> Iterator[MixArguments]:
        """The layers one after another: only the first may throw away what there is."""
        for place, arguments in enumerate(self.layers):
            yield arguments if not (is_begun or place) else _going_on(arguments)

    def units(self, *, fresh: bool) -> Iterator[OperationUnit]:
        """A unit for each ratio; without ``fresh`` for those alone that are not measured."""
        measured: set[float] = set()
        if not fresh:
            measured = set.intersection(*map(measured_ratios, self.layers))
        for ratio in study_ratios(self.layers[0]):
            if ratio not in measured:
                parts = [
                    _for_workers(arguments.model_copy(update={"part": ratio}))
                    for arguments in self.here(is_begun=False)
                ]
                yield OperationUnit(
                    f"mix-study {self.name} 1:{distinct_number(ratio)}",
                    MIX_STUDY.name,
                    tuple(parts),
                    str(study_folder(self.layers[0]).absolute()),
                )


def _studies(given: Given) -> list[_Study]:
    """A study for each subject and seed. Raises ``BadParameter``."""
    subjects: list[dict[str, Any]] = [
        {kind: subject} for kind in ("documents", "truth_of") for subject in given.get(kind, ())
    ]
    plain = {name: value for name, value in given.items() if name not in {"documents", "truth_of"}}
    if len(given.keys() & {"documents", "truth_of"}) == 2:
        # Refused by the arguments, which know what does not go together.
        subjects = [{**subjects[0], **subjects[-1]}]
    if len(subjects) > 1 and "facts" in given:
        raise typer.BadParameter(
            "--facts is of one study: leave it out, or begin a study for each; --truth-of has its own"
        )
    seeds, layers = (_each(given, name, MixArguments) for name in ("seed", "layer"))
    found = []
    for subject in subjects or [{}]:
        for seed in seeds:
            first = made(
                MixArguments, {**plain, **subject, "seed": seed, "layer": layers[0]}, **_MIX_NAMES
            )
            found.append(_study(first, layers, seeds, is_only=len(subjects) < 2))
    _refuse_twice("the study", [str(study_folder(study.layers[0])) for study in found])
    return found


def _study(
    first: MixArguments, layers: tuple[str, ...], seeds: tuple[int, ...], *, is_only: bool
) -> _Study:
    """A study by the arguments of its first layer; one of several has a name and a folder of its own."""
    if is_only and len(seeds) == len(layers) == 1:
        return _Study((first,))
    subject = study_name(first.model_copy(update={"name": None}))
    name = first.name if first.name and is_only else "_".join(filter(None, (first.name, subject)))
    name = _with_seed(name, first.seed, seeds)
    plain = first.model_copy(update={"name": name})
    if first.folder is not None and not (is_only and len(seeds) == 1):
        plain = plain.model_copy(update={"folder": str(expanded(first.folder) / name)})
    folder = str(study_folder(plain))
    return _Study(
        tuple(
            plain.model_copy(
                update={
                    "layer": layer,
                    "folder": folder,
                    "name": f"{name}_layer{layer}" if len(layers) > 1 else name,
                }
            )
            for layer in layers
        )
    )


def _each(given: Given, name: str, arguments: type[RecipeArguments]) -> tuple[Any, ...]:
    """The values of a field that may be repeated, each once; its default without one."""
    return tuple(dict.fromkeys(given.get(name) or (arguments.model_fields[name].default,)))


def _with_seed(name: str, seed: int, seeds: Sequence[int]) -> str:
    return f"{name}_seed{seed}" if len(seeds) > 1 else name


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise typer.BadParameter(f"{what}: {name!r} is there twice: give each another name")


# --- on workers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SpreadOut:
    """The units that workers left undone, and why."""

    left: frozenset[str] = frozenset()
    failed: UnitsFailed | None = None
    were_workers: bool = False

    def raise_failed(self) -> None:
        """Raise ``UnitsFailed`` if there are any: after the rest was shown."""
        if self.failed is not None:
            raise self.failed


def _spread(work: Work, spreading: SpreadArguments, units: Sequence[OperationUnit]) -> _SpreadOut:
    """Begin the session once there are workers, if any are wanted, and have them do the units.

    Raises ``RayMissing``, ``WorkersError`` and ``Stopped``.
    """
    with pool_for(spreading, len(units)) as pool:
        work.begin()
        if pool is None:
            return _SpreadOut()
        many, failed = OperationUnits(units), None
        with many.marked():
            try:
                spread(many, work.log, pool, say, work.flag)
            except UnitsFailed as exc:
                failed = exc
        return _SpreadOut(frozenset(unit.name for unit in many.left()), failed, were_workers=True)


def _for_workers(arguments: A) -> A:
    """The same with paths that hold wherever a worker runs."""
    named = {name: getattr(arguments, name, None) for name in ("facts", "folder", "truth")}
    absolute = {name: str(expanded(path).absolute()) for name, path in named.items() if path}
    absolute["base"] = base_written(arguments.base)  # type: ignore[attr-defined]
    return with_absolute_files(arguments).model_copy(update=absolute)


def _going_on(arguments: MixArguments) -> MixArguments:
    return arguments.model_copy(update={"fresh": False})


def _last(work: Work, kind: type[OrganismTrained]) -> OrganismTrained:
    return next(
        recorded.body
        for recorded in reversed(list(work.session.state.trainings))
        if isinstance(recorded.body, kind)
    )


def _where(work: Work) -> dict[str, str]:
    return {"session": work.session.id, "database": str(work.session.log.path)}
