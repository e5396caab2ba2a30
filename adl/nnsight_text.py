"""How the sides of a pair read and write text: their tokenizers, what they share, their templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from adl.errors import PairError, first_line
from adl.mismatch import SideText, mismatches
from adl.pair import BosFacts
from adl.records import Ids
from adl.tokens import byte_level_text, sentencepiece_text


@dataclass(frozen=True)
class TokenizerFacts:
    """What is known of a side's tokenizer, worked out once.

    ``byte_level`` says how its pieces are written: as bytes (GPT-2 and after) or as SentencePiece
    writes them.
    """

    tokenizer: PreTrainedTokenizerBase
    token_texts: tuple[str, ...]
    bos: BosFacts
    byte_level: bool


def read_tokenizer(tokenizer: PreTrainedTokenizerBase) -> TokenizerFacts:
    """The text of every token, and how a text begins."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    texts = [""] * (max(vocabulary.values()) + 1)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    byte_level = "ByteLevel" in str(getattr(backend, "decoder", ""))
    as_text = byte_level_text if byte_level else sentencepiece_text
    for piece, index in vocabulary.items():
        texts[index] = as_text(piece)
    for index, added in tokenizer.added_tokens_decoder.items():
        texts[index] = str(added)
    facts = BosFacts(tokenizer.bos_token_id, starts_with_bos(tokenizer))
    return TokenizerFacts(tokenizer, tuple(texts), facts, byte_level)


def starts_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a begin-of-text token before plain text."""
    bos_id = tokenizer.bos_token_id
    return bos_id is not None and tokenizer("a").input_ids[:1] == [bos_id]


def token_ends(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The character of ``text`` after each of its tokens, no special token added."""
    if tokenizer.is_fast:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [int(end) for _, end in found["offset_mapping"]]
    # Without offsets: how long the text is that the first tokens stand for.
    ids = list(tokenizer.encode(text, add_special_tokens=False))
    return [len(str(tokenizer.decode(ids[: count + 1]))) for count in range(len(ids))]


def shared_ids(base: TokenizerFacts, finetuned: TokenizerFacts) -> tuple[Ids, Ids] | None:
    """Ids of the tokens both sides have ([n] base, [n] finetuned); None: the same vocabulary.

    Tokens are the same where their pieces are, or, where one side writes its pieces as bytes and the
    other does not, where their texts are. Raises ``PairError`` if there is none.
    """
    if base.tokenizer is finetuned.tokenizer:
        return None
    one, other = (facts.tokenizer.get_vocab() for facts in (base, finetuned))
    if one == other:
        return None
    if base.byte_level != finetuned.byte_level:
        one, other = _by_text(base), _by_text(finetuned)
    common = sorted((index, other[piece]) for piece, index in one.items() if piece in other)
    if not common:
        raise PairError(
            "the sides' vocabularies have no token in common",
            "The finetuned model must come from this base: check both names.",
        )
    pairs = np.asarray(common, dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]


def what_differs(
    base: TokenizerFacts, finetuned: TokenizerFacts, *, moved: bool
) -> tuple[str, ...]:
    """What of the sides' texts does not match, in words; see ``adl.mismatch``."""
    if base.tokenizer is finetuned.tokenizer and base.tokenizer.chat_template is not None:
        return ()
    shared = shared_ids(base, finetuned)
    sides = [
        SideText(
            n_tokens=len(facts.tokenizer),
            added=frozenset(facts.tokenizer.get_added_vocab()),
            template=template_of(facts.tokenizer),
            starts=facts.bos.added_to_plain_text,
        )
        for facts in (base, finetuned)
    ]
    return mismatches(*sides, n_shared=None if shared is None else len(shared[0]), moved=moved)


def template_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The chat template as one text; of several, all of them."""
    template = tokenizer.chat_template
    if template is None or isinstance(template, str):
        return template
    return json.dumps(template, sort_keys=True)


def render_chat(
    tokenizers: Sequence[PreTrainedTokenizerBase], turns: Sequence[Mapping[str, str]]
) -> str:
    """A chat up to the start of the assistant's turn, by the first of the tokenizers with a template.

    Without any it is plain ``User:`` and ``Assistant:`` lines.
    """
    plain = [dict(turn) for turn in turns]
    for tokenizer in tokenizers:
        if tokenizer.chat_template is not None:
            return _apply_template(tokenizer, plain)
    lines = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in plain]
    return "\n\n".join([*lines, "Assistant:"])


def _by_text(facts: TokenizerFacts) -> dict[str, int]:
    """Tokens by what they stand for; of those that stand for the same, the first."""
    found: dict[str, int] = {}
    for index, text in enumerate(facts.token_texts):
        if text:
            found.setdefault(text, index)
    return found


def _apply_template(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> str:
    """Render a chat; a template that refuses a system turn gets it at the head of the first turn."""
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as exc:
        if not turns or turns[0]["role"] != "system" or len(turns) < 2:
            raise PairError(
                f"the chat template cannot render this conversation: {first_line(exc)}",
                "Begin with a user turn and let user and assistant alternate.",
            ) from exc
        merged = f"{turns[0]['content']}\n\n{turns[1]['content']}"
        return _apply_template(tokenizer, [{**turns[1], "content": merged}, *turns[2:]])
