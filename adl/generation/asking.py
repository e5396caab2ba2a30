"""Ask both models the same, and see where and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from adl.errors import PromptError
from adl.generation.steering import SteeringVector, row_seed
from adl.pair.protocol import ChatPrompt, ModelPair, Thinking
from adl.records import SIDES, Floats, GeneratedText, GenerationRequest, Side
from adl.text.prompts import Prompt


@dataclass(frozen=True)
class Question:
    """What is put to both models: a chat (with system turn and prefill) or raw text."""

    prompt: Prompt | None = None
    raw: str | None = None
    thinking: Thinking = "auto"

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.raw is None):
            raise ValueError("a question is either a chat or raw text")


def question_ids(pair: ModelPair, side: Side, question: Question) -> tuple[int, ...]:
    """The question as the side's tokens: through its chat template, or begun as plain text is."""
    return _asked(pair, side, question).ids


def question_requests(
    pair: ModelPair,
    side: Side,
    question: Question,
    seeds: Sequence[int],
    vector: SteeringVector | None = None,
    alpha: float = 0.0,
) -> list[GenerationRequest]:
    """One request per seed; the same seed gives both sides the same random numbers."""
    asked = _asked(pair, side, question)
    added = vector.times(alpha) if vector else None
    return [
        GenerationRequest(asked.ids, row_seed(seed, 0), added, notes=asked.notes) for seed in seeds
    ]


def first_divergence(pair: ModelPair, base: GeneratedText, finetuned: GeneratedText) -> int | None:
    """Index of the first token in which two answers differ, compared by text; None if they do not.

    An answer that ends where the other goes on differs there. Where the vocabularies differ, the same
    text in other tokens is no difference, and the index is that of the base's answer.
    """
    texts = {side: pair.token_texts(side) for side in SIDES}
    one = [texts["base"][index] for index in base.token_ids]
    other = [texts["finetuned"][index] for index in finetuned.token_ids]
    if pair.shared_vocabulary() is not None:
        left, right = "".join(one), "".join(other)
        pairs = enumerate(zip(left, right, strict=False))
        common = next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
        ends = accumulate(map(len, one))
        return None if left == right else sum(end <= common for end in ends)
    for index, (mine, yours) in enumerate(zip(one, other, strict=False)):
        if mine != yours:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def answer_kl(pair: ModelPair, question: Question, along: Side, answer: GeneratedText) -> Floats:
    """KL(finetuned || base) in nats before each token of an answer of side ``along``, unsteered."""
    ids = {side: list(question_ids(pair, side, question)) for side in SIDES}
    continued = {side: _translated(pair, along, side, answer.token_ids) for side in SIDES}
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


def _translated(pair: ModelPair, source: Side, target: Side, ids: Sequence[int]) -> list[int]:
    """The same tokens in the other side's vocabulary, up to the first that it does not have."""
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
