"""Frozen records of results and requests: plain numbers, numpy float32 and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

Side = Literal["base", "finetuned"]
SIDES: tuple[Side, Side] = ("base", "finetuned")
Remote = Literal["ndif"]
Quantisation = Literal["8bit", "4bit"]

DEFAULT_LAYER = "0.5"
"""The layer where nobody names one: the middle one, at half the depth."""

EMBEDDED_NAME = "SmolLM2-135M-Instruct"
"""Name of the base model that comes with the program."""

POOLED = "1-4"
"""Label of the vector pooled over positions 1-4: position 0 is an attention sink, the others agree."""


@dataclass(frozen=True)
class Site:
    """A place in the residual stream: the output of decoder layer ``layer`` at ``position``.

    ``position`` is a label: ``"0"`` .. ``"k-1"`` for the first tokens of a text, ``"chat-3"`` ..
    ``"chat+1"`` around the start of the assistant's turn, ``"1-4"`` for a pooled vector.
    """

    layer: int
    position: str


@dataclass(frozen=True)
class SideSpec:
    """One side of a pair as requested: a checkpoint and, optionally, an adapter on it.

    Each is a Hugging Face id or a local folder; a revision of None is the default branch.
    """

    checkpoint: str
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None


@dataclass(frozen=True)
class PairSpec:
    """A model pair as requested, and the options for loading it.

    ``chat_template`` is the name of a side's template, or a file; None is the default.
    ``offload_folder`` holds weights that ``device_map`` puts on the disk; None is a temporary one.
    ``remote`` is the service that runs the models, which are not loaded then; None runs them here.
    """

    base: SideSpec
    finetuned: SideSpec
    dtype: str = "auto"
    device_map: str | None = None
    attn_implementation: str | None = None
    quantisation: Quantisation | None = None
    trust_remote_code: bool = False
    chat_template: str | None = None
    offload_folder: str | None = None
    remote: Remote | None = None

    @property
    def shares_weights(self) -> bool:
        """True if one copy of the weights serves both sides, by switching adapters."""
        return (self.base.checkpoint, self.base.revision) == (
            self.finetuned.checkpoint,
            self.finetuned.revision,
        )


FINGERPRINT = "weights_sha256"
"""Field of old sessions: a hash of the sizes, the first and the last MiB of a checkpoint's files.

It is no content hash: two checkpoints that differ in the middle have the same.
"""


@dataclass(frozen=True)
class SideProvenance:
    """One side as loaded; enough to load the same again.

    ``content_sha256`` covers every file of the checkpoint that decides numbers. Older sessions have
    ``weights_sha256`` instead, see :data:`FINGERPRINT`.
    """

    checkpoint: str
    revision: str | None
    resolved_revision: str | None
    content_sha256: str | None
    adapter: str | None
    adapter_revision: str | None
    adapter_sha256: str | None
    tokenizer_sha256: str
    chat_template_sha256: str | None
    architecture: str
    parameters: int
    vocabulary_size: int
    dtype: str | None = None


CheckOutcome = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Check:
    """The outcome of one check of a pair at load (see ``adl.pair.self_checks``).

    ``figure`` was measured and ``tolerance`` is the largest that passes; both are None for a check
    without a number. ``found`` describes the outcome, ``off`` names the capabilities it turns off.
    """

    name: str
    outcome: CheckOutcome
    found: str
    figure: float | None = None
    tolerance: float | None = None
    off: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairProvenance:
    """A pair as loaded: its sides, devices and library versions.

    ``mismatches`` describe differences between the sides that should match (see
    ``adl.pair.mismatch``), ``checks`` the checks at load.
    """

    base: SideProvenance
    finetuned: SideProvenance
    n_layers: int
    width: int
    dtype: str
    devices: tuple[str, ...]
    attn_implementation: str | None
    quantisation: str | None
    shares_weights: bool
    versions: dict[str, str]
    mismatches: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for the log and for ``--json``."""
        plain = asdict(self)
        for name in ("mismatches", "checks"):
            if not plain[name]:
                del plain[name]
        return plain

    def identity(self) -> dict[str, Any]:
        """Return all that decides the numbers, without names of folders.

        The kinds of device, the attention implementation and the library versions decide rounding,
        and occasionally more.
        """
        sides = {
            name: {
                "weights": side.content_sha256 or side.resolved_revision or side.checkpoint,
                "adapter": side.adapter_sha256 or side.adapter_revision or side.adapter,
                "tokenizer": side.tokenizer_sha256,
                "chat_template": side.chat_template_sha256,
                "dtype": side.dtype,
            }
            for name, side in (("base", self.base), ("finetuned", self.finetuned))
        }
        return sides | {
            "dtype": self.dtype,
            "quantisation": self.quantisation,
            "attn_implementation": self.attn_implementation,
            "devices": sorted({device.partition(":")[0] for device in self.devices}),
            "versions": self.versions,
        }


@dataclass(frozen=True)
class ActivationDifference:
    """Mean activation difference of a pair over unrelated texts, with its nulls and precision.

    Shapes: ``difference``, ``base_mean``, ``finetuned_mean``, ``split_half_null`` are
    [layers, positions, width]; ``base_norm``, ``finetuned_norm`` (mean L2 norm of single residuals)
    and ``standard_error`` (L2 norm of the standard error of ``difference``) are
    [layers, positions]; ``cosine`` [layers, positions, positions] between the differences.
    ``split_half_null`` is the base model against itself: the mean over one half of the texts minus
    the mean over the other, which holds no finetuning at all. ``half_cosine`` [layers, positions]
    is the cosine between the differences measured on each half. ``n_skipped`` texts were left out:
    ``n_unaligned`` because the sides' tokenizers cut them differently, the rest as too short.
    Raises ``ValueError`` for arrays of another shape or dtype.

    Source: Minder et al. 2025 (arXiv 2510.13900), section 2.
    """

    layers: tuple[int, ...]
    positions: tuple[str, ...]
    n_texts: int
    n_skipped: int
    difference: Floats
    base_mean: Floats
    finetuned_mean: Floats
    split_half_null: Floats
    base_norm: Floats
    finetuned_norm: Floats
    standard_error: Floats
    cosine: Floats
    half_cosine: Floats
    n_unaligned: int = 0

    ARRAYS = (
        "difference",
        "base_mean",
        "finetuned_mean",
        "split_half_null",
        "base_norm",
        "finetuned_norm",
        "standard_error",
        "cosine",
        "half_cosine",
    )

    def __post_init__(self) -> None:
        sites: tuple[int, ...] = (len(self.layers), len(self.positions))
        width = self.difference.shape[-1]
        shapes = dict.fromkeys(self.ARRAYS[:4], (*sites, width))
        shapes |= dict.fromkeys(self.ARRAYS[4:], sites)
        shapes["cosine"] = (*sites, sites[1])
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 {shape}")

    def arrays(self) -> dict[str, Floats]:
        """Return every array by name."""
        return {name: getattr(self, name) for name in self.ARRAYS}

    @property
    def pooled_positions(self) -> tuple[str, ...]:
        """The positions that are pooled: all but position 0, an attention sink of another norm."""
        rest = tuple(label for label in self.positions if label != "0")
        return rest or self.positions

    def residual_norm(self, layer: int) -> float:
        """Return the typical residual norm at ``layer``: the unit of alpha and of patchscope scales.

        It is the mean norm of the finetuned side without position 0.
        """
        columns = [self.positions.index(label) for label in self.pooled_positions]
        return float(self.finetuned_norm[self.layers.index(layer), columns].mean())

    def columns(self, position: str) -> list[int]:
        """Return the indexes of ``position`` in the position axis (several if pooled)."""
        if position == POOLED and POOLED not in self.positions:
            return [self.positions.index(label) for label in self.pooled_positions]
        return [self.positions.index(position)]

    def vector(self, site: Site, source: str = "difference") -> Floats:
        """Return the vector [width] of ``source`` (an array's name) at ``site``.

        A pooled position gives the mean direction (all positions count the same, whatever their
        norm) at the mean norm.
        """
        array: Floats = getattr(self, source)
        rows = array[self.layers.index(site.layer), self.columns(site.position)]
        directions = rescale(rows, 1.0).mean(axis=0)
        return rescale(directions, float(np.linalg.norm(rows, axis=-1).mean()))


@dataclass(frozen=True)
class TokenScore:
    """One token of a list; ``text`` is the raw, untrusted text of the vocabulary."""

    token_id: int
    text: str
    score: float
    probability: float | None = None


@dataclass(frozen=True)
class StruckToken:
    """A token taken out of a list for ``why``; ``rank`` is the one it had, from 1."""

    token: TokenScore
    rank: int
    why: str


@dataclass(frozen=True)
class TokenReadout:
    """A token list read at one site.

    ``source`` is the vector that was read: ``difference``, ``negative``, ``base``, ``finetuned``, or
    a null: ``random`` (norm-matched random direction) or ``split_half`` (base against itself).
    ``tokens`` are whole words if ``words_only`` (see ``adl.readings.ranking.is_word``), and
    ``unfiltered`` then heads the same ranking with no token left out. ``scale`` (alpha for the
    shift lens) is in units of the residual norm. ``struck`` are words of style that were taken out of
    ``tokens`` (see ``adl.readings.style``). ``statistics`` holds the numbers behind the
    automatic choice of scale. ``completed`` holds the rest of the word by the id of a token that
    only begins one (see ``adl.readings.fragments``), of the first tokens.
    """

    reading: str
    source: str
    side: str
    site: Site
    tokens: tuple[TokenScore, ...]
    words_only: bool = False
    unfiltered: tuple[TokenScore, ...] = ()
    scale: float | None = None
    chosen: bool = True
    chosen_by: str = ""
    statistics: dict[str, float] = field(default_factory=dict)
    struck: tuple[StruckToken, ...] = ()
    completed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerationRequest:
    """One row of a batch to generate.

    ``added`` is a [width] vector added to the residual stream at ``GenerationPlan.layer`` at every
    token, or None. ``seed`` alone decides this row's random numbers, whatever else is in the batch.
    ``notes`` name changes made to write the prompt (see ``adl.pair.protocol.ChatPrompt``).

    ``contrast`` gamma amplifies the logits: the token is drawn from log p + gamma (log p - log p of
    the other side), over the tokens with at least ``PLAUSIBLE`` of the likeliest one's probability.
    The other side has read ``contrast_ids`` instead of ``prompt_ids``. ``shuffled`` takes the
    differences of the plausible tokens in a random order: a null of the same size.
    """

    prompt_ids: tuple[int, ...]
    seed: int
    added: Floats | None = None
    notes: tuple[str, ...] = ()
    contrast: float = 0.0
    contrast_ids: tuple[int, ...] = ()
    shuffled: bool = False

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a contrast without a prompt of the other side."""
        if self.contrast and not self.contrast_ids:
            raise ValueError("a contrast needs the prompt as the other side's tokens")


PLAUSIBLE = 0.1
"""Share of the likeliest token's probability that a token needs to be amplified at all."""


WeightCarrier = Literal["adapter", "rank1"]
Part = Literal["all", "attention", "mlp"]


@dataclass(frozen=True)
class WeightChange:
    """A change of the finetuned side's update, finetuned minus base, while a batch is written.

    ``adapter``: the adapter of the chosen modules at ``scale`` times its own scale. ``rank1``: the
    base, with ``scale`` times the rank-1 part of each chosen module's update. ``layers`` are the
    first and the last of a range. ``null`` is the seed of a null: the base with an update of the same
    singular values, whose directions are shuffled.
    """

    carrier: WeightCarrier
    scale: float
    layers: tuple[int, int] | None = None
    part: Part = "all"
    null: int | None = None


@dataclass(frozen=True)
class UpdateFacts:
    """The modules a ``WeightChange`` acts on.

    ``left_out`` names weights that finetuning changed and that it leaves as they are.
    ``rank1_share`` is the share of the modules' squared update that their rank-1 parts hold.
    """

    modules: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    rank1_share: float | None = None


LEAST_TEMPERATURE = 1e-4
"""Temperatures below it count as 0."""


@dataclass(frozen=True)
class GenerationPlan:
    """Settings of a batch. A temperature of 0, or next to it, takes the most probable token.

    ``weights`` changes the finetuned side, for this batch alone. ``scored`` keeps the log-probability
    of every token that is written.
    """

    side: Side
    layer: int | None
    temperature: float
    max_new_tokens: int
    weights: WeightChange | None = None
    scored: bool = False

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for changed weights of the base, which has no update."""
        if self.weights is not None and self.side != "finetuned":
            raise ValueError("only the finetuned side has an update to change")

    @property
    def greedy(self) -> bool:
        """True if the most probable token is taken: over less, logits leave the range of float32."""
        return self.temperature < LEAST_TEMPERATURE


EndReason = Literal["end_of_text", "length", "stopped"]


@dataclass(frozen=True)
class GeneratedText:
    """The text of one row, without the token that ended it.

    ``log_probs`` are log p in nats of each token by the model that wrote it, at a temperature of 1,
    if the plan asked for them.
    """

    token_ids: tuple[int, ...]
    text: str
    ended: EndReason
    log_probs: tuple[float, ...] = ()


def rescale(vector: Floats, norm: float) -> Floats:
    """Return ``vector`` [..., width] rescaled to L2 norm ``norm``; a zero vector stays zero."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return (vector * (norm / np.where(length == 0, 1, length))).astype(np.float32)


def assert_shape(name: str, array: np.ndarray, shape: Sequence[int | None]) -> None:
    """Raise ValueError unless ``array`` has ``shape`` (None matches any length)."""
    if len(array.shape) != len(shape) or any(
        want is not None and have != want for have, want in zip(array.shape, shape, strict=True)
    ):
        raise ValueError(f"{name} has shape {array.shape}, expected {tuple(shape)}")
