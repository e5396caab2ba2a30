"""Readings: token lists of the measured difference and of its nulls."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence

from pydantic import Field

from adl.callbacks import ShouldStop
from adl.errors import CorpusError
from adl.pair.protocol import resolve_layer
from adl.readings.patchscope import IDENTITY_PROMPTS
from adl.readings.ranking import CANDIDATE_FRACTION
from adl.readings.reading import Judge, ReadingRequest
from adl.readings.registry import READINGS, ReadingName
from adl.readings.shift_lens import CONTEXT_TOKENS, FIRST_COLUMN, N_CONTEXTS
from adl.readings.style import Style
from adl.readings.take import FailedReading, take_readings
from adl.records import DEFAULT_LAYER, TokenReadout, TokenScore
from adl.text.corpus import CorpusSource
from workbench.operations.judges import ScaleJudge, ScaleVerdict
from workbench.operations.running import Arguments, Context, Operation, Stage, Summary
from workbench.operations.shared_arguments import ContextTexts, CorpusName, Layer, TextColumn
from workbench.operations.style_bank import known_style
from workbench.store.agent_events import ScaleJudged
from workbench.store.events import ReadingFailed, ReadingTaken, ReadToken, StruckRead
from workbench.store.log import SessionLog

# Lists that come in one burst are committed together, as each commit waits for the disk; what was
# read is committed before the models run on, so that a kill loses no list.
AT_ONCE = 64
SECONDS_TO_COMMIT = 0.5


class ReadArguments(Arguments):
    """Readings to take, and the unrelated text that predictions are compared on."""

    readings: tuple[ReadingName, ...] = Field(
        tuple(READINGS), description="Readings to take; all by default."
    )
    layer: Layer = DEFAULT_LAYER
    top: int = Field(100, ge=1, description="Tokens to keep of each list.")
    corpus: CorpusName = None
    text_column: TextColumn = None
    n_texts: ContextTexts = 256
    seed: int = Field(0, ge=0, description="Random seed for texts and random directions.")
    style: bool = Field(
        True, description="Strike words that most other finetunings of the same base raise, too."
    )
    judge: str | None = Field(
        None, description="LLM that chooses scales and alphas; none chooses by a rule."
    )


def read(context: Context, arguments: ReadArguments) -> Summary:
    """Read token lists from the measured difference, each beside the same reading of nulls.

    A reading that fails is recorded with its reason, and the others go on.
    """
    pair = context.pair
    layer = resolve_layer(arguments.layer, pair.provenance.n_layers)
    key, difference = context.session.require_difference(layer)
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    texts = source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)
    settings = {
        "difference": key,
        "seed": arguments.seed,
        "texts": texts.sha256,
        "contexts": N_CONTEXTS,
        "context_tokens": [FIRST_COLUMN, CONTEXT_TOKENS],
        "candidate_fraction": CANDIDATE_FRACTION,
        "identity_prompts": list(IDENTITY_PROMPTS),
        "residual_norm": difference.residual_norm(layer),
    }
    style = known_style(pair) if arguments.style else Style()
    if arguments.style:
        settings["style"] = {"finetunings": style.n_others, "words": style.sha256}
    waiting: list[ReadingTaken | ReadingFailed] = []
    counts: dict[str, int] = {}
    failed: dict[str, str] = {}
    last = time.monotonic()

    def record() -> None:
        nonlocal last
        context.record_many(waiting)
        waiting.clear()
        last = time.monotonic()

    def should_stop() -> bool:
        # Asked before every batch: that is when the models run on.
        record()
        return context.should_stop()

    def progress(stage: str, done: int, total: int) -> None:
        record()
        context.progress(stage, done, total)

    readouts = take_readings(
        pair,
        difference,
        texts,
        ReadingRequest(
            layer,
            arguments.readings,
            arguments.seed,
            arguments.top,
            _judge(context, arguments.judge),
            style,
        ),
        progress=progress,
        should_stop=should_stop,
    )
    try:
        for readout in readouts:
            if isinstance(readout, FailedReading):
                waiting.append(
                    ReadingFailed(
                        reading=readout.reading,
                        layer=layer,
                        error=readout.error,
                        message=readout.message,
                        way_out=readout.hint,
                    )
                )
                failed[readout.reading] = readout.message
            else:
                waiting.append(_event(readout, settings))
                counts[readout.reading] = counts.get(readout.reading, 0) + 1
            if len(waiting) >= AT_ONCE or time.monotonic() - last > SECONDS_TO_COMMIT:
                record()
    finally:
        record()
    if not arguments.readings:
        raise CorpusError("no reading was named", f"Name some of: {', '.join(READINGS)}.")
    return {"lists": counts} | ({"failed": failed} if failed else {})


#: Of all readings, in the order they are taken; the nulls come once for each side.
_STAGES = (
    Stage("shift lens, base", 40),
    Stage("null (random)", 16),
    Stage("null (split half)", 12),
    Stage("said less", 8),
    Stage("shift lens, finetuned", 32),
    Stage("null (random)", 9),
    Stage("null (split half)", 13),
    Stage("shift lens by position, base", 30),
    Stage("shift lens by position, finetuned", 27),
    Stage("patchscope", 26),
    Stage("logit lens", 2),
)

READ = Operation(
    "read_tokens",
    "Read the difference",
    ReadArguments,
    read,
    needs=("pair", "difference"),
    place="both",
    stages=lambda _: _STAGES,
)


def lists_digest(lists: Mapping[float, Sequence[str]]) -> str:
    """Return the SHA-256 of token lists by scale, in hex."""
    plain = [[scale, list(tokens)] for scale, tokens in sorted(lists.items())]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def recorded_judge(log: SessionLog, session_id: str) -> ScaleJudge:
    """Return a judge that gives the verdicts recorded in a session; no LLM is asked."""
    known: dict[tuple[str, str, str], ScaleVerdict] = {}
    for event in log.events(session_id, kinds=["scale_judged"]):
        body = event.body
        if isinstance(body, ScaleJudged):
            verdict = ScaleVerdict(body.scale, body.why)
            known[body.model, body.reading, body.lists_sha256] = verdict

    def judge(
        model: str, reading: str, lists: Mapping[float, Sequence[str]], _stop: ShouldStop
    ) -> ScaleVerdict:
        found = known.get((model, reading, lists_digest(lists)))
        return found or ScaleVerdict(None, "these lists were not judged in the record")

    return judge


def _judge(context: Context, model: str | None) -> Judge | None:
    """The judge of one run; its verdicts are recorded."""
    if model is None:
        return None
    ask = context.session.scale_judge

    def judge(reading: str, lists: Mapping[float, Sequence[str]]) -> float | None:
        verdict = ScaleVerdict(None, "no judge is at hand")
        if ask is not None:
            verdict = ask(model, reading, lists, context.should_stop)
        context.record(
            ScaleJudged(
                reading=reading,
                model=model,
                scales=tuple(sorted(lists)),
                lists_sha256=lists_digest(lists),
                scale=verdict.scale,
                why=verdict.why,
            )
        )
        return verdict.scale

    return judge


def _event(readout: TokenReadout, settings: dict[str, object]) -> ReadingTaken:
    return ReadingTaken(
        reading=readout.reading,
        source=readout.source,
        side=readout.side,
        layer=readout.site.layer,
        position=readout.site.position,
        scale=readout.scale,
        chosen=readout.chosen,
        chosen_by=readout.chosen_by,
        settings=settings,
        statistics=readout.statistics,
        tokens=_tokens(readout.tokens),
        words_only=readout.words_only,
        unfiltered=_tokens(readout.unfiltered),
        struck=tuple(
            StruckRead(
                id=struck.token.token_id,
                text=struck.token.text,
                score=struck.token.score,
                probability=struck.token.probability,
                rank=struck.rank,
                why=struck.why,
            )
            for struck in readout.struck
        ),
        completed=readout.completed,
    )


def _tokens(tokens: tuple[TokenScore, ...]) -> tuple[ReadToken, ...]:
    return tuple(
        ReadToken(
            id=token.token_id, text=token.text, score=token.score, probability=token.probability
        )
        for token in tokens
    )
