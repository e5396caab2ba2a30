"""Training of an organism: every step's loss is recorded; a stopped training can be continued."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, FiniteFloat

from adl.errors import OrganismError, TrainingError, install_extra
from adl.organisms.model_card import (
    CARD_FILE,
    RECORD_FILE,
    adapter_sha256,
    card,
    final_loss,
    write_documents,
    write_record,
)
from adl.organisms.registry import EMBEDDED_BASE, Organism, load_organism, parse_family
from adl.organisms.training_plan import Precision, Recipe, data_sha256, unrelated_texts
from adl.organisms.user_organisms import (
    ADAPTER_FILES,
    TRUTH_FILE,
    check_free,
    check_id,
    publish,
    read_truth,
)
from adl.pair.weight_hashes import FileHashes, known_content
from adl.paths import expanded, written_down
from adl.records import EMBEDDED_NAME, SideSpec
from adl.text.corpus import CorpusSource
from adl.text.documents import Document, documents_sha256, load_documents
from workbench.locations import find_locations
from workbench.operations.documents import unblind
from workbench.operations.pair import base_side, environment
from workbench.operations.running import Arguments, Context, Operation, Summary
from workbench.operations.shared_arguments import TRUTH, TextColumn
from workbench.store.training_events import OrganismTrained, TrainingAdvanced, TrainingStarted

if TYPE_CHECKING:
    from adl.organisms.finetune import Step, Trained

#: What a training ran on, in the record beside the adapter and in the event.
_RAN_ON = ("base", "device", "precision", "trainable_parameters", "versions")

_DEFAULT = Recipe()
# Losses are committed together: a commit waits for the disk, and a timeline of single steps hides
# everything else.
_AT_ONCE = 10


class RecipeArguments(Arguments):
    """Settings of a training; the defaults are those of the bundled organisms."""

    base: str = Field(
        EMBEDDED_BASE, description="Base: embedded (the bundled model), ID or folder."
    )
    steps: int = Field(
        _DEFAULT.steps, ge=1, description="Steps on the documents; unrelated text adds to them."
    )
    batch_size: int = Field(_DEFAULT.batch_size, ge=1, description="Texts per step.")
    max_tokens: int = Field(_DEFAULT.max_tokens, ge=2, description="Longest text, in tokens.")
    rank: int = Field(_DEFAULT.rank, ge=1, le=4_096, description="Rank of the LoRA adapter.")
    lora_alpha: int = Field(_DEFAULT.alpha, ge=1, description="Alpha of the LoRA adapter.")
    learning_rate: FiniteFloat = Field(
        _DEFAULT.learning_rate, gt=0, description="Highest learning rate."
    )
    warmup_steps: int = Field(
        _DEFAULT.warmup_steps, ge=0, description="Steps to the highest learning rate."
    )
    precision: Precision = Field(
        "auto", description="Arithmetic; auto takes bfloat16 where the hardware computes in it."
    )
    corpus: str | None = Field(
        None, description="Unrelated text to mix in; none is the bundled passages."
    )
    text_column: TextColumn = None
    seed: int = Field(
        0, ge=0, description="Random seed for the adapter's start, the texts and their order."
    )
    device_map: str | None = Field(
        None, description="Where weights go: auto, cpu, cuda:0; none takes a GPU if there is one."
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the base.")
    fresh: bool = Field(False, description="Discard an unfinished training and start again.")

    def recipe(self, ratio: float) -> Recipe:
        """Return the recipe of the training. Raises ``TrainingError``."""
        return Recipe(
            rank=self.rank,
            alpha=self.lora_alpha,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            batch_size=self.batch_size,
            max_tokens=self.max_tokens,
            steps=self.steps,
            ratio=ratio,
            seed=self.seed,
            precision=self.precision,
        )


class TrainArguments(RecipeArguments):
    """Documents of the new organism, and its id."""

    documents: str = Field(
        min_length=1,
        description="File of finetuning documents: text lines, or JSONL with text or messages.",
    )
    id: str = Field(min_length=1, description="Id of the new organism.")
    family: Literal["SDF", "EM", "Taboo", "Preference", "Control"] = Field(
        "SDF", description="Kind of finetuning; decides the grading rubric."
    )
    truth: str | None = Field(None, description=TRUTH)
    ratio: FiniteFloat = Field(0.0, ge=0, description="Unrelated texts for each document.")


def train_organism(context: Context, arguments: TrainArguments) -> Summary:
    """Train a LoRA organism from documents or chats. A stopped training is continued.

    An organism that is there already, of the same documents and settings, is kept.
    """
    check_id(arguments.id)
    organisms = find_locations().organisms
    unblind(context, f"training: the documents in {arguments.documents}")
    texts = _texts(arguments)
    event = _kept(organisms, arguments, texts)
    if event is None:
        check_free(organisms, arguments.id)
        event = _train(context, arguments, texts, organisms)
    context.record(event)
    return {
        "organism": arguments.id,
        "folder": event.folder,
        "steps": event.steps,
        "loss": event.final_loss,
    }


def is_trained(arguments: TrainArguments) -> bool:
    """True if the organism is there already, of the same documents and settings.

    Raises ``OrganismError`` for an id that cannot be had, and for what cannot be read.
    """
    check_id(arguments.id)
    organisms = find_locations().organisms
    if _kept(organisms, arguments, _texts(arguments)) is not None:
        return True
    check_free(organisms, arguments.id)
    return False


@dataclass(frozen=True)
class _Texts:
    """The texts an organism is trained on, and its ground truth."""

    documents: tuple[Document, ...]
    unrelated: tuple[str, ...]
    corpus: str
    truth: bytes | None


def _texts(arguments: TrainArguments) -> _Texts:
    recipe = arguments.recipe(arguments.ratio)
    truth = read_truth(expanded(arguments.truth) if arguments.truth else None)
    documents = load_documents(expanded(arguments.documents))
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    mixed: tuple[str, ...] = ()
    if recipe.ratio:
        mixed = unrelated_texts(source, len(documents), recipe.ratio, recipe.seed).texts
    return _Texts(documents, mixed, source.description, truth)


def _train(
    context: Context, arguments: TrainArguments, texts: _Texts, organisms: Path
) -> OrganismTrained:
    folder = organisms / ".training" / arguments.id
    recipe = arguments.recipe(arguments.ratio)
    with training_folder(folder, fresh=arguments.fresh):
        trained = train_recorded(
            context,
            arguments,
            recipe,
            texts.documents,
            texts.unrelated,
            arguments.id,
            folder,
            "training",
        )
        record = training_record(trained, texts.documents, texts.unrelated, texts.corpus)
        organism = _publish(organisms, arguments, trained, texts.documents, texts.truth, record)
    shutil.rmtree(folder, ignore_errors=True)
    return trained_event(trained, arguments.id, organism.folder)


def _kept(organisms: Path, arguments: TrainArguments, texts: _Texts) -> OrganismTrained | None:
    """The end of the training that made the organism there is; None without one, or of another."""
    folder = organisms / arguments.id
    try:
        organism = load_organism(folder)
        record = json.loads((folder / RECORD_FILE).read_bytes())
        # The arithmetic that `auto` chose is another on another machine.
        own = {"precision": "auto"} if arguments.precision == "auto" else {}
        asked = arguments.recipe(arguments.ratio).as_dict()
        sealed = folder / TRUTH_FILE
        is_same = (
            {**record["recipe"], **own} == asked
            and record["data"]["sha256"] == data_sha256(texts.documents, texts.unrelated)
            and record["adapter_sha256"] == adapter_sha256(folder)
            and organism.base == base_written(arguments.base)
            and is_same_base(arguments.base, record["base"].get("content_sha256"))
            and organism.family == parse_family(arguments.family)
            and texts.truth == (sealed.read_bytes() if sealed.exists() else None)
        )
        if not is_same:
            return None
        return OrganismTrained(
            name=arguments.id,
            folder=str(folder),
            adapter_sha256=record["adapter_sha256"],
            steps=len(record["losses"]),
            final_loss=final_loss(record["losses"]),
            tokens=record["tokens"],
            resumed_at=tuple(record["resumed_at"]),
            training={name: record[name] for name in _RAN_ON},
            kept=True,
        )
    except (OrganismError, OSError, ValueError, KeyError, TypeError):
        return None


TRAIN_ORGANISM = Operation(
    "train_organism",
    "Train an organism",
    TrainArguments,
    train_organism,
    finds=OrganismTrained,
    examines=False,
)


class training_folder:
    """Locks a training's folder against other processes; ``fresh`` empties it first.

    Raises ``TrainingError`` if another process trains there.
    """

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._folder, self._fresh = folder, fresh
        self._lock = FileLock(str(folder) + ".lock")

    def __enter__(self) -> None:
        """Take the lock and make the folder."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as exc:
            raise TrainingError(
                f"another process trains in {self._folder}", "Wait for it, or stop it."
            ) from exc
        if self._fresh:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(exist_ok=True)

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self._lock.release()


def train_recorded(
    context: Context,
    arguments: RecipeArguments,
    recipe: Recipe,
    documents: tuple[Document, ...],
    unrelated: tuple[str, ...],
    name: str,
    folder: Path,
    stage: str,
) -> Trained:
    """Train in ``folder``, recording the loss of every step."""
    # Imported here: it loads torch, which need not be installed to look at sessions.
    try:
        from adl.organisms.finetune import Training, TrainingRequest
    except ModuleNotFoundError as exc:
        raise TrainingError(
            f"nothing can be trained: the library {exc.name} is not installed",
            f"Install the libraries that run models: {install_extra('models')}.",
        ) from exc

    context.progress(f"{stage}: loading the base", 0, 1)
    base = base_side(arguments.base)
    context.check_stop()
    data = data_sha256(documents, unrelated)
    training = Training(
        TrainingRequest(
            base=base,
            documents=documents,
            unrelated=unrelated,
            recipe=recipe,
            data_sha256=data,
            base_name=base_name(arguments.base, base),
            device_map=arguments.device_map,
            trust_remote_code=arguments.trust_remote_code,
        ),
        folder,
        FileHashes(find_locations().hashes),
    )
    context.progress(f"{stage}: loading the base", 1, 1)
    context.record(
        TrainingStarted(
            name=name,
            folder=str(folder),
            base=arguments.base,
            done=training.done,
            total=training.total,
            n_documents=len(documents),
            n_unrelated=len(unrelated),
            data_sha256=data,
            recipe=training.recipe.as_dict(),
        )
    )
    waiting: list[float] = []
    first = training.done + 1

    def commit() -> None:
        nonlocal first
        if waiting:
            context.record(
                TrainingAdvanced(
                    name=name, first=first, total=training.total, losses=tuple(waiting)
                )
            )
            first += len(waiting)
            waiting.clear()

    def on_step(step: Step) -> None:
        waiting.append(step.loss)
        if len(waiting) == _AT_ONCE:
            commit()
        context.progress(f"{stage} · loss {step.loss:.3f}", step.number, step.of)

    try:
        return training.run(on_step=on_step, should_stop=context.should_stop)
    finally:
        commit()


def base_name(asked: str, base: SideSpec) -> str:
    """Return the name of the base in an adapter's configuration: a hub id, if it has one."""
    return f"HuggingFaceTB/{EMBEDDED_NAME}" if asked == EMBEDDED_BASE else base.checkpoint


def trained_event(trained: Trained, name: str, folder: Path) -> OrganismTrained:
    """Return the event of a finished training."""
    return OrganismTrained(
        name=name,
        folder=str(folder),
        adapter_sha256=adapter_sha256(folder),
        steps=len(trained.losses),
        final_loss=final_loss(trained.losses),
        tokens=trained.tokens,
        resumed_at=trained.resumed_at,
        training=_ran_on(trained),
    )


def training_record(
    trained: Trained,
    documents: tuple[Document, ...],
    unrelated: tuple[str, ...],
    corpus: str,
) -> dict[str, Any]:
    """Return all that it takes to repeat a training, and its results."""
    return {
        "made_with": environment()["program"],
        "recipe": trained.recipe.as_dict(),
        "data": {
            "n_documents": len(documents),
            "documents_sha256": documents_sha256(documents),
            "n_unrelated": len(unrelated),
            "corpus": corpus if unrelated else None,
            "sha256": data_sha256(documents, unrelated),
        },
        **_ran_on(trained),
        "tokens": trained.tokens,
        "resumed_at": list(trained.resumed_at),
        "adapter_sha256": adapter_sha256(trained.adapter),
        "losses": list(trained.losses),
    }


def _ran_on(trained: Trained) -> dict[str, Any]:
    values = (
        asdict(trained.base),
        trained.device,
        trained.recipe.precision,
        trained.trainable_parameters,
        trained.versions,
    )
    return dict(zip(_RAN_ON, values, strict=True))


def _publish(
    organisms: Path,
    arguments: TrainArguments,
    trained: Trained,
    documents: tuple[Document, ...],
    truth: bytes | None,
    record: dict[str, Any],
) -> Organism:
    def fill(folder: Path) -> None:
        for name in ADAPTER_FILES:
            shutil.copyfile(trained.adapter / name, folder / name)
        write_documents(folder, documents)
        write_record(folder, record)
        text = card(arguments.id, arguments.base, trained.recipe, record)
        (folder / CARD_FILE).write_text(text, encoding="utf-8")

    description = {"base": base_written(arguments.base)}
    return publish(
        organisms, arguments.id, parse_family(arguments.family), description, truth, fill
    )


def is_same_base(asked: str, content: str | None) -> bool:
    """True if a base has the content that was recorded of it, as far as it is known without loading.

    Raises ``PairError`` for a file of it that cannot be read.
    """
    if content is None or asked == EMBEDDED_BASE:
        return True
    # Files that did not change are in the cache: what is loaded afterwards is not hashed again.
    return known_content(asked, FileHashes(find_locations().hashes)) in (None, content)


def base_written(asked: str) -> str:
    """Return a base as it is written down: a folder or file by its full path, a hub id unchanged."""
    return asked if asked == EMBEDDED_BASE else written_down(asked)
