"""Mismatches between the sides of a pair, in sentences for the user.

A pretrained base and a chat model may differ in vocabulary, special tokens, chat template and
begin-of-text token. None of these stops an audit; each decides what is compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_MOST_NAMED = 6
# Settings that do not decide the numbers, or that have a sentence of their own.
_NO_NUMBERS = re.compile(
    r"^_|token_id$|vocab|dtype|version|architectures|model_type|quantization|dropout|pdrop|initializer|"
    r"^use_cache$|^max_position_embeddings$|^n_positions$|label|^return_dict$|^output_|^problem_type$|"
    r"implementation"
)


@dataclass(frozen=True)
class SideText:
    """The tokenizer facts of a side: vocabulary size, special tokens, chat template.

    ``added`` are tokens that are never split, such as those of a chat; ``starts`` is True if plain
    text begins with a special token.
    """

    n_tokens: int
    added: frozenset[str]
    template: str | None
    starts: bool


def mismatches(
    base: SideText,
    finetuned: SideText,
    *,
    n_shared: int | None,
    cut_otherwise: str | None = None,
    moved: bool,
) -> tuple[str, ...]:
    """Return one or two sentences for each mismatch.

    ``n_shared`` is the number of shared tokens, None where the sides read text alike; ``cut_otherwise``
    is a text that equal vocabularies cut differently; ``moved`` is True for an adapter on another
    checkpoint.
    """
    found = []
    if moved:
        found.append(
            "The adapter sits on another checkpoint than the base: the difference holds what both "
            "the checkpoint and the adapter changed."
        )
    if cut_otherwise is not None:
        found.append(_rules(cut_otherwise))
    elif n_shared is not None:
        found.append(_vocabularies(base, finetuned, n_shared))
    found += _added(base, finetuned)
    found += _templates(base, finetuned)
    if base.starts != finetuned.starts:
        having, lacking = ("base", "finetuned") if base.starts else ("finetuned", "base")
        found.append(
            f"Only the {having} side begins a text with a token of its own. It stands before the text "
            f"there and is no position; position 0 is the text's first token, on the {lacking} side "
            "an attention sink and on this one not."
        )
    return tuple(found)


def mismatches_of_kinds(base: str, finetuned: str) -> tuple[str, ...]:
    """Return a sentence if the sides have different architectures of the same sizes."""
    if base == finetuned:
        return ()
    words = (
        f"The sides are of different architectures, {base} (base) and {finetuned} (finetuned): the "
        "difference of their activations holds that as well."
    )
    return (words,)


def mismatches_of_settings(
    base: Mapping[str, object], finetuned: Mapping[str, object]
) -> tuple[str, ...]:
    """Return a sentence on settings that decide numbers and differ between the sides."""
    keys = sorted(
        key
        for key in base.keys() | finetuned.keys()
        if base.get(key) != finetuned.get(key) and not _NO_NUMBERS.search(key)
    )
    if not keys:
        return ()
    differing = [f"{key} is {base.get(key)} and {finetuned.get(key)}" for key in keys[:_MOST_NAMED]]
    more = f", and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return (f"The configs of base and finetuned side differ: {', '.join(differing)}{more}.",)


def mismatches_of_numbers(base: str, finetuned: str) -> tuple[str, ...]:
    """Return a sentence if the sides were loaded in different number formats."""
    if base == finetuned:
        return ()
    words = (
        f"The base was loaded as {base} and the finetuned side as {finetuned}: the difference holds what "
        "either rounds off. --dtype loads both alike."
    )
    return (words,)


def mismatches_of_rows(side: str, without: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on tokens without a row in a side's embeddings."""
    if not without:
        return ()
    more = f" and {len(without) - _MOST_NAMED} more" if len(without) > _MOST_NAMED else ""
    return (
        (
            f"The {side} side's tokenizer has {len(without)} tokens for which its embeddings have no row: "
            f"{' '.join(without[:_MOST_NAMED])}{more}. Texts and chats that hold one are refused."
        ),
    )


def mismatches_of_chats(sides: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on chat templates without the begin-of-text token of plain text."""
    if not sides:
        return ()
    words = (
        f"The chat template of {' and '.join(sides)} does not write the begin-of-text token that the "
        "tokenizer puts before plain text: chats begin without it, as apply_chat_template writes them."
    )
    return (words,)


def _rules(text: str) -> str:
    return (
        f"The tokenizers have the same tokens, and cut text differently by other rules (such as {text!r}). "
        "Both sides are read where a token ends at the same character; texts that do not line up are "
        "left out and counted."
    )


def _vocabularies(base: SideText, finetuned: SideText, n_shared: int) -> str:
    return (
        f"The vocabularies differ: {base.n_tokens:,} tokens (base) and {finetuned.n_tokens:,} "
        f"(finetuned), {n_shared:,} of them the same text. Both sides are read where a token ends at "
        "the same character; texts that do not line up are left out and counted. Lists that compare "
        "both sides' predictions hold the shared tokens only."
    )


def _added(base: SideText, finetuned: SideText) -> list[str]:
    found = []
    for side, other, name in (
        (base, finetuned, "base"),
        (finetuned, base, "finetuned"),
    ):
        # Tokens of the chat template first: they matter most.
        template = side.template or ""
        only = sorted(side.added - other.added, key=lambda token: (token not in template, token))
        if only:
            more = f" and {len(only) - _MOST_NAMED} more" if len(only) > _MOST_NAMED else ""
            found.append(
                f"Special tokens that only the {name} side has: {' '.join(only[:_MOST_NAMED])}{more}. "
                "The other side reads them as ordinary text."
            )
    return found


def _templates(base: SideText, finetuned: SideText) -> list[str]:
    if base.template == finetuned.template:
        return (
            ["Neither side has a chat template: chats are written as User: and Assistant: lines."]
            if base.template is None
            else []
        )
    if base.template is None or finetuned.template is None:
        without, having = ("base", "finetuned") if base.template is None else ("finetuned", "base")
        other = f"that of the {having} side"
        return [f"The {without} side has no chat template: its chats are written by {other}."]
    return ["The chat templates differ: each side's chats are written by its own."]
