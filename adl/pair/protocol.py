"""What the science needs of a model pair, and nothing about how models are run.

    lens, steering, asking            numpy in, records out
        |
    ModelPair (this Protocol)         reductions: sums, means, top rows; never batch x tokens x vocabulary
        |
    NnsightPair | a planted pair      torch, nnsight, transformers | numpy with known answers

Vocabulary axes: ``[V]`` is one side's own vocabulary, as long as its list of token texts. Rows of
an embedding matrix that stand for no token are cut off after the softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
)
from adl.text.corpus import TokenBatch
from adl.text.token_batches import begun

Message = Mapping[str, str]
"""One turn of a chat: ``role`` (system, user, assistant) and ``content``."""

Thinking = Literal["auto", "on", "off"]
"""Thoughts before an answer, of models that can be told: as the chat template does unasked, or not."""


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

    ``log_prob_before`` and ``prob_before`` [V] sum log p and p before; ``shift`` and
    ``squared_shift`` [changes, V] sum log p(after) - log p(before) and its square, ``prob_after``
    [changes, V] sums p after, ``kl`` [changes] sums KL(after || before) in nats, per change.
    ``count``: how many next-token distributions were summed over.
    """

    count: int
    log_prob_before: NDArray[np.float64]
    prob_before: NDArray[np.float64]
    shift: NDArray[np.float64]
    squared_shift: NDArray[np.float64]
    prob_after: NDArray[np.float64]
    kl: NDArray[np.float64]


@dataclass(frozen=True)
class ChatPrompt:
    """A chat as tokens; ``start`` is the index at which the assistant's own words begin.

    ``notes`` name, for a person, what was changed to write it (see ``adl.pair.chat_templates``).
    """

    ids: tuple[int, ...]
    start: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BosFacts:
    """The begin-of-text token of a side, and the tokens its tokenizer puts before plain text.

    Those are none, the begin-of-text token, or others: some models have two.
    """

    token_id: int | None
    before_text: tuple[int, ...] = ()

    def begun(self, ids: Sequence[int]) -> list[int]:
        """The ids of a plain text with what belongs before it, once."""
        return begun(ids, self.before_text)

    @property
    def added_to_plain_text(self) -> bool:
        """True if the tokenizer puts anything before plain text."""
        return bool(self.before_text)


ComponentChange = Literal["replace", "remove"]
"""What becomes of a component along a direction: the base model's own, or nothing."""


@dataclass(frozen=True)
class ScoredBatch:
    """Texts of one side, padded on the right, with the tokens whose improbability counts.

    All are [texts, tokens]: ``ids`` int64, and of bool ``mask`` (False on padding), ``scored`` (the
    tokens to be predicted, never a text's first) and ``changed`` (where a change of the residual
    stream is made).
    """

    ids: Ids
    mask: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    changed: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Assert shapes and places: a score on padding would be a wrong number later."""
        for name in ("mask", "scored", "changed"):
            array = getattr(self, name)
            if array.shape != self.ids.shape or array.dtype != np.bool_ or self.ids.ndim != 2:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, ids {self.ids.shape}")
            if (array & ~self.mask).any():
                raise ValueError(f"{name} is set on padding")
        if self.scored[:, :1].any():
            raise ValueError("a text's first token has nothing before it to be predicted from")

    def __len__(self) -> int:
        """Count the texts."""
        return int(self.ids.shape[0])


class ModelPair(Protocol):
    """A base model and a finetuned model whose residual streams can be read and changed.

    Layers count from 0 and name a decoder layer's output. Methods raise ``DeviceOutOfMemory`` when
    the device is full and ``SiteError`` for a layer that is not there.
    """

    @property
    def provenance(self) -> PairProvenance:
        """What was loaded, on what, with which versions."""
        ...

    def memory(self) -> dict[str, int]:
        """Bytes in use: weights, and each accelerator's allocated memory."""
        ...

    # text

    def tokenise(self, side: Side, text: str) -> list[int]:
        """Plain text to ids, with no special tokens added."""
        ...

    def token_ends(self, side: Side, text: str) -> list[int]:
        """The character of ``text`` after each token of :meth:`tokenise`; never falls."""
        ...

    def decode(self, side: Side, ids: Sequence[int]) -> str:
        """Ids to text, special tokens written out."""
        ...

    def bos(self, side: Side) -> BosFacts:
        """How the side begins a text."""
        ...

    def chat(
        self,
        side: Side,
        messages: Sequence[Message],
        *,
        prefill: str = "",
        thinking: Thinking = "auto",
    ) -> ChatPrompt:
        """A chat through the side's template, up to the start of the assistant's turn.

        Raises ``PairError`` for a template that cannot write it, ``PromptError`` for thinking that
        cannot be switched.
        """
        ...

    def token_texts(self, side: Side) -> Sequence[str]:
        """The text of every token of the side's vocabulary, spaces and byte fragments kept."""
        ...

    def shared_vocabulary(self) -> tuple[Ids, Ids] | None:
        """Ids of the tokens both sides have ([n] base, [n] finetuned); None: the same vocabulary."""
        ...

    # reading

    def residual_sums(
        self, base: TokenBatch, finetuned: TokenBatch, layers: Sequence[int], groups: Ids
    ) -> ResidualSums:
        """Run both sides on the same texts (rows, columns aligned) and sum their residuals.

        ``groups`` [B] numbers each row's group from 0. Runs no layer above the deepest asked for and
        no token after the last column.
        """
        ...

    def unembed(self, side: Side, vectors: Floats) -> Floats:
        """Final norm and unembedding applied to ``vectors`` [n, width]: log-probabilities [n, V]."""
        ...

    def patched_log_probs(
        self, side: Side, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> Floats:
        """Log-probabilities [n, V] of the token after a prompt whose last residual is replaced.

        The residual of the prompt's last token at ``layer`` becomes each of ``vectors`` [n, width].
        """
        ...

    def steering_shift(
        self, side: Side, contexts: TokenBatch, layer: int, vectors: Floats
    ) -> ShiftSums:
        """Next-token shift at the contexts' columns when ``vectors`` [m, width] are added, each alone.

        The vector is added to every token of the context at ``layer``. Counts rows x columns.
        """
        ...

    def output_shift(self, base: TokenBatch, finetuned: TokenBatch) -> ShiftSums:
        """Next-token shift from base to finetuned at the contexts' columns (one change).

        [V] is the shared vocabulary, in the order of :meth:`shared_vocabulary`.
        """
        ...

    def token_losses(self, side: Side, texts: ScoredBatch) -> Floats:
        """-log p in nats of each text's scored tokens, summed: [texts], nothing changed."""
        ...

    def token_log_probs(self, side: Side, texts: ScoredBatch) -> Floats:
        """Log p in nats of each scored token [texts, tokens], and 0 at every other token."""
        ...

    def next_log_probs(self, side: Side, prompts: Sequence[Sequence[int]]) -> Floats:
        """Log-probabilities [n, V] of the token after each of n prompts, none of them empty."""
        ...

    def component_losses(
        self,
        base: ScoredBatch,
        finetuned: ScoredBatch,
        layer: int,
        vectors: Floats,
        change: ComponentChange,
    ) -> Floats:
        """The finetuned side's :meth:`token_losses` with a component of its residuals changed.

        Along each of ``vectors`` [m, width] alone, at ``layer`` and the batch's changed tokens, the
        component becomes the base model's at the same token, or nothing: [m, texts].
        """
        ...

    def token_directions(self, side: Side, ids: Sequence[int]) -> Floats:
        """Unit rows [n, width] of the unembedding, whitened over the side's vocabulary.

        Whitened, directions that all tokens share count for nothing, so that tokens of one topic
        stand closer to one another than any others do.
        """
        ...

    # generating

    def generate(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        *,
        on_text: Callable[[dict[int, str]], None] | None = None,
        should_stop: ShouldStop = never_stop,
    ) -> list[GeneratedText]:
        """Generate for every request in one batch.

        ``on_text`` gets the new text of each row as it comes, by row; ``should_stop`` is asked after
        every token, and rows that were cut short so end with ``stopped``.
        """
        ...

    def continuation_kl(
        self, base_ids: Sequence[int], finetuned_ids: Sequence[int], n_continuation: int
    ) -> Floats:
        """KL(finetuned || base) in nats at each of the last ``n_continuation`` tokens.

        Both sequences end with the same continuation, after each side's own prompt; the
        distributions compared are those *before* each continuation token, over shared tokens.
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
            "Amplify the activation difference instead (steer).",
        )


def resolve_layer(text: str | int | float, n_layers: int) -> int:
    """A layer as people name it: ``15`` is absolute, ``0.5`` a share of the depth.

    A number with a decimal point is relative: 0.0 is the first layer's output, 1.0 the last's.
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
