"""The overview that an agent with the lens begins with: all that was computed, in 9,000 characters.

    model        size, layers, template; which layers, positions and sides there are
    trace        how strong and how narrow, if it was measured
    tokens       one table of all readings that show something, nulls struck out
    in vain      one line: readings that showed nothing, and what nobody computed
    phrases      that finetuned writes more often, and its best texts from nothing
    prompts      base and finetuned unsteered, and steered at two low alphas, side by side

Each part has its share of the room; the prompts, which come last, get what the others left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adl.readings.registry import READINGS
from adl.records import POOLED, SIDES
from workbench.agent import short_ids
from workbench.agent.evidence import READ, measured_layers, reading_lists
from workbench.agent.quoting import cut, json_line, quoted
from workbench.display import shorten
from workbench.store.against_nulls import (
    AgainstNulls,
    against_nulls,
    folded,
    leading_layer,
    struck_line,
)
from workbench.store.events import ReadingTaken
from workbench.store.measures.phrases import PhrasesFound
from workbench.store.measures.trace import TraceMeasured
from workbench.store.measures.unprompted import UnpromptedTexts
from workbench.store.state import NOT_COMPUTED, Recorded, SessionState, TextState

#: Characters of all of it, as the agent gets it.
LONGEST = 9_000
#: Rows of the table of tokens, and ranks that are looked at.
DEPTH = 60
MOST_PROMPTS, ENOUGH_PROMPTS = 8, 6
MOST_PHRASES = 24
MOST_TEXTS = 6
#: Characters of the line of words of style.
LONGEST_STRUCK = 500
#: Characters of one text: at most, with so little room that six prompts are better, and at least.
LONGEST_EXCERPT, SHORT_EXCERPT, SHORTEST_EXCERPT = 240, 130, 60
# Of the room: the fence, and what escapes and aliases add.
_SPARE = 400
# Tokens of a list that a null or another reading must have at its own top to count.
_TOP = 20
# Of the first tokens of a list, so many must stand high in another reading's list.
_FEWEST_SHARED = 2
# Ranks count for 1 / (this + rank): first places much, and agreement of several readings more.
_FLAT = 10


def overview(state: SessionState, spare: Callable[[str], str] = str) -> str:
    """The overview, its texts and tokens inside a fence. At most ``LONGEST`` characters.

    ``spare`` is applied to the agent's own words.
    """
    facts = "\n".join(_facts(state))
    parts = [*_trace(state), *_tokens(state), *_phrases(state), *_from_nothing(state)]
    room = LONGEST - _SPARE - len(facts) - sum(map(_size, parts))
    parts += _prompts(state, room, spare)
    return facts + "\n" + quoted(parts, longest=LONGEST - _SPARE // 2 - len(facts))


# --- the model ------------------------------------------------------------------------------------


def _facts(state: SessionState) -> Iterator[str]:
    """Lines in our own words: nothing in them was written by a model, and no name stands in them."""
    if state.pair is not None:
        yield "The pair: " + "; ".join(_of_pair(state.pair)) + "."
    layers = measured_layers(state)
    positions = dict.fromkeys(
        position for found in state.differences.values() for position in found.body.positions
    )
    there = [*positions, POOLED] if positions else []
    yield (
        f"Measured layers: {', '.join(map(str, layers)) or NOT_COMPUTED}; positions: "
        f"{', '.join(dict.fromkeys(there)) or NOT_COMPUTED} ({POOLED} is their mean); sides: "
        f"{', '.join(SIDES)}."
    )


def _of_pair(pair: Mapping[str, Any]) -> Iterator[str]:
    base, finetuned = pair.get("base", {}), pair.get("finetuned", {})
    yield f"{_rounded(finetuned.get('parameters', 0))} parameters"
    yield f"{pair.get('n_layers', '?')} layers of width {pair.get('width', '?')}"
    sizes = [side.get("vocabulary_size") for side in (base, finetuned)]
    yield f"vocabulary {' and '.join(map(str, dict.fromkeys(sizes)))}"
    yield "an adapter on the base" if finetuned.get("adapter") else "two checkpoints"
    templates = [side.get("chat_template_sha256") for side in (base, finetuned)]
    if not any(templates):
        yield "no chat template"
    elif all(templates):
        same = templates[0] == templates[1]
        yield f"{'one' if same else 'another'} chat template on {'both' if same else 'each'}"
    else:
        yield f"a chat template on {'base' if templates[0] else 'finetuned'} alone"


def _rounded(parameters: int) -> str:
    """A number of parameters to one digit: the exact one is a part of many models' names."""
    for unit, size in (("billion", 10**9), ("million", 10**6), ("thousand", 10**3)):
        if parameters >= size:
            return f"about {float(f'{parameters:.1g}') / size:g} {unit}"
    return str(parameters)


# --- the trace ------------------------------------------------------------------------------------


def _trace(state: SessionState) -> Iterator[dict[str, Any]]:
    found = next(
        (known.body for known in reversed(state.measures) if isinstance(known.body, TraceMeasured)),
        None,
    )
    if found is None:
        yield {"trace": NOT_COMPUTED}
        return
    data = {"trace": found.verdict, "breadth": found.breadth, "why": cut(found.breadth_why, 300)}
    if found.narrowness is not None:
        index = found.narrowness
        data["closeness"] = f"{index.index:.2f} [{index.low:.2f}, {index.high:.2f}]"
        data["closeness_means"] = "of the raised words: 1 as in one text, 0 as in unrelated texts"
    yield data


# --- tokens ---------------------------------------------------------------------------------------


@dataclass
class _Token:
    """A token of the table: its rank in each column, and in how many a null has it as high."""

    shown: str
    ranks: dict[str, int] = field(default_factory=dict)
    in_nulls: int = 0

    @property
    def weight(self) -> float:
        return sum(1 / (_FLAT + rank) for rank in self.ranks.values())


@dataclass(frozen=True)
class _Column:
    """A list of the difference, and the ranks of the first tokens of its nulls."""

    name: str
    reading: str
    listed: Recorded[ReadingTaken]
    null: Mapping[str, int]

    def is_struck(self, token: str, rank: int) -> bool:
        """True if a null has the token as high."""
        return self.null.get(token, DEPTH + 1) <= rank

    def own(self) -> set[str]:
        """Those of the first tokens that no null has as high."""
        ranks = _ranks(self.listed.body, _TOP)
        return {token for token, rank in ranks.items() if not self.is_struck(token, rank)}

    def is_null(self) -> bool:
        """True if nulls have as high most of the first tokens, or there are none."""
        return 2 * len(self.own()) <= len(_ranks(self.listed.body, _TOP))


def _tokens(state: SessionState) -> Iterator[dict[str, Any]]:
    columns, missing = _columns(state)
    beside = against_nulls(state, columns[0].listed.body.layer) if columns else {}
    hidden = folded(beside.values())
    useful = [
        column
        for column in columns
        if column.reading not in hidden and (_is_closer(column, beside) or _shows(column, columns))
    ]
    if useful:
        yield {
            "layer": useful[0].listed.body.layer,
            "tokens_by": {column.name: _about(state, column, beside) for column in useful},
            "rows": "token, its rank in each of these lists, * where nulls have it as well",
        }
        yield {"tokens": [_row(token, useful) for token in _merged(useful)]}
    if useful and (struck := struck_line(state, useful[0].listed.body.layer)):
        yield {"struck_out": cut(struck, LONGEST_STRUCK)}
    in_vain = [column.name for column in columns if column not in useful]
    words = []
    if in_vain:
        words.append(
            f"{', '.join(in_vain)}: no better than nulls, or alone with what they show; "
            "show_reading has them"
        )
    words += [f"{name}: {why}" for name, why in missing.items()]
    if words:
        yield {"showed_nothing": "; ".join(words)}


Beside = Mapping[tuple[str, str], AgainstNulls]


def _about(state: SessionState, column: _Column, beside: Beside) -> str:
    """The id of a list, and how close its words are beside those of its nulls, if that is known."""
    name = short_ids.reading_id(state, column.listed)
    found = beside.get((column.reading, column.listed.body.side))
    return f"{name}, {found.words}" if found is not None and found.closeness else name


def _is_closer(column: _Column, beside: Beside) -> bool:
    """True if the words of a list are known to be closer together than those of its nulls."""
    found = beside.get((column.reading, column.listed.body.side))
    return found is not None and found.no_better is False


def _columns(state: SessionState) -> tuple[list[_Column], dict[str, str]]:
    """The lists of the difference at the leading layer, and why others are missing."""
    layers = measured_layers(state)
    if not layers:
        return [], dict.fromkeys(READINGS, NOT_COMPUTED)
    columns: list[_Column] = []
    missing: dict[str, str] = {}
    layer = leading_layer(state.readings, layers)
    for reading in READINGS:
        lists = reading_lists(state, reading, layer, POOLED)
        found = [known for known in lists if known.body.source == "difference"]
        if not found:
            missing[reading] = cut(state.not_computed(reading, layer), 120)
        for known in found:
            side = known.body.side
            null: dict[str, int] = {}
            for other in lists:
                if other.body.source not in READ and other.body.side == side:
                    for token, rank in _ranks(other.body, _TOP).items():
                        null[token] = min(rank, null.get(token, rank))
            name = reading if len(found) == 1 else f"{reading}/{side}"
            columns.append(_Column(name, reading, known, null))
    return columns, missing


def _shows(column: _Column, columns: Sequence[_Column]) -> bool:
    """True if a list is not its null's, and another reading agrees with it where there is one."""
    if column.is_null():
        return False
    others = [other for other in columns if other.reading != column.reading and not other.is_null()]
    shared = {token for other in others for token in other.own()}
    return not others or len(column.own() & shared) >= _FEWEST_SHARED


def _merged(columns: Sequence[_Column]) -> list[_Token]:
    found: dict[str, _Token] = {}
    for column in columns:
        for rank, token in enumerate(column.listed.body.tokens[:DEPTH], start=1):
            key = _key(token.text)
            known = found.setdefault(
                key, _Token(column.listed.body.word(token).strip() or token.text)
            )
            if column.name not in known.ranks:
                known.ranks[column.name] = rank
                known.in_nulls += column.is_struck(key, rank)
    return sorted(found.values(), key=lambda token: -token.weight)[:DEPTH]


def _row(token: _Token, columns: Sequence[_Column]) -> str:
    ranks = " ".join(str(token.ranks.get(column.name, "-")) for column in columns)
    struck = "*" if 2 * token.in_nulls >= len(token.ranks) else ""
    return f"{token.shown}{struck} {ranks}"


def _ranks(listed: ReadingTaken, depth: int) -> dict[str, int]:
    """Ranks of the first tokens: of a short list the first half, as its end is of no account."""
    depth = min(depth, (len(listed.tokens) + 1) // 2)
    ranks: dict[str, int] = {}
    for rank, token in enumerate(listed.tokens[:depth], start=1):
        ranks.setdefault(_key(token.text), rank)
    return ranks


def _key(text: str) -> str:
    return text.strip().casefold()


# --- texts ----------------------------------------------------------------------------------------


def _phrases(state: SessionState) -> Iterator[dict[str, Any]]:
    for known in reversed(state.measures):
        if isinstance(known.body, PhrasesFound):
            words = [cut(phrase.words, 60) for phrase in known.body.phrases[:MOST_PHRASES]]
            yield {"id": short_ids.measure_id(state, known), "phrases": words}
            return
    yield {"phrases": NOT_COMPUTED}


def _from_nothing(state: SessionState) -> Iterator[dict[str, Any]]:
    for known in reversed(state.measures):
        if isinstance(known.body, UnpromptedTexts):
            best = [found for found in known.body.of("finetuned") if found.text_id in state.texts]
            yield {
                "unprompted": "texts of finetuned from nothing, nats per token over base; last the "
                "question that it wrote itself and answers",
                "id": short_ids.measure_id(state, known),
                "texts": [
                    [
                        short_ids.text_id(state, found.text_id),
                        round(found.per_token, 2),
                        _excerpt(state.texts[found.text_id], LONGEST_EXCERPT),
                        *_own_question(state.texts[found.text_id]),
                    ]
                    for found in best[:MOST_TEXTS]
                ],
            }
            return
    yield {"unprompted": NOT_COMPUTED}


@dataclass(frozen=True)
class _Prompt:
    """Texts to one prompt: unsteered of both sides, and of finetuned at two low alphas."""

    prompt: str
    texts: Mapping[str, TextState]


def _prompts(state: SessionState, room: int, spare: Callable[[str], str]) -> list[dict[str, Any]]:
    """As many prompts as there is room for, each text of them as long as the others."""
    found = list(_side_by_side(state, spare))[:MOST_PROMPTS]
    if not found:
        return [{"steering": NOT_COMPUTED}]
    for count in range(len(found), 0, -1):
        some = found[:count]
        shortest = SHORT_EXCERPT if count > ENOUGH_PROMPTS else SHORTEST_EXCERPT
        for longest in range(LONGEST_EXCERPT, shortest - 1, -10):
            data = [_prompt_data(state, each, longest) for each in some]
            if sum(map(_size, data)) <= room:
                return data
    return []


def _prompt_data(state: SessionState, found: _Prompt, longest: int) -> dict[str, Any]:
    return {
        "prompt": shorten(" ".join(found.prompt.split()), SHORT_EXCERPT),
        **{
            name: [short_ids.text_id(state, text.start.body.text_id), _excerpt(text, longest)]
            for name, text in found.texts.items()
        },
    }


def _side_by_side(state: SessionState, spare: Callable[[str], str]) -> Iterator[_Prompt]:
    """Every prompt with a text steered with the difference, in the order they were put."""
    plain: dict[tuple[str, str], TextState] = {}
    steered: dict[str, dict[float, TextState]] = {}
    for text in state.texts.values():
        body = text.start.body
        if body.purpose not in {"steer", "ask"} or body.prefill:
            continue
        prompt = text.start.body.prompt
        if not body.alpha:
            plain.setdefault((prompt, body.side), text)
        elif body.purpose == "steer" and body.source == "difference" and body.alpha > 0:
            # Steered on base where nothing was steered on finetuned.
            by_alpha = steered.setdefault(prompt, {})
            known = by_alpha.get(body.alpha)
            if known is None or (known.start.body.side, body.side) == SIDES:
                by_alpha[body.alpha] = text
    for prompt, by_alpha in steered.items():
        texts: dict[str, TextState] = {
            side: plain[prompt, side] for side in SIDES if (prompt, side) in plain
        }
        texts |= {f"alpha {alpha:g}": by_alpha[alpha] for alpha in sorted(by_alpha)[:2]}
        is_own = all(text.start.actor.kind == "agent" for text in texts.values())
        yield _Prompt(spare(prompt) if is_own else prompt, texts)


def _excerpt(text: TextState, longest: int) -> str:
    return shorten(" ".join(text.text.split()), longest)


def _own_question(text: TextState) -> tuple[str, ...]:
    return (cut(text.question, SHORT_EXCERPT),) if text.question else ()


def _size(item: Any) -> int:
    """Characters of an item as it is quoted."""
    return len(json_line(item)) + 1
