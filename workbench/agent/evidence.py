"""The part of a session that an agent may see, as plain data: readings, samples, answers.

All of it is text of models, or of tokens, and goes out through ``workbench.agent.quoting``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from adl.nulls import NULLS, SOURCES
from workbench.agent import short_ids
from workbench.store.events import ReadingTaken
from workbench.store.findings import NO_TOKEN, Curve, Finding, Heading, Line, Rows, Sample, title_of
from workbench.store.state import NOT_COMPUTED as NOT_COMPUTED
from workbench.store.state import Recorded, SessionState, TextState, chosen_lists

#: What is read, and no null; lists of it stand in this order, and those of nulls after it.
READ = tuple(source for source in SOURCES if source not in NULLS)


def measured_layers(state: SessionState) -> tuple[int, ...]:
    """The layers at which a difference was measured, or read, in order."""
    layers = {layer for measured in state.differences.values() for layer in measured.body.layers}
    return tuple(sorted(layers | {key.layer for key in state.readings}))


def reading_lists(
    state: SessionState, reading: str, layer: int, position: str, *, every_scale: bool = False
) -> list[Recorded[ReadingTaken]]:
    """The newest lists of a reading at a site, the difference first.

    Those of the chosen scale only, unless ``every_scale``.
    """
    lists = state.readings if every_scale else chosen_lists(state.readings)
    return sorted(
        (
            taken
            for key, taken in lists.items()
            if (key.reading, key.layer, key.position) == (reading, layer, position)
        ),
        key=lambda found: (
            found.body.side,
            (*READ, found.body.source).index(found.body.source),
            found.body.source,
            found.body.scale or 0.0,
        ),
    )


def list_data(
    state: SessionState, recorded: Recorded[ReadingTaken], n_tokens: int, *, by_seq: bool = False
) -> dict[str, Any]:
    """A token list as data: where it was read, from what, and its first tokens.

    ``by_seq`` names it by its event's number, as audits by older rules do.
    """
    body = recorded.body
    return {
        **({"seq": recorded.seq} if by_seq else {"id": short_ids.reading_id(state, recorded)}),
        "reading": body.reading,
        "of": body.source,
        "side": body.side,
        "layer": body.layer,
        "position": body.position,
        "scale": body.scale,
        "tokens": [body.word(token).strip() or token.text for token in body.tokens[:n_tokens]]
        or (NOT_COMPUTED if by_seq else NO_TOKEN),
    }


def text_data(
    state: SessionState, text: TextState, longest: int, *, by_seq: bool = False
) -> dict[str, Any]:
    """A generated text as data: how it was made, how long it is and how it ended."""
    body = text.start.body
    excerpt = text.text if len(text.text) <= longest else text.text[:longest] + "..."
    named: dict[str, Any] = (
        {"text_id": body.text_id, "seq": text.start.seq}
        if by_seq
        else {"id": short_ids.text_id(state, body.text_id)}
    )
    data = named | {
        "purpose": body.purpose,
        "side": body.side,
        "alpha": body.alpha,
        "prompt": body.prompt,
        "text": excerpt,
        "tokens": len(text.token_ids),
        "ended": ended(text),
    }
    if body.prefill:
        data["prefill"] = body.prefill
    if body.amplified:
        data["amplified"] = body.amplified
    if body.shuffled:
        data["null"] = "token differences shuffled"
    if body.prompt_notes:
        data["prompt_notes"] = list(body.prompt_notes)
    if body.alpha and body.source != "difference":
        data["steered_with"] = body.source
    return data


def ended(text: TextState) -> str:
    """The end of a text in words: by its own stop token, or cut off."""
    match text.ended:
        case "end_of_text":
            return "by itself, with a stop token"
        case "length":
            return f"cut off at the limit of {text.start.body.max_new_tokens} tokens"
        case "stopped":
            return "stopped on request"
        case None:
            return text.status.replace("_", " ")


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
                entry = {"title": title_of(figure, state.texts), "text": shown[:longest]}
                named = (
                    {} if text is None else {"id": short_ids.text_id(state, figure.text_id or "")}
                )
                data.append(named | entry)
    return data


def find_texts(
    state: SessionState,
    *,
    text_ids: Collection[str] = (),
    purpose: str | None = None,
    side: str | None = None,
    alpha: float | None = None,
) -> list[TextState]:
    """The generated texts that fit, in the order they were made."""
    return [
        text
        for text_id, text in state.texts.items()
        if (not text_ids or text_id in text_ids)
        and purpose in {None, text.start.body.purpose}
        and side in {None, text.start.body.side}
        and (alpha is None or abs(text.start.body.alpha - alpha) < 1e-9)
    ]
