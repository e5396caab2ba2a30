"""The interface of a model pair: reductions over residuals and predictions, in numpy.

    readings, steering, measures      numpy in, records out
        |
    ModelPair (this Protocol)         reductions: sums, means, top rows; never batch x tokens x vocabulary
        |
    NnsightPair | a planted pair      torch, nnsight, transformers | numpy with known answers

Vocabulary axes: ``[V]`` is one side's own vocabulary, as long as its list of token texts. Rows of
an embedding matrix without a token are cut off after the softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import ShouldStop, never_stop
from adl.errors import PairError, SiteError
from adl.records import (
    Floats,
    GeneratedText,
    GenerationPlan,
    GenerationRequest,
    Ids,
    PairProvenance,
    Side,
    UpdateFacts,
    WeightChange,
)
from adl.text.corpus import TokenBatch
from adl.text.token_batches import begun

Message = Mapping[str, str]
"""One turn of a chat: ``role`` (system, user, assistant) and ``content``."""

Thinking = Literal["auto", "on", "off"]
"""Thinking before an answer: the chat template's default, switched on, or switched off."""


@dataclass(frozen=True)
class ResidualSums:
    """Sums over the rows of a batch, by group of rows.

    ``base``, ``finetuned``: [groups, layers, positions, width] sums of residuals.
    ``base_norm``, ``finetuned_norm``, ``squared_difference``: [groups, layers, positions] sums of
    L2 norms of each side and of squared L2 norms of the difference. ``count``: rows per group.
    """

    count: NDArray[np.int64]
    base: NDArray[np.float64]
    finetuned: NDArray[np.float64]
    base_norm: NDArray[np.float64]
    finetuned_norm: NDArray[np.float64]
    squared_difference: NDArray[np.float64]


@dataclass(frozen=True)
class ShiftSums:
    """Sums over contexts of next-token log-probabilities before and after a change.

    ``log_prob_before`` and ``prob_before`` [V] sum log p and p before; ``shift`` [changes, V] sums
    log p(after) - log p(before), ``prob_after`` [changes, V] sums p after, ``kl`` [changes] sums
    KL(after || before) in nats, per change.
    ``count``: number of next-token distributions in the sums.
    """

    count: int
    log_prob_before: NDArray[np.float64]
    prob_before: NDArray[np.float64]
    shift: NDArray[np.float64]
    prob_after: NDArray[np.float64]
    kl: NDArray[np.float64]


@dataclass(frozen=True)
class ChatPrompt:
    """A chat as tokens; ``start`` is the index of the first token of the answer.

    ``merged`` is True if that token holds the end of the chat's opening, too (a blank before a word).
    ``notes`` describe changes made to write it (see ``adl.pair.chat_templates``).
    """

    ids: tuple[int, ...]
    start: int
    notes: tuple[str, ...] = ()
    merged: bool = False


@dataclass(frozen=True)
class BosFacts:
    """The begin-of-text token of a side, and the tokens its tokenizer puts before plain text.

    The latter may be none, the begin-of-text token, or others: some models have two.
    """

    token_id: int | None
    before_text: tuple[int, ...] = ()

    def begun(self, ids: Sequence[int]) -> list[int]:
        """Return the ids of a plain text with ``before_text`` before it, once."""
        return begun(ids, self.before_text)

    @property
    def added_to_plain_text(self) -> bool:
        """True if the tokenizer puts anything before plain text."""
        return bool(self.before_text)


ComponentChange = Literal["replace", "remove"]
"""Change of a component along a direction: replaced by the base model's, or removed."""


@dataclass(frozen=True)
class ScoredBatch:
    """Texts of one side, padded on the right, with the tokens that are scored.

    All arrays are [texts, tokens]: ``ids`` int64, and of bool ``mask`` (False on padding), ``scored`` (the
    tokens to be predicted, never a text's first) and ``changed`` (where the residual stream is
    changed).
    """

    ids: Ids
    mask: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    changed: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for wrong shapes and for scores on padding."""
        for name in ("mask", "scored", "changed"):
            array = getattr(self, name)
            if array.shape != self.ids.shape or array.dtype != np.bool_ or self.ids.ndim != 2:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, ids {self.ids.shape}")
            if (array & ~self.mask).any():
                raise ValueError(f"{name} is set on padding")
        if self.scored[:, :1].any():
            raise ValueError("the first token of a text cannot be scored: no token precedes it")

    def __len__(self) -> int:
        """Count the texts."""
        return int(self.ids.shape[0])


class ModelPair(Protocol):
    """A base model and a finetuned model whose residual streams can be read and changed.

    Layers count from 0 and name a decoder layer's output. Methods raise ``DeviceOutOfMemory`` if
    the device is full and ``SiteError`` for a layer that does not exist.
    """

    @property
    def provenance(self) -> PairProvenance:
        """Record of the loaded sides, devices and library versions."""
        ...

    def memory(self) -> dict[str, int]:
        """Return bytes in use: weights, and each accelerator's allocated memory."""
        ...

    # text

    def tokenise(self, side: Side, text: str) -> list[int]:
        """Return the ids of plain text, without special tokens."""
        ...

    def token_ends(self, side: Side, text: str) -> list[int]:
        """Return the character index after each token of :meth:`tokenise`; it never falls."""
        ...

    def decode(self, side: Side, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        ...

    def bos(self, side: Side) -> BosFacts:
        """Return the begin-of-text facts of a side."""
        ...

    def chat(
        self,
        side: Side,
        messages: Sequence[Message],
        *,
        prefill: str = "",
        thinking: Thinking = "auto",
    ) -> ChatPrompt:
        """Return a chat by the side's template, up to the start of the answer, with ``prefill``.

        Raises ``PairError`` for a template that cannot write it, ``PromptError`` for thinking that
        cannot be switched.
        """
        ...

    def token_texts(self, side: Side) -> Sequence[str]:
        """Return the text of every token [V] of a side, with spaces and byte fragments."""
        ...

    def shared_vocabulary(self) -> tuple[Ids, Ids] | None:
        """Return ids of the shared tokens ([n] base, [n] finetuned); None for equal vocabularies."""
        ...

    # reading

    def residual_sums(
        self, base: TokenBatch, finetuned: TokenBatch, layers: Sequence[int], groups: Ids
    ) -> ResidualSums:
        """Run both sides on the same texts (rows and columns aligned) and sum their residuals.

        ``groups`` [B] numbers each row's group from 0. Runs no layer above the deepest requested and
        no token after the last column.
        """
        ...

    def unembed(self, side: Side, vectors: Floats) -> Floats:
        """Return log-probabilities [n, V] of ``vectors`` [n, width] through final norm and unembedding."""
        ...

    def patched_log_probs(
        self, side: Side, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> Floats:
        """Return log-probabilities [n, V] of the token after a prompt with its last residual replaced.

        The residual of the prompt's last token at ``layer`` becomes each of ``vectors`` [n, width].
        """
        ...

    def steering_shift(
        self, side: Side, contexts: TokenBatch, layer: int, vectors: Floats
    ) -> ShiftSums:
        """Return next-token shifts at the contexts' columns by each of ``vectors`` [m, width].

        The vector is added to every token of the context at ``layer``. ``count`` is rows x columns.
        """
        ...

    def output_shift(self, base: TokenBatch, finetuned: TokenBatch) -> ShiftSums:
        """Return the next-token shift from base to finetuned at the contexts' columns (one change).

        [V] is the shared vocabulary, in the order of :meth:`shared_vocabulary`.
        """
        ...

    def token_losses(self, side: Side, texts: ScoredBatch) -> Floats:
        """Return the summed -log p [texts] in nats of each text's scored tokens."""
        ...

    def token_log_probs(self, side: Side, texts: ScoredBatch) -> Floats:
        """Log p in nats of each scored token [texts, tokens], and 0 at every other token."""
        ...

    def next_log_probs(self, side: Side, prompts: Sequence[Sequence[int]]) -> Floats:
        """Log-probabilities [n, V] of the token after each of n prompts, none of them empty."""
        ...

    def log_probs_after(
        self, side: Side, prefix: Sequence[int], endings: Sequence[Sequence[int]]
    ) -> Floats:
        """Log-probabilities [n, V] of the token after a prefix with each of n endings, none empty.

        The same as :meth:`next_log_probs` of the whole prompts, with the prefix run once where the
        model's cache allows it.
        """
        ...

    def component_losses(
        self,
        base: ScoredBatch,
        finetuned: ScoredBatch,
        layer: int,
        vectors: Floats,
        change: ComponentChange,
    ) -> Floats:
        """Return losses [m, texts] of the finetuned side with a component of its residuals changed.

        Along each of ``vectors`` [m, width] alone, at ``layer`` and the batch's changed tokens, the
        component becomes the base model's at the same token, or zero.
        """
        ...

    def token_directions(self, side: Side, ids: Sequence[int]) -> Floats:
        """Return unit rows [n, width] of the unembedding, whitened over the side's vocabulary.

        Whitening removes directions that all tokens share, so that tokens of one topic are closer
        to one another than to others.
        """
        ...

    # generating

    def update_facts(
        self, change: WeightChange, *, should_stop: ShouldStop = never_stop
    ) -> UpdateFacts:
        """Return the modules that ``change`` acts on, so that refusals come before any text.

        Raises ``PairError`` for an update that cannot be changed in this way, naming what can, and
        ``Stopped``.
        """
        ...

    def generate(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        *,
        on_text: Callable[[dict[int, str]], None] | None = None,
        should_stop: ShouldStop = never_stop,
    ) -> list[GeneratedText]:
        """Return the generated text of every request, in one batch.

        ``on_text`` gets the new text by row as it comes. ``should_stop`` is asked after every token;
        rows that it cuts short end with ``stopped``.
        """
        ...

    def continuation_kl(
        self, base_ids: Sequence[int], finetuned_ids: Sequence[int], n_continuation: int
    ) -> Floats:
        """Return KL(finetuned || base) in nats before each of the last ``n_continuation`` tokens.

        Both sequences end with the same continuation, after each side's own prompt. The
        distributions are over shared tokens.
        """
        ...


def check_layer(text: str) -> None:
    """Refuse a text that names a layer of no model. Raises ``SiteError``."""
    written = text.strip()
    try:
        share = "." in written or "e" in written.lower()
        valid = 0.0 <= float(written) <= 1.0 if share else int(written) >= 0
    except ValueError:
        valid = False
    if not valid:
        raise SiteError(
            f"{text!r} does not name a layer",
            "Give a whole number, 0 being the first layer, or a share of the depth from 0.0 to 1.0.",
        )


def require_one_vocabulary(pair: ModelPair) -> None:
    """Raise ``PairError`` where the sides have different vocabularies, whose logits do not add up."""
    if pair.shared_vocabulary() is not None:
        raise PairError(
            "the two models have different vocabularies, so their logits cannot be combined",
            "Amplify the activation difference instead (--carrier difference, or steer).",
        )


#: Names every layer.
ALL_LAYERS = "all"


def resolve_layers(texts: Iterable[str | int | float], n_layers: int) -> tuple[int, ...]:
    """Return the indices of layers, each once: ``all``, or what `resolve_layer` takes, by commas.

    Raises ``SiteError``.
    """
    found: list[int] = []
    for part in named_layers(texts):
        if part == ALL_LAYERS:
            found += range(n_layers)
        else:
            found.append(resolve_layer(part, n_layers))
    return tuple(dict.fromkeys(found))


def named_layers(texts: Iterable[str | int | float]) -> tuple[str, ...]:
    """Return layers as they are written, several by commas taken apart, each once."""
    parts = (part.strip() for text in texts for part in str(text).split(","))
    return tuple(dict.fromkeys(ALL_LAYERS if part.lower() == "all" else part for part in parts))


def resolve_layer(text: str | int | float, n_layers: int) -> int:
    """Return the index of a layer: ``15`` is absolute, ``0.5`` a share of the depth.

    A number with a decimal point is relative: 0.0 is the first layer's output, 1.0 the last's.
    Raises ``SiteError`` for anything else.
    """
    written = str(text).strip()
    try:
        relative = "." in written or "e" in written.lower()
        layer = int(float(written) * (n_layers - 1)) if relative else int(written)
        valid = 0.0 <= float(written) <= 1.0 if relative else 0 <= layer < n_layers
    except (ValueError, OverflowError):
        valid = False
        layer = 0
    if not valid:
        raise SiteError(
            f"layer {written!r} is not a layer of this model",
            f"Give a whole number from 0 to {n_layers - 1}, or a share of the depth from 0.0 to 1.0.",
        )
    return layer
