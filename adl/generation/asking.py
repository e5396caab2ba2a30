"""Ask both models the same question, and compare their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from adl.errors import PromptError
from adl.generation.steering import SteeringVector, row_seed
from adl.pair.protocol import ChatPrompt, ModelPair, Thinking
from adl.records import SIDES, Floats, GeneratedText, GenerationRequest, Side
from adl.text.prompts import Prompt
from adl.text.tokens import text_at


@dataclass(frozen=True)
class Question:
    """A question to both models: a chat (with system turn and prefill) or raw text.

    Raises ``ValueError`` unless exactly one of ``prompt`` and ``raw`` is given.
    """

    prompt: Prompt | None = None
    raw: str | None = None
    thinking: Thinking = "auto"

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.raw is None):
            raise ValueError("a question is either a chat or raw text")


def question_ids(pair: ModelPair, side: Side, question: Question) -> tuple[int, ...]:
    """Return the question as token ids of a side: a templated chat, or plain text.

    Raises ``PromptError`` for a question without tokens.
    """
    return _asked(pair, side, question).ids


def question_requests(
    pair: ModelPair,
    side: Side,
    question: Question,
    seeds: Sequence[int],
    vector: SteeringVector | None = None,
    alpha: float = 0.0,
) -> list[GenerationRequest]:
    """Return one request per seed; the same seed gives both sides the same random numbers."""
    asked = _asked(pair, side, question)
    added = vector.times(alpha) if vector else None
    return [
        GenerationRequest(asked.ids, row_seed(seed, 0), added, notes=asked.notes) for seed in seeds
    ]


def first_divergence(pair: ModelPair, base: GeneratedText, finetuned: GeneratedText) -> int | None:
    """Return the index of the first token in which two answers differ by text; None if none does.

    An answer that ends where the other continues differs there. If the vocabularies differ, the
    same text in other tokens is no difference, and the index counts the base answer's tokens.
    """
    texts = {side: pair.token_texts(side) for side in SIDES}
    base_texts = [text_at(texts["base"], index) for index in base.token_ids]
    finetuned_texts = [text_at(texts["finetuned"], index) for index in finetuned.token_ids]
    if pair.shared_vocabulary() is not None:
        left, right = "".join(base_texts), "".join(finetuned_texts)
        pairs = enumerate(zip(left, right, strict=False))
        common = next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
        ends = accumulate(map(len, base_texts))
        return None if left == right else sum(end <= common for end in ends)
    for index, (left, right) in enumerate(zip(base_texts, finetuned_texts, strict=False)):
        if left != right:
            return index
    lengths = len(base_texts), len(finetuned_texts)
    return None if lengths[0] == lengths[1] else min(lengths)


def answer_kl(pair: ModelPair, question: Question, along: Side, answer: GeneratedText) -> Floats:
    """Return KL(finetuned || base) [n] in nats before each token of an answer by ``along``, unsteered.

    n is the number of leading tokens that both sides have.
    """
    ids = {side: list(question_ids(pair, side, question)) for side in SIDES}
    continued = {side: translated(pair, along, side, answer.token_ids) for side in SIDES}
    length = min(len(tokens) for tokens in continued.values())
    return pair.continuation_kl(
        ids["base"] + continued["base"][:length],
        ids["finetuned"] + continued["finetuned"][:length],
        length,
    )


def _asked(pair: ModelPair, side: Side, question: Question) -> ChatPrompt:
    if question.prompt is not None:
        prompt = question.prompt
        asked = pair.chat(side, prompt.messages, prefill=prompt.prefill, thinking=question.thinking)
    else:
        ids = tuple(pair.bos(side).begun(pair.tokenise(side, question.raw or "")))
        asked = ChatPrompt(ids, len(ids))
    if not asked.ids:
        raise PromptError("the question has no tokens", "Give at least one character.")
    return asked


def translated(pair: ModelPair, source: Side, target: Side, ids: Sequence[int]) -> list[int]:
    """Return ids of a text in the target's vocabulary, up to the first token that it does not have."""
    shared = pair.shared_vocabulary()
    if source == target or shared is None:
        return list(ids)
    columns = {side: column.tolist() for side, column in zip(SIDES, shared, strict=True)}
    table = dict(zip(columns[source], columns[target], strict=True))
    out: list[int] = []
    for index in ids:
        if index not in table:
            break
        out.append(table[index])
    return out
