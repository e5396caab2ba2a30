"""Mixing study: the same finetuning with more and more unrelated text, each measured alike.

STUDY/ratio_0.5/                   checkpoint and adapter of one ratio
STUDY/ratio_0.5/measured_0.5.json  what was measured of it at a layer: read again as long as every
                                   input is the same
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat, ValidationError

from adl.artifacts import key_of
from adl.errors import OrganismError, TrainingError
from adl.generation.steering import STEERING_TEMPERATURE
from adl.measures.intervals import Interval
from adl.measures.memorisation import FactMargins, HeldOutGain
from adl.measures.relevance import distinctive_words
from adl.measures.similarity import LOCAL_MODEL, Embed, LexicalEmbedding
from adl.organisms.mixing import (
    MixingData,
    MixtureMeasures,
    MixtureRequest,
    measure_mixture,
    split_data,
)
from adl.organisms.model_card import final_loss
from adl.organisms.registry import parse_facts
from adl.organisms.training_plan import RATIOS, Recipe, data_sha256
from adl.pair.weight_hashes import FileHashes
from adl.paths import expanded
from adl.records import DEFAULT_LAYER, PairSpec, SideSpec
from adl.text.corpus import CorpusSource
from adl.text.documents import Document, documents_sha256
from adl.words import distinct_number
from workbench.locations import find_locations
from workbench.operations.documents import DocumentArguments, named_documents, unseen_documents
from workbench.operations.pair import base_side
from workbench.operations.relevance import LEXICAL, local_embedding
from workbench.operations.running import Context, Operation, Summary
from workbench.operations.shared_arguments import (
    Embedding,
    PromptSamples,
    RandomDirections,
    SteeredTokens,
    Temperature,
)
from workbench.operations.trace import trace_event
from workbench.operations.training import (
    RecipeArguments,
    base_written,
    is_same_base,
    train_recorded,
    trained_event,
    training_folder,
)
from workbench.organisms import named_organism
from workbench.store.findings import Estimate
from workbench.store.training_events import (
    MixingStudied,
    MixtureFacts,
    MixtureHeldOut,
    MixtureList,
    MixtureMeasured,
    MixtureText,
)

# Of studies from before several layers.
_OLDER_FILE = "measured.json"
# Raise it when the same inputs would be measured otherwise.
_FORMAT = 1


class MixArguments(DocumentArguments, RecipeArguments):
    """Documents and ratios of the study, and the measurements of each organism."""

    name: str | None = Field(
        None, description="Name of the study's folder; none takes that of the documents."
    )
    folder: str | None = Field(None, description="Folder of the study; none takes the user's own.")
    ratios: tuple[FiniteFloat, ...] = Field(
        RATIOS, min_length=1, description="Unrelated texts for each document, one organism each."
    )
    facts: str | None = Field(
        None, description="YAML with key_facts and negated_facts; --truth-of has its own."
    )
    layer: str = Field(
        DEFAULT_LAYER, description="Layer: a share of the depth (0.5) or a number (15)."
    )
    n_texts: int = Field(256, ge=32, description="Unrelated texts to measure the trace on.")
    n_random: RandomDirections = Field(16, ge=8)
    alpha: FiniteFloat = Field(0.3, gt=0, description="Strength of steering, in residual norms.")
    n_prompts: int = Field(10, ge=1, description="Everyday prompts to steer on.")
    n_samples: PromptSamples = 1
    max_new_tokens: SteeredTokens = 40
    temperature: Temperature = STEERING_TEMPERATURE
    part: FiniteFloat | None = Field(
        None, description="Only this one of the ratios, beside other processes of the same study."
    )
    embedding: Embedding = "lexical"


def mix_study(context: Context, arguments: MixArguments) -> Summary:
    """Train an organism for each ratio of unrelated text; measure its trace and what it learned."""
    ratios = study_ratios(arguments)
    for ratio in ratios:
        arguments.recipe(ratio)
    facts = _facts(arguments)
    named = named_documents(context, arguments, "mixing study")
    study = _study(arguments, named.documents, *facts)
    embed: Embed = (
        local_embedding()
        if arguments.embedding == "local"
        else LexicalEmbedding([*study.data.measured_on, *study.narrow])
    )
    parts = ratios if arguments.part is None else (arguments.part,)
    measured = [_ratio(context, arguments, study, ratio, embed) for ratio in parts]
    if arguments.part is None:
        context.record(
            MixingStudied(
                name=study.name,
                folder=str(study.folder),
                ratios=ratios,
                against=named.against,
                documents_sha256=named.sha256,
            )
        )
    return {
        "folder": str(study.folder),
        "ratios": list(parts),
        "kept": [mixture.ratio for mixture in measured if mixture.kept],
    }


def study_ratios(arguments: MixArguments) -> tuple[float, ...]:
    """The ratios of a study, each once. Raises ``TrainingError`` for a part that is none of them."""
    ratios = tuple(sorted(set(arguments.ratios)))
    if arguments.part is not None and arguments.part not in ratios:
        raise TrainingError(
            f"the part {distinct_number(arguments.part)} is none of the study's ratios",
            f"Name one of {', '.join(map(distinct_number, ratios))}.",
        )
    return ratios


def study_name(arguments: MixArguments) -> str:
    """The name of a study, and of its folder."""
    return arguments.name or Path(arguments.truth_of or str(arguments.documents)).stem


def study_folder(arguments: MixArguments) -> Path:
    """The folder of a study."""
    if arguments.folder:
        return expanded(arguments.folder)
    return find_locations().studies / study_name(arguments)


def measured_ratios(arguments: MixArguments) -> set[float]:
    """The ratios that are measured already, with the same inputs. Raises as the study does."""
    facts = _facts(arguments)
    study = _study(arguments, unseen_documents(arguments).documents, *facts)
    return {
        ratio
        for ratio in study_ratios(arguments)
        if _read(study.folder / _ratio_folder(ratio), arguments, study.key(arguments, ratio))
    }


@dataclass(frozen=True)
class _Study:
    """The texts of a study, and how each ratio is measured."""

    name: str
    folder: Path
    data: MixingData
    request: MixtureRequest

    @property
    def narrow(self) -> list[str]:
        """The texts of the documents to train on."""
        return [document.text for document in self.data.documents]

    def settings(self, arguments: MixArguments, ratio: float) -> dict[str, Any]:
        """All that decides the figures of a ratio."""
        return {
            "data": data_sha256(self.data.documents, self.data.mixed_in(ratio)),
            "held_out": documents_sha256(self.data.held_out),
            "measured_on": _hash(self.data.measured_on),
            "embedding": LOCAL_MODEL if arguments.embedding == "local" else LEXICAL,
            "base": base_written(arguments.base),
            "recipe": arguments.recipe(ratio).as_dict(),
            "request": asdict(self.request),
        }

    def key(self, arguments: MixArguments, ratio: float) -> str:
        """The hash of all that."""
        return key_of({"what": "mixture", "format": _FORMAT, **self.settings(arguments, ratio)})


def _study(
    arguments: MixArguments,
    documents: tuple[Document, ...],
    facts: tuple[str, ...],
    negations: tuple[str, ...],
) -> _Study:
    ratios = study_ratios(arguments)
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    data = split_data(documents, source, ratios, arguments.seed)
    narrow = [document.text for document in data.documents]
    request = MixtureRequest(
        words=distinctive_words(narrow, list(data.measured_on)),
        facts=facts,
        negations=negations,
        layer=arguments.layer,
        n_texts=arguments.n_texts,
        n_random=arguments.n_random,
        alpha=arguments.alpha,
        n_prompts=arguments.n_prompts,
        n_samples=arguments.n_samples,
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        seed=arguments.seed,
    )
    return _Study(study_name(arguments), study_folder(arguments), data, request)


MIX_STUDY = Operation(
    "mix_study",
    "Study mixing in unrelated text",
    MixArguments,
    mix_study,
    finds=MixingStudied,
    examines=False,
)


def _facts(arguments: MixArguments) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the key facts and their negations; both empty without negations."""
    if arguments.facts is not None:
        path = expanded(arguments.facts)
        try:
            raw = path.read_bytes()
        except OSError as exc:
            raise OrganismError(
                f"the facts {path} cannot be read: {exc.strerror or exc}", "Check the path."
            ) from exc
        return parse_facts(path, raw)
    if arguments.truth_of is not None:
        organism = named_organism(arguments.truth_of)
        negations = organism.negated_facts()
        return (organism.ground_truth().key_facts if negations else ()), negations
    return (), ()


def _ratio_folder(ratio: float) -> str:
    return f"ratio_{distinct_number(ratio)}"


def _ratio(
    context: Context, arguments: MixArguments, study: _Study, ratio: float, embed: Embed
) -> MixtureMeasured:
    """Train one ratio or continue it, measure it or read what was measured, and record it."""
    recipe = arguments.recipe(ratio)
    name, data, request = study.name, study.data, study.request
    stage = f"1:{distinct_number(ratio)}"
    folder = study.folder / _ratio_folder(ratio)
    mixed = data.mixed_in(ratio)
    with training_folder(folder, fresh=arguments.fresh):
        settings = study.settings(arguments, ratio)
        key = study.key(arguments, ratio)
        kept = _read(folder, arguments, key)
        if kept is not None:
            found = kept.model_copy(update={"kept": True})
        else:
            trained = train_recorded(
                context, arguments, recipe, data.documents, mixed, f"{name} {stage}", folder, stage
            )
            context.record(trained_event(trained, f"{name} {stage}", trained.adapter))
            measures = _measure(context, arguments, trained.adapter, data, embed, request, stage)
            shown = {**settings, "request": _shown(request), "tokens": trained.tokens}
            found = _event(name, recipe, folder, trained.losses, measures, shown)
            content = trained.base.content_sha256
            _write(folder / _measured_file(arguments.layer), key, content, found)
        context.record(found)
    return found


def _measure(
    context: Context,
    arguments: MixArguments,
    adapter: Path,
    data: MixingData,
    embed: Embed,
    request: MixtureRequest,
    stage: str,
) -> MixtureMeasures:
    # Imported here: it loads torch.
    from adl.pair.nnsight.pair import NnsightPair

    base = base_side(arguments.base)
    finetuned = SideSpec(base.checkpoint, base.revision, str(adapter))
    pair = NnsightPair.load(
        PairSpec(
            base,
            finetuned,
            device_map=arguments.device_map,
            trust_remote_code=arguments.trust_remote_code,
        ),
        # The base was hashed when it was loaded to train.
        FileHashes(find_locations().hashes),
    )
    try:
        return measure_mixture(
            pair,
            data,
            embed,
            request,
            progress=lambda what, done, total: context.progress(f"{stage}: {what}", done, total),
            should_stop=context.should_stop,
        )
    finally:
        # The next ratio's pair must not have to fit beside this one.
        del pair
        gc.collect()


def _event(
    name: str,
    recipe: Recipe,
    folder: Path,
    losses: Sequence[float],
    found: MixtureMeasures,
    settings: dict[str, Any],
) -> MixtureMeasured:
    return MixtureMeasured(
        name=name,
        ratio=recipe.ratio,
        folder=str(folder),
        steps=len(losses),
        final_loss=final_loss(losses),
        trace=trace_event(found.trace, {"layer": settings["request"]["layer"]}),
        relevance=tuple(
            MixtureList(
                reading=listed.reading,
                side=listed.side,
                share=_estimate(listed.found.share),
                random=listed.random,
                tokens=listed.tokens,
            )
            for listed in found.relevance
        ),
        similarity={kind: _estimate(value) for kind, value in found.similarity.by_kind.items()},
        over_unsteered=_maybe(found.similarity.over_unsteered),
        over_random=_maybe(found.similarity.over_random),
        facts=_fact_record(found.facts) if found.facts else None,
        held_out=_held_out(found.held_out),
        texts=tuple(
            MixtureText(kind_of=text.kind, prompt_index=text.prompt_index, text=text.text)
            for text in found.texts
        ),
        settings=settings,
    )


def _fact_record(found: FactMargins) -> MixtureFacts:
    return MixtureFacts(
        base=_estimate(found.base),
        finetuned=_estimate(found.finetuned),
        gain=_estimate(found.gain),
        preferred={str(side): share for side, share in found.preferred.items()},
    )


def _held_out(found: HeldOutGain) -> MixtureHeldOut:
    return MixtureHeldOut(base=found.base, finetuned=found.finetuned, gain=_estimate(found.gain))


def _shown(request: MixtureRequest) -> dict[str, Any]:
    """The request without the facts: they are for grading, and everybody reads the log."""
    plain = asdict(request)
    for secret in ("words", "facts", "negations"):
        plain[secret] = len(plain[secret])
    return plain


def _measured_file(layer: str) -> str:
    return f"measured_{layer}.json"


def _read(folder: Path, arguments: MixArguments, key: str) -> MixtureMeasured | None:
    """Return an earlier measurement with the same inputs; None without one or for a damaged file."""
    for name in (_measured_file(arguments.layer), _OLDER_FILE):
        with suppress(OSError, ValueError, KeyError, TypeError, ValidationError):
            written = json.loads((folder / name).read_bytes())
            # Beside the key, which is made before the base is loaded; older files are without it.
            if written["key"] == key and is_same_base(arguments.base, written.get("base_sha256")):
                return MixtureMeasured.model_validate(written["measured"])
    return None


def _write(path: Path, key: str, base_sha256: str | None, found: MixtureMeasured) -> None:
    scratch = path.with_suffix(".new")
    body = {"key": key, "base_sha256": base_sha256, "measured": found.model_dump(mode="json")}
    scratch.write_text(json.dumps(body, indent=1, ensure_ascii=True), encoding="utf-8")
    scratch.replace(path)


def _hash(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text.encode())
    return digest.hexdigest()


def _estimate(found: Interval) -> Estimate:
    return Estimate(**asdict(found))


def _maybe(found: Interval | None) -> Estimate | None:
    return None if found is None else _estimate(found)
