"""The part of a session that an agent may see, as plain data: readings, samples, answers.

All of it is text of models, or of tokens, and goes out through ``workbench.agent.quoting``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adl.readings.registry import READINGS
from adl.records import POOLED
from workbench.store.against_nulls import against_nulls, folded, folded_line, struck_line
from workbench.store.events import ReadingTaken
from workbench.store.findings import Curve, Finding, Heading, Line, Rows, Sample
from workbench.store.measures.phrases import PhrasesFound
from workbench.store.measures.unprompted import UnpromptedTexts
from workbench.store.state import NOT_COMPUTED as NOT_COMPUTED
from workbench.store.state import Recorded, SessionState, TextState

SOURCES = ("difference", "negative", "random", "split_half", "base", "finetuned")
OVERVIEW_TOKENS = 20
OVERVIEW_CHARACTERS = 240
OVERVIEW_TEXTS = 8


def overview(state: SessionState) -> list[dict[str, Any]]:
    """Every reading at every measured layer with its controls, then steered beside unsteered."""
    return [*_readings(state), *_samples(state), *_from_nothing(state)]


def measured_layers(state: SessionState) -> tuple[int, ...]:
    """The layers at which a difference was measured, or read, in order."""
    layers = {layer for measured in state.differences.values() for layer in measured.body.layers}
    return tuple(sorted(layers | {key.layer for key in state.readings}))


def reading_lists(
    state: SessionState, reading: str, layer: int, position: str, *, every_scale: bool = False
) -> list[Recorded[ReadingTaken]]:
    """The newest lists of a reading at a site, the difference before its controls.

    Those of the chosen scale only, unless ``every_scale``.
    """
    newest: dict[tuple[Any, ...], Recorded[ReadingTaken]] = {}
    for key, recorded in state.readings.items():
        if (key.reading, key.layer, key.position) != (reading, layer, position):
            continue
        if not (recorded.body.chosen or every_scale):
            continue
        same = (key.side, key.source, key.scale if every_scale else None)
        known = newest.get(same)
        if known is None or known.seq < recorded.seq:
            newest[same] = recorded
    return sorted(
        newest.values(),
        key=lambda found: (
            found.body.side,
            SOURCES.index(found.body.source),
            found.body.scale or 0.0,
        ),
    )


def list_data(recorded: Recorded[ReadingTaken], n_tokens: int) -> dict[str, Any]:
    """A token list as data: where it was read, from what, and its first tokens."""
    body = recorded.body
    return {
        "seq": recorded.seq,
        "reading": body.reading,
        "of": body.source,
        "side": body.side,
        "layer": body.layer,
        "position": body.position,
        "scale": body.scale,
        "tokens": [token.text.strip() or token.text for token in body.tokens[:n_tokens]]
        or NOT_COMPUTED,
    }


def text_data(text_id: str, text: TextState, longest: int) -> dict[str, Any]:
    """A generated text as data, with how it was made."""
    body = text.start.body
    excerpt = text.text if len(text.text) <= longest else text.text[:longest] + "..."
    data: dict[str, Any] = {
        "text_id": text_id,
        "seq": text.start.seq,
        "purpose": body.purpose,
        "side": body.side,
        "alpha": body.alpha,
        "prompt": prompt_of(text),
        "text": excerpt,
    }
    if body.prefill:
        data["prefill"] = body.prefill
    if body.prompt_notes:
        data["prompt_notes"] = list(body.prompt_notes)
    if body.alpha and body.source != "difference":
        data["steered_with"] = body.source
    if text.status != "finished":
        data["status"] = text.status
    return data


def finding_data(found: Finding, state: SessionState, longest: int) -> list[Any]:
    """Return a finding as data: its sentences, tables and texts, texts cut to ``longest``."""
    data: list[Any] = []
    for figure in found.figures():
        match figure:
            case Line() | Heading():
                data.append(figure.text)
            case Rows():
                rows = [list(row.cells) for row in figure.rows]
                data.append({"table": figure.title, "columns": figure.columns, "rows": rows})
            case Curve():
                data.append({"curve": figure.title, "values": figure.values})
            case Sample():
                text = state.texts.get(figure.text_id or "")
                shown = figure.text if text is None else text.text
                entry = {"title": figure.title, "text": shown[:longest]}
                data.append(entry if text is None else {"text_id": figure.text_id, **entry})
    return data


def prompt_of(text: TextState) -> str:
    """The prompt of a text: the last turn, or the raw text that it continues."""
    body = text.start.body
    if body.raw_prompt is not None:
        return body.raw_prompt
    return body.messages[-1].get("content", "") if body.messages else ""


def _readings(state: SessionState) -> Iterable[dict[str, Any]]:
    layers = measured_layers(state)
    if not layers:
        for reading in READINGS:
            yield {"reading": reading, "tokens": NOT_COMPUTED}
    for layer in layers:
        beside = against_nulls(state, layer)
        hidden = folded(beside.values())
        if hidden:
            yield {"layer": layer, "note": folded_line(hidden)}
        if struck := struck_line(state, layer):
            yield {"layer": layer, "note": struck}
        for reading in READINGS:
            if reading in hidden:
                continue
            lists = reading_lists(state, reading, layer, POOLED)
            if not lists:
                tokens = state.not_computed(reading, layer)
                yield {"reading": reading, "layer": layer, "tokens": tokens}
            for recorded in lists:
                data = list_data(recorded, OVERVIEW_TOKENS)
                found = beside.get((reading, recorded.body.side))
                if recorded.body.source == "difference" and found is not None and found.closeness:
                    data["narrow"] = found.words
                yield data


def _samples(state: SessionState) -> Iterable[dict[str, Any]]:
    pairs = steered_pairs(state)
    if not pairs:
        yield {"steering": NOT_COMPUTED}
    for plain, steered in pairs:
        sample = {
            "prompt": prompt_of(steered),
            "side": steered.start.body.side,
            "unsteered": NOT_COMPUTED if plain is None else _start(plain),
            "alpha": steered.start.body.alpha,
            "steered": _start(steered),
        }
        yield sample


def _from_nothing(state: SessionState) -> Iterable[dict[str, Any]]:
    """The newest unprompted texts and phrases, if there are any."""
    newest = {recorded.body.kind: recorded.body for recorded in state.measures}
    texts = newest.get("unprompted_texts")
    if isinstance(texts, UnpromptedTexts):
        best = [found for found in texts.of("finetuned") if found.text_id in state.texts]
        yield {
            "unprompted_texts": [
                {
                    "text_id": found.text_id,
                    "nats_per_token_over_base": found.per_token,
                    "text": _start(state.texts[found.text_id]),
                }
                for found in best[:OVERVIEW_TEXTS]
            ]
        }
    phrases = newest.get("phrases_found")
    if isinstance(phrases, PhrasesFound):
        yield {"phrases": [found.words for found in phrases.phrases[:OVERVIEW_TOKENS]]}


def steered_pairs(state: SessionState) -> list[tuple[TextState | None, TextState]]:
    """One text steered with the difference for each prompt and side, beside the unsteered one.

    The weakest alpha, which is the most coherent, where there are several.
    """
    texts = [text for text in state.texts.values() if text.start.body.purpose == "steer"]
    plain: dict[tuple[str, str], TextState] = {}
    steered: dict[tuple[str, str], TextState] = {}
    for text in texts:
        body = text.start.body
        place = (prompt_of(text), body.side)
        if not body.alpha:
            plain.setdefault(place, text)
        elif body.source == "difference":
            known = steered.get(place)
            if known is None or abs(body.alpha) < abs(known.start.body.alpha):
                steered[place] = text
    return [(plain.get(place), text) for place, text in steered.items()]


def _start(text: TextState) -> str:
    content = text.text
    return content if len(content) <= OVERVIEW_CHARACTERS else content[:OVERVIEW_CHARACTERS] + "..."


def find_texts(
    state: SessionState,
    *,
    text_ids: Sequence[str] = (),
    purpose: str | None = None,
    side: str | None = None,
    alpha: float | None = None,
    purposes: Sequence[str] = ("steer", "ask"),
) -> list[tuple[str, TextState]]:
    """The generated texts that fit, in the order they were made; only of the ``purposes``."""
    return [
        (text_id, text)
        for text_id, text in state.texts.items()
        if text.start.body.purpose in purposes
        and (not text_ids or text_id in text_ids)
        and purpose in {None, text.start.body.purpose}
        and side in {None, text.start.body.side}
        and (alpha is None or abs(text.start.body.alpha - alpha) < 1e-9)
    ]
