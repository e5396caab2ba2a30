"""Drawing of a probe and its answers side by side, with their divergence and KL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from textual.content import Content

from adl.records import Side
from adl.words import number_of
from workbench.display import clean_line, shorten
from workbench.sparkline import HEIGHTS
from workbench.store.events import AnswersCompared
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState, TextState
from workbench.tui import keys, text
from workbench.tui.panes.chat.turns import AnswerRef, Messages, Turn
from workbench.tui.text import actor_name
from workbench.tui.widgets.virtual_list import Block, Columns

#: Below this many cells the answers are stacked.
TWO_COLUMNS = 70
#: Of a longer text the first so many characters are shown; a file has all of it.
MOST_SHOWN = 20_000
MOST_OF_PROBE = 2_000
#: A bar of the KL is full at the greatest of the answer, or at so many nats if that is more.
FULL_KL = 1.0
#: Drawn turns that are remembered; more than ever are in view.
_REMEMBERED = 200

_PART = "▸"
_MUTED = "$foreground-muted"
_ENDINGS = {"end_of_text": "ended", "length": "at the limit", "stopped": "stopped"}


@dataclass(frozen=True)
class Look:
    """Settings for drawing a turn.

    The keys act on the answer of ``side``. ``marked`` pairs ids of texts with ids of evidence,
    ``follows`` is the number of the turn that this one follows up and the answer, and ``stage``
    describes the work in progress.
    """

    width: int
    side: Side = "finetuned"
    sample: int = 0
    marked: tuple[tuple[str, str], ...] = ()
    follows: tuple[int, AnswerRef] | None = None
    stage: str = ""
    reference: float | None = None
    "Mean KL on unrelated text, which that of the answers is compared with."
    recorded: bool = False


class DrawnTurns:
    """Draws turns, and remembers those that were drawn last."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[Turn, Look, list[Block]]] = {}

    def blocks(self, turn: Turn, look: Look) -> list[Block]:
        """Return a turn as blocks of text, drawn anew if it or its look changed."""
        known = self._drawn.get(turn.id)
        if known is not None and known[0].is_as(turn) and known[1] == look:
            return known[2]
        blocks = turn_blocks(turn, look)
        self._drawn.pop(turn.id, None)
        self._drawn[turn.id] = (turn, look, blocks)
        if len(self._drawn) > _REMEMBERED:
            del self._drawn[next(iter(self._drawn))]
        return blocks


def turn_blocks(turn: Turn, look: Look) -> list[Block]:
    """Return a turn as blocks of text, from its header to the comparison of the answers."""
    blocks: list[Block] = [_header(turn, look.width)]
    blocks += _context(turn, look)
    probe = turn.probe
    blocks.append(_cut(probe, MOST_OF_PROBE, "bold"))
    answers = {side: turn.answer(side, look.sample) for side in turn.sides}
    if any(answers.values()):
        parts = _parting(answers)
        columns = {side: _column(turn, side, answers[side], parts, look) for side in turn.sides}
        if len(columns) == 2 and look.width >= TWO_COLUMNS:
            blocks.append(Columns(columns["base"], columns["finetuned"]))
        else:
            blocks += columns.values()
        blocks += _compared(turn, look)
    blocks += _how_it_stands(turn, look)
    return blocks


def parting(base: str, finetuned: str, *, both_done: bool) -> int | None:
    """Return the character at which two answers part; None if they do not, or not yet.

    The first differing token begins there or a few characters before, at the start of the word.
    """
    shorter = min(len(base), len(finetuned))
    pairs = enumerate(zip(base, finetuned, strict=False))
    at = next((index for index, (one, other) in pairs if one != other), shorter)
    if at == shorter and (not both_done or len(base) == len(finetuned)):
        return None
    if not any(answer[at : at + 1].isalnum() for answer in (base, finetuned)):
        return at
    start = at
    while start > 0 and at - start < 15 and finetuned[start - 1].isalnum():
        start -= 1
    return at if at - start == 15 else start


def kl_bars(kl: Sequence[float], width: int) -> str:
    """Return KL along an answer as at most ``width`` bars, each the maximum of its tokens."""
    cells = min(width, len(kl))
    if cells <= 0:
        return ""
    full = max(FULL_KL, *kl)
    greatest = [
        max(kl[len(kl) * cell // cells : max(1, len(kl) * (cell + 1) // cells)])
        for cell in range(cells)
    ]
    return "".join(
        HEIGHTS[min(len(HEIGHTS), max(1, ceil(value / full * len(HEIGHTS)))) - 1]
        for value in greatest
    )


# --- the parts of a turn --------------------------------------------------------------------


def _header(turn: Turn, width: int) -> Content:
    asked = "" if turn.operation is None else f" {turn.operation.started_at:%H:%M:%S}"
    name = shorten(actor_name(turn.actor), max(24, width // 3))
    left = Content.assemble(
        (f"{turn.number} ", "bold $accent"),
        (name, "bold" if turn.actor.kind == "human" else "bold $accent"),
        (asked, _MUTED),
        " ",
    )
    settings = shorten(clean_line(_how(turn)), max(0, width - left.cell_length - 4))
    right = Content.styled(f" {settings}", _MUTED)
    rule = "─" * max(1, width - left.cell_length - right.cell_length)
    return Content.assemble(left, (rule, _MUTED), right).truncate(width)


def _how(turn: Turn) -> str:
    """Return the sampling settings in a few words."""
    arguments = turn.arguments
    parts = [
        f"seed {arguments.get('seed')}",
        f"T {arguments.get('temperature'):g}",
        f"{arguments.get('max_new_tokens')} tokens",
    ]
    if turn.raw is not None:
        parts.insert(0, "raw text")
    return " · ".join(parts)


def _context(turn: Turn, look: Look) -> list[Block]:
    """Return the context of the probe, a line for each part."""
    lines: list[Block] = []

    def line(name: str, value: str) -> None:
        label = f"{name}: "
        lines.append(
            Content.assemble(
                (label, f"{_MUTED} bold"),
                text.line(value[: 4 * look.width], _MUTED, max(1, look.width - len(label))),
            ).truncate(look.width)
        )

    if turn.system is not None and look.follows is None:
        line("system", turn.system)
    if look.follows is not None:
        number, answer = look.follows
        of = f" (sample {answer.sample + 1})" if answer.sample else ""
        line("follows", f"turn {number}, {answer.side}'s answer{of}")
    else:
        for message in _shown_history(turn.history):
            line(message.get("role", ""), message.get("content", ""))
    if turn.prefill:
        line("prefill", turn.prefill)
    if turn.arguments.get("alpha"):
        line("steered", _steered(turn))
    for name, words in _prompting(turn):
        line(name, words)
    return lines


def _prompting(turn: Turn) -> Iterator[tuple[str, str]]:
    """Yield what the prompts alone do not tell, with the sides it is of."""
    sides: dict[str, dict[Side, None]] = {}
    for side in turn.sides:
        for answer in turn.answers.get(side, ()):
            for words in answer.start.body.prompting:
                sides.setdefault(words, {})[side] = None
    for words, of in sides.items():
        yield ("prompt" if [*of] == [*turn.sides] else f"prompt of {', '.join(of)}"), words


def _steered(turn: Turn) -> str:
    layer = turn.arguments.get("layer")
    for texts in turn.answers.values():
        layer = texts[0].start.body.layer if texts else layer
    where = f"layer {layer}, position {turn.arguments.get('position')}"
    return f"alpha {turn.arguments['alpha']:g}, the difference of {where}"


def _shown_history(history: Messages) -> Messages:
    if len(history) <= 4:
        return history
    between = {"role": "...", "content": f"{number_of(len(history) - 2, 'more turn')}"}
    return (history[0], between, history[-1])


def _column(
    turn: Turn, side: Side, answer: TextState | None, parts: dict[Side, int | None], look: Look
) -> Content:
    chosen = side == look.side
    heading: list[Content | tuple[str, str]] = [
        (f"{'●' if chosen else '○'} {side}", "bold" if chosen else _MUTED)
    ]
    if turn.n_samples > 1:
        heading.append((f"  sample {look.sample + 1} of {turn.n_samples}", _MUTED))
    if answer is None:
        lines = [Content.assemble(*heading), Content.styled(_not_yet(turn, side), _MUTED)]
        return Content("\n").join(lines)
    for text_id, evidence in look.marked:
        if text_id == answer.start.body.text_id:
            heading.append((f"  ◆ {clean_line(evidence)}", "bold $accent"))
    return Content("\n").join(
        [
            Content.assemble(*heading),
            _answer(answer, parts.get(side)),
            Content.styled(_ending(answer), _MUTED),
        ]
    )


def _not_yet(turn: Turn, side: Side) -> str:
    if turn.is_over:
        return f"not computed; {keys.shown('again')} asks again"
    return "waits for the other side" if side == "finetuned" else "begins"


def _answer(answer: TextState, part: int | None) -> Content:
    """Return an answer with its prefill; the part both answers share is muted."""
    written = answer.text
    prefill = answer.start.body.prefill
    begun = [_cut(prefill, MOST_OF_PROBE, "italic $foreground-muted")] if prefill else []
    if not written and answer.status != "growing":
        return Content.assemble(*begun, ("(empty)", f"{_MUTED} italic"))
    if part is None or part > MOST_SHOWN:
        return Content.assemble(*begun, _cut(written, MOST_SHOWN))
    word = part
    while (
        word < len(written) and word - part < 24 and (word == part or not written[word].isspace())
    ):
        word += 1
    return Content.assemble(
        *begun,
        text.block(written[:part], _MUTED),
        (_PART, "bold $accent"),
        text.block(written[part:word], "bold underline"),
        _cut(written[word:], MOST_SHOWN),
    )


def _ending(answer: TextState) -> str:
    if answer.status == "growing":
        return "..."
    if answer.status == "cut_off":
        return "cut off before its end"
    count = len(answer.token_ids)
    return f"{count} token{'' if count == 1 else 's'}, {_ENDINGS.get(answer.ended or '', '')}"


def _cut(raw: str, most: int, style: str = "") -> Content:
    shown = text.block(raw[:most], style)
    if len(raw) <= most:
        return shown
    more = f" … {number_of(len(raw) - most, 'more character')}: {keys.shown('write')} writes all to a file"
    return Content.assemble(shown, (more, _MUTED))


def _parting(answers: dict[Side, TextState | None]) -> dict[Side, int | None]:
    base, finetuned = answers.get("base"), answers.get("finetuned")
    if base is None or finetuned is None:
        return {}
    done = base.status != "growing" and finetuned.status != "growing"
    at = parting(base.text, finetuned.text, both_done=done)
    return {"base": at, "finetuned": at}


def _compared(turn: Turn, look: Look) -> list[Block]:
    compared = turn.comparison(look.sample)
    if compared is None:
        if not turn.is_over:
            return []
        if len(turn.sides) < 2:
            return [
                Content.styled(
                    f"KL: not computed, only {turn.sides[0]} was asked; {keys.shown('settings')} asks both",
                    _MUTED,
                )
            ]
        return [
            Content.styled(
                f"where they part and KL: not computed; {keys.shown('again')} asks again", _MUTED
            )
        ]
    lines: list[Block] = [_comparison(compared, look.width)]
    if compared.body.kl:
        lines.append(_reference(look))
    if turn.n_samples > 1 and len(turn.comparisons) > 1:
        lines.append(_over_samples(turn))
    return lines


def _reference(look: Look) -> Content:
    """The reference of the answers' mean KL, or how to get it."""
    if look.reference is not None:
        known = f"mean KL on unrelated text: {look.reference:.2f} nats"
    elif look.recorded:
        known = "mean KL on unrelated text: not measured"
    else:
        how = f"run {keys.shown('measures')}, Find where they differ"
        known = f"KL on unrelated text: not measured; {how}"
    return Content.styled(known, _MUTED)


def _comparison(compared: Recorded[AnswersCompared], width: int) -> Content:
    body = compared.body
    where = (
        "the same, token for token"
        if body.first_divergence is None
        else f"{_PART} part at token {body.first_divergence}"
    )
    if not body.kl:
        return Content.assemble((where, "bold"), ("  KL: no token to compute it at", _MUTED))
    greatest = max(body.kl)
    numbers = (
        f"  KL mean {sum(body.kl) / len(body.kl):.2f}, max {greatest:.2f} nats"
        f" at token {body.kl.index(greatest)}  "
    )
    room = width - len(where) - len(numbers)
    bars = kl_bars(body.kl, room if room >= 12 else width)
    return Content.assemble((where, "bold"), numbers, "" if room >= 12 else "\n", (bars, "$accent"))


def _over_samples(turn: Turn) -> Content:
    bodies = [comparison.body for comparison in turn.comparisons]
    means = [sum(body.kl) / len(body.kl) for body in bodies if body.kl]
    same = sum(body.first_divergence is None for body in bodies)
    summary = f"over {number_of(len(turn.comparisons), 'sample')}: {same} the same"
    if means:
        summary += f", KL mean {sum(means) / len(means):.2f} ({min(means):.2f} to {max(means):.2f})"
    return Content.styled(summary, _MUTED)


def _how_it_stands(turn: Turn, look: Look) -> list[Block]:
    operation = turn.operation
    if operation is None:
        return [
            Content.styled(
                f"waits behind other work; {keys.shown('stop')} stops what is running", _MUTED
            )
        ]
    match operation.status:
        case "running":
            return [text.line(look.stage or "under way", "$accent", look.width)]
        case "failed":
            failure = f"✗ failed: {operation.message or operation.error}"
            lines: list[Block] = [text.problem(failure[:MOST_OF_PROBE], "bold $text-error")]
            if operation.way_out:
                lines.append(text.problem(operation.way_out[:MOST_OF_PROBE], ""))
            return lines
        case "stopped":
            return [
                text.line(
                    f"✗ {operation.reason or 'stopped'}; {keys.shown('again')} asks again", "bold"
                )
            ]
        case "abandoned":
            return [
                Content.styled(
                    f"✗ the program ended before this did; {keys.shown('again')} asks again", "bold"
                )
            ]
        case _:
            return []


def nothing_asked(state: SessionState, *, loading: bool) -> Content:
    """Return the text of a conversation without a turn: how to begin."""
    lines = ["Nothing was asked yet.", ""]
    if state.pair is None and not loading:
        lines.append("No model pair is loaded; load one first.")
    else:
        lines.append("Enter goes to the field below; Enter there asks both models at once.")
        lines.append(
            f"{keys.shown('settings')} has the settings: system turn, prefill, samples, seed, steering."
        )
    return Content.styled("\n".join(lines), "$foreground-muted")
