"""A conversation as a text file: what was asked, both answers, and what they were made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adl.errors import AdlError
from workbench.display import clean_line, clean_lines
from workbench.private_files import new_text
from workbench.store.kl_reference import beside_reference
from workbench.store.state import TextState
from workbench.tui.panes.chat.turns import AnswerRef, Turn
from workbench.tui.text import actor_name


class WriteError(AdlError):
    """The conversation could not be written."""


def write_conversation(
    path: Path,
    title: str,
    chain: Sequence[tuple[Turn, AnswerRef | None]],
    reference: float | None,
) -> None:
    """Write `conversation_text`, each text indented, with visible marks for its controls.

    Raises ``WriteError``; a file that is there already is left alone.
    """
    text = conversation_text(title, chain, reference)
    try:
        with new_text(path) as file:
            file.write(text)
    except FileExistsError as exc:
        raise WriteError(f"{path} exists already", "Choose another name.") from exc
    except OSError as exc:
        raise WriteError(
            f"{path} cannot be written: {exc.strerror}", "Give a path that can be."
        ) from exc


def conversation_text(
    title: str, chain: Sequence[tuple[Turn, AnswerRef | None]], reference: float | None
) -> str:
    """A conversation as Markdown; of every turn, the answer that was followed up.

    ``reference`` is the mean KL on unrelated text, None if it was not measured.
    """
    parts = [f"# {clean_line(title)}", ""]
    for turn, followed in chain:
        parts += _turn(turn, reference)
        if followed is not None:
            parts += [f"Followed up: {followed.side}'s answer, sample {followed.sample + 1}.", ""]
    return "\n".join(parts)


def _turn(turn: Turn, reference: float | None) -> list[str]:
    asked = "" if turn.operation is None else f", {turn.operation.started_at:%Y-%m-%d %H:%M:%S} UTC"
    parts = [f"## {turn.number}. {actor_name(turn.actor)}{asked}", ""]
    made_with = ("seed", "temperature", "max_new_tokens", "alpha", "layer", "position")
    parts += [
        f"- {name.replace('_', ' ')}: {clean_line(str(turn.arguments.get(name)))}"
        for name in made_with
    ]
    parts.append("")
    if turn.raw is not None:
        parts += ["### raw text", "", _quoted(turn.raw), ""]
    for message in turn.messages:
        role = clean_line(message.get("role", ""))
        parts += [f"### {role}", "", _quoted(message.get("content", "")), ""]
    if turn.prefill:
        parts += ["### prefill", "", _quoted(turn.prefill), ""]
    for side in turn.sides:
        for sample, text in enumerate(turn.answers.get(side, ())):
            of = f", sample {sample + 1}" if turn.n_samples > 1 else ""
            parts += [f"### {side}{of} ({_ending(text)})", ""]
            prompting = [f"- {clean_line(each)}" for each in text.start.body.prompting]
            parts += (
                [*prompting, "", _quoted(text.text), ""] if prompting else [_quoted(text.text), ""]
            )
    for comparison in turn.comparisons:
        body = comparison.body
        where = "the same" if body.first_divergence is None else body.first_divergence
        kl = "not computed"
        if body.kl:
            kl = beside_reference(sum(body.kl) / len(body.kl), reference, 4)
        parts.append(f"- first diverging token: {where}; mean KL in nats: {kl}")
    if not turn.comparisons:
        parts.append("- first diverging token and KL: not computed")
    operation = turn.operation
    if operation is not None and operation.status != "finished":
        reason = operation.message or operation.reason or operation.error
        parts.append(f"- {operation.status}{': ' if reason else ''}{clean_line(reason)}")
    return [*parts, ""]


def _ending(text: TextState) -> str:
    return text.status.replace("_", " ") if text.ended is None else text.ended.replace("_", " ")


def _quoted(text: str) -> str:
    return "\n".join(f"    {line}" for line in clean_lines(text).split("\n"))
