"""The tokenizers of a pair: vocabularies, shared tokens, templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from adl.errors import PairError
from adl.pair.chat_templates import render_chat
from adl.pair.mismatch import SideText, mismatches, mismatches_of_chats
from adl.pair.protocol import BosFacts
from adl.pair.tokenizer_files import Cut, text_cut_otherwise
from adl.records import SIDES, Ids
from adl.text.tokens import byte_level_text, sentencepiece_text


@dataclass(frozen=True)
class TokenizerFacts:
    """Facts on a side's tokenizer, computed once.

    ``token_texts`` are those of the tokens that the model has a row for in its embeddings.
    ``byte_level`` says how its pieces are written: as bytes (GPT-2 and after) or as SentencePiece
    writes them.
    """

    tokenizer: PreTrainedTokenizerBase
    token_texts: tuple[str, ...]
    bos: BosFacts
    byte_level: bool


def read_tokenizer(tokenizer: PreTrainedTokenizerBase, rows: int) -> TokenizerFacts:
    """Return the facts of a tokenizer, with texts of tokens that have one of ``rows`` embedding rows."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    texts = [""] * (max(vocabulary.values()) + 1)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    byte_level = "ByteLevel" in str(getattr(backend, "decoder", ""))
    as_text = byte_level_text if byte_level else sentencepiece_text
    for piece, index in vocabulary.items():
        texts[index] = as_text(piece)
    for index, added in tokenizer.added_tokens_decoder.items():
        texts[index] = str(added)
    bos, before = tokenizer.bos_token_id, before_text(tokenizer)
    facts = BosFacts(
        bos if bos is not None and bos < rows else None,
        tuple(index for index in before if index < rows),
    )
    return TokenizerFacts(tokenizer, tuple(texts[:rows]), facts, byte_level)


def before_text(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the special tokens that the tokenizer puts before plain text."""
    plain = list(tokenizer.encode("a", add_special_tokens=False))
    whole = list(tokenizer("a").input_ids)
    for first in range(len(whole) - len(plain) + 1):
        if whole[first : first + len(plain)] == plain:
            return tuple(whole[:first])
    return ()


def token_ends(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the character index in ``text`` after each of its tokens, without special tokens."""
    if tokenizer.is_fast:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [int(end) for _, end in found["offset_mapping"]]
    # Without offsets: the length of the text of the first tokens.
    ids = list(tokenizer.encode(text, add_special_tokens=False))
    return [len(str(tokenizer.decode(ids[: count + 1]))) for count in range(len(ids))]


def shared_ids(base: TokenizerFacts, finetuned: TokenizerFacts) -> tuple[Ids, Ids] | None:
    """Return ids of the shared tokens ([n] base, [n] finetuned); None if the sides read text alike.

    That is with equal vocabularies, and texts cut into the same tokens: rules of a tokenizer may differ
    where its vocabulary does not. Tokens are the same where their pieces are, or, where one side
    writes its pieces as bytes and the other does not, where their texts are. Raises ``PairError`` if
    there is none.
    """
    if base.tokenizer is finetuned.tokenizer and len(base.token_texts) == len(
        finetuned.token_texts
    ):
        return None
    left, right = (_with_rows(facts) for facts in (base, finetuned))
    if left == right and text_cut_otherwise(_cutter(base), _cutter(finetuned)) is None:
        return None
    if base.byte_level != finetuned.byte_level:
        left, right = _by_text(base), _by_text(finetuned)
    common = sorted((index, right[piece]) for piece, index in left.items() if piece in right)
    if not common:
        raise PairError(
            "the sides' vocabularies have no token in common",
            "The finetuned model must come from this base: check both names.",
        )
    pairs = np.asarray(common, dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]


def _cutter(facts: TokenizerFacts) -> Cut:
    return lambda text: facts.tokenizer.encode(text, add_special_tokens=False)


def what_differs(
    base: TokenizerFacts, finetuned: TokenizerFacts, *, moved: bool
) -> tuple[str, ...]:
    """Return the mismatches of the sides' tokenizers; see ``adl.pair.mismatch``."""
    unbegun = [
        side
        for side, facts in zip(SIDES, (base, finetuned), strict=True)
        if _leaves_out_the_start(facts)
    ]
    if base.tokenizer is finetuned.tokenizer and base.tokenizer.chat_template is not None:
        return mismatches_of_chats(unbegun)
    shared = shared_ids(base, finetuned)
    cut = None
    if shared is not None and _with_rows(base) == _with_rows(finetuned):
        cut = text_cut_otherwise(_cutter(base), _cutter(finetuned))
    sides = [
        SideText(
            n_tokens=len(facts.tokenizer),
            added=frozenset(facts.tokenizer.get_added_vocab()),
            template=template_text(facts.tokenizer),
            starts=facts.bos.added_to_plain_text,
        )
        for facts in (base, finetuned)
    ]
    n_shared = None if shared is None else len(shared[0])
    found = mismatches(*sides, n_shared=n_shared, cut_otherwise=cut, moved=moved)
    return found + mismatches_of_chats(unbegun)


def _leaves_out_the_start(facts: TokenizerFacts) -> bool:
    """Return True if a templated chat does not begin as the tokenizer begins plain text."""
    before = list(facts.bos.before_text)
    if not before or facts.tokenizer.chat_template is None:
        return False
    try:
        chat = render_chat(facts.tokenizer, [{"role": "user", "content": "Hi"}])
    except PairError:
        return False
    ids = list(facts.tokenizer.encode(chat, add_special_tokens=False))
    return ids[: len(before)] != before


def template_text(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the chat template as one text; of several, all of them."""
    template = tokenizer.chat_template
    if template is None or isinstance(template, str):
        return template
    return json.dumps(template, sort_keys=True)


def tokens_without_rows(facts: TokenizerFacts) -> list[str]:
    """Return tokens of the tokenizer without a row in the embeddings, by id."""
    table = facts.tokenizer.get_vocab()
    without = [piece for piece, index in table.items() if index >= len(facts.token_texts)]
    return sorted(without, key=table.__getitem__)


def _with_rows(facts: TokenizerFacts) -> dict[str, int]:
    rows = len(facts.token_texts)
    return {piece: i for piece, i in facts.tokenizer.get_vocab().items() if i < rows}


def _by_text(facts: TokenizerFacts) -> dict[str, int]:
    """Return token ids by text; the first of several with the same text."""
    found: dict[str, int] = {}
    for index, text in enumerate(facts.token_texts):
        if text:
            found.setdefault(text, index)
    return found
