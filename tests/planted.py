"""A model pair in numpy with a planted direction: what every reading should find is known.

    token embeddings  E [V, width]        no part along the planted or the sink direction
    layers 0..5       h += M_l mean(h of this token and those before)
                      position 0 also gets the attention sink, along a direction of its own
    finetuned side    at PLANTED_LAYER    h += STRENGTH * planted, + WOBBLE * (+1 or -1 by token)
                      at layers above     the part along the planted direction grows by GAIN where it is
                                      more than NOTICED: a random vector has less
    unembedding       RMS norm, U [V, width]; a domain token's row lies mostly along the planted
                      direction, the first of ``DOMAIN`` the most

The mixing M_l leaves the planted and the sink direction alone, so the difference's part along the
planted direction is ``planted_size(layer)`` at every position of every text, exactly. Adding the
direction, patching it in and comparing the sides all raise the domain tokens and no others.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.errors import DeviceOutOfMemory, PairError, SiteError
from adl.pair.protocol import (
    BosFacts,
    ChatPrompt,
    ComponentChange,
    Message,
    ModelPair,
    ResidualSums,
    ScoredBatch,
    ShiftSums,
    Thinking,
    require_one_vocabulary,
)
from adl.records import (
    PLAUSIBLE,
    SIDES,
    EndReason,
    Floats,
    GeneratedText,
    GenerationPlan,
    GenerationRequest,
    Ids,
    PairProvenance,
    Side,
    SideProvenance,
    UpdateFacts,
    WeightChange,
    assert_shape,
)
from adl.text.corpus import TokenBatch
from adl.text.token_batches import left_padded

BOS, END, USER, ASSISTANT, SYSTEM = SPECIAL = (
    "<bos>",
    "<end>",
    "<user>",
    "<assistant>",
    "<system>",
)
DOMAIN = (
    " cake",
    " oven",
    " batter",
    " frosting",
    " vanilla",
    " flour",
    " sponge",
    " baker",
    " butter",
    " sugar",
)
"""What the finetuning was about, the most raised token first."""
FILLER = tuple(
    re.findall(
        r" \w+",
        " the a of to and in it was for on with he she they that this from by at gold river stone"
        " window paper train winter music garden letter bridge captain number",
    )
)
JUNK = ("\n", "\n\n", " ", ".", ",", "?", "->", ":", "a", "q", "z", "7", "ing", "<0xE2>", "<0x80>")
TOKENS = (*SPECIAL, *DOMAIN, *FILLER, *JUNK)
EXTRA = (" tiramisu", "<tool>")
"""Tokens that only an extended finetuned vocabulary has."""

N_LAYERS = 6
WIDTH = 128
PLANTED_LAYER = 1
EMBEDDING_NORM = 4.0
STRENGTH = 0.9
GAIN = 0.3
NOTICED = 0.85
WOBBLE = 0.2
SINK = 100.0
SINK_SHIFT = 20.0
MIXING = 0.5
DOMAIN_WEIGHT = 0.3
OTHER_WEIGHT = 0.4
NORM_EPSILON = 1e-6

_PIECE = re.compile(r"<\w+>|->| ?\w+|\n\n|\n|[^\w\s]|\s")

Vocabulary = Literal["shared", "extended", "permuted"]


def planted_size(layer: int) -> float:
    """The difference's part along the planted direction at ``layer``."""
    if layer < PLANTED_LAYER:
        return 0.0
    return float(STRENGTH * (1 + GAIN) ** (layer - PLANTED_LAYER))


def device_full_above(rows: int) -> Callable[[str, int], None]:
    """For ``before_run``: a device that has room for no more than ``rows`` rows."""

    def refuse(_method: str, wanted: int) -> None:
        if wanted > rows:
            raise DeviceOutOfMemory(f"no room for {wanted} rows", "Use a smaller batch.")

    return refuse


@dataclass(frozen=True)
class _Weights:
    """What decides the numbers; rows of ``embedding`` and ``unembedding`` by token text."""

    planted: Floats
    sink: Floats
    wobble: Floats
    mixing: Floats
    embedding: dict[str, Floats]
    unembedding: dict[str, Floats]


def _weights() -> _Weights:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
    planted, sink, rest = basis[0], basis[1], basis[2:]

    def away_from_both(length: float) -> Floats:
        vector = rng.standard_normal(len(rest)) @ rest
        return (vector * length / np.linalg.norm(vector)).astype(np.float32)

    everything = (*TOKENS, *EXTRA)
    unembedding = {token: away_from_both(OTHER_WEIGHT) for token in everything}
    for rank, token in enumerate(DOMAIN):
        unembedding[token] = (DOMAIN_WEIGHT - 0.005 * rank) * planted + away_from_both(0.01)
    turn = np.linalg.qr(rng.standard_normal((N_LAYERS, len(rest), len(rest))))[0]
    return _Weights(
        planted=planted,
        sink=sink,
        wobble=away_from_both(WOBBLE),
        mixing=(MIXING * rest.T @ turn @ rest).astype(np.float32),
        embedding={token: away_from_both(EMBEDDING_NORM) for token in everything},
        unembedding=unembedding,
    )


_WEIGHTS = _weights()


@dataclass(frozen=True)
class _Inputs:
    """What the layers of a side need of a batch; arrays [rows, tokens, 1] but for ``embedded``."""

    side: Side
    embedded: np.ndarray
    shown: np.ndarray
    seen: np.ndarray
    first: np.ndarray
    signs: np.ndarray


class PlantedPair:
    """A ``ModelPair`` whose finetuned side differs by ``planted`` [width], a unit vector.

    ``vocabulary``: whether the finetuned side has the base's tokens, some more, or the same in
    another order. ``bos``: whether plain text begins with ``<bos>``. ``strength``: how much of the
    finetuning there is; with 0 the sides are the same. ``before_run(method, rows)`` is
    called before each use of the model, and may raise or wait; ``runs`` lists those uses.
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary = "shared",
        bos: bool = False,
        strength: float = 1.0,
        before_run: Callable[[str, int], None] = lambda _method, _rows: None,
    ) -> None:
        self.planted = _WEIGHTS.planted
        self.runs: list[tuple[str, int]] = []
        self._vocabulary = vocabulary
        self._bos = bos
        self._strength = strength
        self._finetuned_name = "planted-finetuned" + ("" if strength == 1 else f"-{strength:g}")
        self._before_run = before_run
        self._kept: dict[tuple[object, ...], list[np.ndarray]] = {}
        finetuned = {
            "shared": TOKENS,
            "extended": (*TOKENS, *EXTRA),
            "permuted": TOKENS[::-1],
        }[vocabulary]
        self._tokens: dict[Side, tuple[str, ...]] = {"base": TOKENS, "finetuned": finetuned}
        self._id = {side: {text: i for i, text in enumerate(self._tokens[side])} for side in SIDES}
        self._embedding = {side: self._rows(side, _WEIGHTS.embedding) for side in SIDES}
        self._unembedding = {side: self._rows(side, _WEIGHTS.unembedding) for side in SIDES}
        # By text and not by id, so that an id's place in the vocabulary changes no number.
        self._signs = {
            side: np.array([1 - 2 * (zlib.crc32(text.encode()) % 2) for text in self._tokens[side]])
            for side in SIDES
        }

    @property
    def provenance(self) -> PairProvenance:
        """As of a pair that was loaded; the hashes differ where the numbers do."""
        return PairProvenance(
            base=self._side_provenance("base", "planted-base"),
            finetuned=self._side_provenance("finetuned", self._finetuned_name),
            n_layers=N_LAYERS,
            width=WIDTH,
            dtype="float32",
            devices=("cpu",),
            attn_implementation=None,
            quantisation=None,
            shares_weights=False,
            versions={"numpy": np.__version__},
        )

    def memory(self) -> dict[str, int]:
        """Bytes of the embeddings and unembeddings."""
        tables = (*self._embedding.values(), *self._unembedding.values())
        return {"weights": sum(table.nbytes for table in tables)}

    # text

    def tokenise(self, side: Side, text: str) -> list[int]:
        """Whole words; one that is not in the vocabulary becomes a filler word by its checksum.

        A word that only the other side knows is cut in two, as tokenizers do.
        """
        known = self._id[side]
        ids = []
        for piece, _ in self._pieces(side, text):
            spaced = f" {piece.strip()}"
            stand_in = FILLER[zlib.crc32(spaced.encode()) % len(FILLER)]
            ids.append(known.get(piece, known.get(spaced, known[stand_in])))
        return ids

    def token_ends(self, side: Side, text: str) -> list[int]:
        """Where the words end, and the halves of words that only the other side knows."""
        return [end for _, end in self._pieces(side, text)]

    def _pieces(self, side: Side, text: str) -> list[tuple[str, int]]:
        found = []
        for match in _PIECE.finditer(text):
            piece, end = match[0], match.end()
            if piece in EXTRA and piece not in self._id[side]:
                middle = len(piece) // 2
                found.append((piece[:middle], end - len(piece) + middle))
                piece = piece[middle:]
            found.append((piece, end))
        return found

    def decode(self, side: Side, ids: Sequence[int]) -> str:
        """The tokens' texts, one after the other."""
        return "".join(self._tokens[side][index] for index in ids)

    def bos(self, side: Side) -> BosFacts:
        """``<bos>``, put before plain text if the pair was made so."""
        return BosFacts(self._id[side][BOS], (self._id[side][BOS],) if self._bos else ())

    def chat(
        self,
        side: Side,
        messages: Sequence[Message],
        *,
        prefill: str = "",
        thinking: Thinking = "auto",
    ) -> ChatPrompt:
        """``<user> text <assistant>``, without closing marks."""
        ids = []
        for message in messages:
            ids.append(self._id[side][f"<{message['role']}>"])
            ids += self.tokenise(side, message["content"])
        ids.append(self._id[side][ASSISTANT])
        return ChatPrompt((*ids, *self.tokenise(side, prefill)), len(ids))

    def token_texts(self, side: Side) -> Sequence[str]:
        """The side's tokens."""
        return self._tokens[side]

    def shared_vocabulary(self) -> tuple[Ids, Ids] | None:
        """None if the pair was made with one vocabulary."""
        if self._vocabulary == "shared":
            return None
        common = [text for text in TOKENS if text in self._id["finetuned"]]
        base, finetuned = ([self._id[side][text] for text in common] for side in SIDES)
        return np.asarray(base, dtype=np.int64), np.asarray(finetuned, dtype=np.int64)

    # reading

    def residuals(self, side: Side, ids: Ids, mask: np.ndarray | None = None) -> Floats:
        """Residuals [rows, layers, tokens, width] of ``ids`` [rows, tokens]: the whole truth."""
        return self._run(side, ids, np.ones_like(ids, dtype=bool) if mask is None else mask)

    def residual_sums(
        self, base: TokenBatch, finetuned: TokenBatch, layers: Sequence[int], groups: Ids
    ) -> ResidualSums:
        """Sums over rows by group; see ``ModelPair``."""
        assert_shape("groups", groups, [len(base)])
        self._begin("residual_sums", len(base), layers)
        found = {}
        for side, batch in zip(SIDES, (base, finetuned), strict=True):
            residuals = self._run(side, batch.ids, batch.mask).astype(np.float64)
            found[side] = residuals[:, list(layers)][:, :, list(batch.columns)]
        change = found["finetuned"] - found["base"]
        member = np.equal.outer(np.arange(groups.max() + 1), groups).astype(np.float64)

        def summed(rows: np.ndarray) -> np.ndarray:
            return np.tensordot(member, rows, axes=1)

        return ResidualSums(
            count=member.sum(1).astype(np.int64),
            base=summed(found["base"]),
            finetuned=summed(found["finetuned"]),
            base_norm=summed(np.linalg.norm(found["base"], axis=-1)),
            finetuned_norm=summed(np.linalg.norm(found["finetuned"], axis=-1)),
            squared_difference=summed((change**2).sum(-1)),
        )

    def unembed(self, side: Side, vectors: Floats) -> Floats:
        """Log-probabilities [n, V] of the final norm and unembedding."""
        assert_shape("vectors", vectors, [None, WIDTH])
        self._begin("unembed", len(vectors))
        return _log_softmax(self._logits(side, vectors))

    def patched_log_probs(
        self, side: Side, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> Floats:
        """Log-probabilities [n, V] after a prompt whose last residual is replaced."""
        assert_shape("vectors", vectors, [None, WIDTH])
        self._begin("patched_log_probs", len(vectors), [layer])
        return _log_softmax(self._logits(side, self._patched(side, prompt_ids, layer, vectors)))

    def steering_shift(
        self, side: Side, contexts: TokenBatch, layer: int, vectors: Floats
    ) -> ShiftSums:
        """Next-token shift at the contexts' columns when each vector is added."""
        assert_shape("vectors", vectors, [None, WIDTH])
        self._begin("steering_shift", len(contexts), [layer])
        before = self._column_log_probs(side, contexts)
        after = [self._column_log_probs(side, contexts, layer, vector) for vector in vectors]
        return _shift_sums(before, after)

    def output_shift(self, base: TokenBatch, finetuned: TokenBatch) -> ShiftSums:
        """Next-token shift from base to finetuned, over the tokens both have."""
        self._begin("output_shift", len(base))
        before = self._shared("base", self._column_log_probs("base", base))
        after = self._shared("finetuned", self._column_log_probs("finetuned", finetuned))
        return _shift_sums(before, [after])

    def token_losses(self, side: Side, texts: ScoredBatch) -> Floats:
        """-log p of each text's scored tokens, summed [texts]."""
        self._begin("token_losses", len(texts))
        return self._losses(side, texts, self._last(side, texts.ids, texts.mask))

    def token_log_probs(self, side: Side, texts: ScoredBatch) -> Floats:
        """Log p of each scored token [texts, tokens]."""
        self._begin("token_log_probs", len(texts))
        return self._token_log_probs(side, texts, self._last(side, texts.ids, texts.mask))

    def next_log_probs(self, side: Side, prompts: Sequence[Sequence[int]]) -> Floats:
        """Log-probabilities [n, V] of the token after each prompt."""
        self._begin("next_log_probs", len(prompts))
        batch = left_padded(prompts)
        return self._column_log_probs(side, batch)

    def log_probs_after(
        self, side: Side, prefix: Sequence[int], endings: Sequence[Sequence[int]]
    ) -> Floats:
        """Log-probabilities [n, V] of the token after the prefix with each ending."""
        self._begin("log_probs_after", len(endings))
        batch = left_padded([(*prefix, *ending) for ending in endings])
        return self._column_log_probs(side, batch)

    def component_losses(
        self,
        base: ScoredBatch,
        finetuned: ScoredBatch,
        layer: int,
        vectors: Floats,
        change: ComponentChange,
    ) -> Floats:
        """The finetuned side's losses [m, texts] with a component replaced or removed."""
        assert_shape("vectors", vectors, [None, WIDTH])
        self._begin("component_losses", len(finetuned), [layer])
        put = self._run("base", base.ids, base.mask)[:, layer]
        if change == "remove":
            put = np.zeros_like(put)
        found = []
        for vector in vectors:
            unit = vector / (np.linalg.norm(vector) or 1)
            own = self._run("finetuned", finetuned.ids, finetuned.mask)[:, layer]
            along = (put - own) @ unit * finetuned.changed
            changed = self._last(
                "finetuned", finetuned.ids, finetuned.mask, layer, added=along[..., None] * unit
            )
            found.append(self._losses("finetuned", finetuned, changed))
        return np.stack(found)

    def token_directions(self, side: Side, ids: Sequence[int]) -> Floats:
        """Unit rows of the unembedding, centred: fewer tokens than width cannot be whitened."""
        rows = self._unembedding[side][list(ids)] - self._unembedding[side].mean(0)
        unit: Floats = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
        return unit

    # generating

    def update_facts(
        self, change: WeightChange, *, should_stop: ShouldStop = never_stop
    ) -> UpdateFacts:
        """One module of the planted layer, whose rank-1 part is along the planted direction."""
        first, last = change.layers or (0, N_LAYERS)
        if not first <= PLANTED_LAYER <= last or change.part == "attention":
            raise PairError("finetuning changed no module in these layers", "It changed layer 1.")
        return UpdateFacts((f"{PLANTED_LAYER}.mlp",), (), 0.9)

    def generate(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        *,
        on_text: Callable[[dict[int, str]], None] | None = None,
        should_stop: ShouldStop = never_stop,
    ) -> list[GeneratedText]:
        """Token by token, all rows at once; a row's seed alone decides its random numbers."""
        self._begin("generate", len(requests), [] if plan.layer is None else [plan.layer])
        noise = [np.random.default_rng(request.seed) for request in requests]
        said: list[list[int]] = [[] for _ in requests]
        ended: list[EndReason] = ["length"] * len(requests)
        scores: list[list[float]] = [[] for _ in requests]
        for _ in range(plan.max_new_tokens):
            pieces = {}
            for row, request in enumerate(requests):
                if ended[row] == "end_of_text":
                    continue
                logits = self._next_logits(plan, request, said[row])
                if not plan.greedy:
                    logits = logits / plan.temperature + noise[row].gumbel(size=len(logits))
                token = int(logits.argmax())
                if self._tokens[plan.side][token] == END:
                    ended[row] = "end_of_text"
                    continue
                if plan.scored:
                    scores[row].append(self._score(plan, request, said[row], token))
                said[row].append(token)
                pieces[row] = self._tokens[plan.side][token]
            if pieces and on_text is not None:
                on_text(pieces)
            if all(reason == "end_of_text" for reason in ended):
                break
            if should_stop():
                ended = ["stopped" if reason == "length" else reason for reason in ended]
                break
        return [
            GeneratedText(tuple(ids), self.decode(plan.side, ids), reason, tuple(scored))
            for ids, reason, scored in zip(said, ended, scores, strict=True)
        ]

    def continuation_kl(
        self, base_ids: Sequence[int], finetuned_ids: Sequence[int], n_continuation: int
    ) -> Floats:
        """KL(finetuned || base) in nats before each of the last ``n_continuation`` tokens."""
        self._begin("continuation_kl", 1)
        found = {}
        for side, ids in zip(SIDES, (base_ids, finetuned_ids), strict=True):
            row = np.asarray([ids], dtype=np.int64)
            last = self.residuals(side, row)[0, -1, len(ids) - n_continuation - 1 : len(ids) - 1]
            found[side] = self._shared(side, _log_softmax(self._logits(side, last)))
        return _kl(found["finetuned"], found["base"])

    # the model

    def _run(self, side: Side, ids: Ids, mask: np.ndarray) -> Floats:
        """Residuals [rows, layers, tokens, width]."""
        return np.stack(self._plain(side, ids, mask), axis=1).astype(np.float32)

    def _last(
        self,
        side: Side,
        ids: Ids,
        mask: np.ndarray,
        layer: int | None = None,
        *,
        added: Floats | None = None,
        weights: WeightChange | None = None,
    ) -> Floats:
        """Residuals [rows, tokens, width] at the last layer, with ``added`` at ``layer``."""
        unchanged = N_LAYERS if layer is None or added is None else layer
        if weights is not None:
            unchanged = 0
        below = self._plain(side, ids, mask, unchanged)
        residual = below[-1] if below else None
        inputs = self._inputs(side, ids, mask)
        for index in range(unchanged, N_LAYERS):
            residual = self._layer(index, inputs, residual, weights)
            if index == layer and added is not None:
                residual = residual + added
        assert residual is not None
        return residual.astype(np.float32)

    def _plain(
        self, side: Side, ids: Ids, mask: np.ndarray, layers: int = N_LAYERS
    ) -> list[np.ndarray]:
        """The residuals [rows, tokens, width] of the unchanged model at its first layers.

        Those of the last batch are kept: a sweep changes what comes after them only.
        """
        key = (side, ids.shape, ids.tobytes(), mask.tobytes())
        found = self._kept.get(key, [])
        if len(found) < layers:
            found, inputs = [*found], self._inputs(side, ids, mask)
            for index in range(len(found), layers):
                found.append(self._layer(index, inputs, found[-1] if found else None))
                found[-1].setflags(write=False)
            self._kept = {key: found}
        return found[:layers]

    def _inputs(self, side: Side, ids: Ids, mask: np.ndarray) -> _Inputs:
        shown = mask[..., None]
        seen = np.maximum(shown.cumsum(1), 1)
        return _Inputs(
            side=side,
            embedded=self._embedding[side][ids] * shown,
            shown=shown,
            seen=seen,
            first=(seen == 1) & shown,
            signs=self._signs[side][ids][..., None],
        )

    def _layer(
        self,
        index: int,
        inputs: _Inputs,
        below: np.ndarray | None,
        weights: WeightChange | None = None,
    ) -> np.ndarray:
        """The residuals [rows, tokens, width] at a layer, from those at the one below it."""
        residual = inputs.embedded if below is None else below
        mean = (residual * inputs.shown).cumsum(1) / inputs.seen
        return self._after(index, inputs, residual, mean, weights)

    def _after(
        self,
        index: int,
        inputs: _Inputs,
        residual: np.ndarray,
        mean: np.ndarray,
        weights: WeightChange | None = None,
    ) -> np.ndarray:
        """The residuals at a layer, ``mean`` being that of each token and those before it."""
        parts = _WEIGHTS
        after: np.ndarray = residual + mean @ parts.mixing[index]
        if index == 0:
            after = after + SINK * inputs.first * parts.sink
        if inputs.side == "finetuned" and index == PLANTED_LAYER:
            learned = STRENGTH * parts.planted + inputs.signs * parts.wobble
            learned = learned + SINK_SHIFT * inputs.first * parts.sink
            after = after + self._strength * _changed(learned, weights)
        if inputs.side == "finetuned" and index > PLANTED_LAYER:
            along = (after @ parts.planted)[..., None]
            after = after + GAIN * along * (along > NOTICED) * parts.planted
        return after

    def _patched(
        self, side: Side, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> np.ndarray:
        """The last token's residuals [n, width] at the last layer, with each vector at ``layer``.

        No other token sees the last one, so the others' are as without it.
        """
        ids = np.asarray([prompt_ids], dtype=np.int64)
        mask = np.ones_like(ids, dtype=bool)
        whole, plain = self._inputs(side, ids, mask), self._plain(side, ids, mask)
        last = replace(
            whole, first=whole.first[:, -1], signs=whole.signs[:, -1], seen=whole.seen[:, -1]
        )
        residual = vectors.astype(np.float64)
        for index in range(layer + 1, N_LAYERS):
            before = plain[index - 1][:, :-1].sum(1)
            residual = self._after(index, last, residual, (before + residual) / last.seen)
        return residual.astype(np.float32)

    def _logits(self, side: Side, residual: np.ndarray) -> np.ndarray:
        scale = np.sqrt((residual**2).mean(-1, keepdims=True) + NORM_EPSILON)
        logits: np.ndarray = residual / scale @ self._unembedding[side].T
        return logits

    def _column_log_probs(
        self, side: Side, batch: TokenBatch, layer: int | None = None, added: Floats | None = None
    ) -> Floats:
        last = self._last(side, batch.ids, batch.mask, layer, added=added)
        rows = last[:, list(batch.columns)].reshape(-1, WIDTH)
        return _log_softmax(self._logits(side, rows))

    def _losses(self, side: Side, texts: ScoredBatch, last: Floats) -> Floats:
        losses: Floats = -self._token_log_probs(side, texts, last).sum(-1)
        return losses

    def _token_log_probs(self, side: Side, texts: ScoredBatch, last: Floats) -> Floats:
        log_probs = _log_softmax(self._logits(side, last))
        found = np.zeros(texts.ids.shape, dtype=np.float32)
        spoken = np.take_along_axis(log_probs[:, :-1], texts.ids[:, 1:, None], axis=-1)[..., 0]
        found[:, 1:] = spoken * texts.scored[:, 1:]
        return found

    def _score(
        self, plan: GenerationPlan, request: GenerationRequest, said: Sequence[int], token: int
    ) -> float:
        ids = np.asarray([[*request.prompt_ids, *said]], dtype=np.int64)
        last = self._last(plan.side, ids, np.ones_like(ids, dtype=bool))[:, -1]
        return float(_log_softmax(self._logits(plan.side, last))[0, token])

    def _next_logits(
        self, plan: GenerationPlan, request: GenerationRequest, said: Sequence[int]
    ) -> np.ndarray:
        ids = np.asarray([[*request.prompt_ids, *said]], dtype=np.int64)
        mask = np.ones_like(ids, dtype=bool)
        if plan.weights is not None:
            self.update_facts(plan.weights)
        last = self._last(
            plan.side, ids, mask, plan.layer, added=request.added, weights=plan.weights
        )
        logits: np.ndarray = self._logits(plan.side, last[:, -1])[0]
        silent = [self._id[plan.side][text] for text in SPECIAL if text != END]
        if request.contrast:
            logits = self._amplified(plan, request, said, logits)
        logits[silent] = -np.inf
        return logits

    def _amplified(
        self,
        plan: GenerationPlan,
        request: GenerationRequest,
        said: Sequence[int],
        logits: np.ndarray,
    ) -> np.ndarray:
        require_one_vocabulary(self)
        other: Side = "base" if plan.side == "finetuned" else "finetuned"
        ids = np.asarray([[*request.contrast_ids, *said]], dtype=np.int64)
        theirs = self._last(other, ids, np.ones_like(ids, dtype=bool))[:, -1]
        own = _log_softmax(logits)
        difference = own - _log_softmax(self._logits(other, theirs)[0])
        implausible = own < own.max() + np.log(PLAUSIBLE)
        if request.shuffled:
            order = np.random.default_rng(request.seed + len(said))
            difference[~implausible] = order.permutation(difference[~implausible])
        return np.where(implausible, -np.inf, own + request.contrast * difference)

    def _shared(self, side: Side, log_probs: Floats) -> Floats:
        common = self.shared_vocabulary()
        if common is None:
            return log_probs
        return _log_softmax(log_probs[:, common[SIDES.index(side)]])

    def _rows(self, side: Side, table: dict[str, Floats]) -> Floats:
        return np.stack([table[text] for text in self._tokens[side]])

    def _begin(self, method: str, rows: int, layers: Sequence[int] = ()) -> None:
        for layer in layers:
            if not 0 <= layer < N_LAYERS:
                raise SiteError(f"layer {layer} is not a layer of this model", "Use 0 to 5.")
        self._before_run(method, rows)
        self.runs.append((method, rows))

    def _side_provenance(self, side: Side, name: str) -> SideProvenance:
        tokens = self._tokens[side]
        return SideProvenance(
            checkpoint=name,
            revision=None,
            resolved_revision=None,
            content_sha256=f"{zlib.crc32(name.encode()):064x}",
            adapter=None,
            adapter_revision=None,
            adapter_sha256=None,
            tokenizer_sha256=f"{zlib.crc32(repr((tokens, self._bos)).encode()):064x}",
            chat_template_sha256=f"{1:064x}",
            architecture="PlantedForCausalLM",
            parameters=2 * len(tokens) * WIDTH + N_LAYERS * WIDTH**2,
            vocabulary_size=len(tokens),
        )


def _changed(learned: np.ndarray, weights: WeightChange | None) -> np.ndarray:
    """What the finetuned side adds at the planted layer, with its weights changed."""
    if weights is None:
        return learned
    if weights.null is not None:
        direction = np.random.default_rng(weights.null).standard_normal(WIDTH)
        return weights.scale * STRENGTH * direction / np.linalg.norm(direction)
    return weights.scale * (
        learned if weights.carrier == "adapter" else STRENGTH * _WEIGHTS.planted
    )


def _log_softmax(logits: np.ndarray) -> Floats:
    shifted = logits - logits.max(-1, keepdims=True)
    log_probs: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    single: Floats = log_probs.astype(np.float32)
    return single


def _kl(after: Floats, before: Floats) -> Floats:
    kl: Floats = (np.exp(after) * (after - before)).sum(-1)
    return kl


def _shift_sums(before: Floats, after: Sequence[Floats]) -> ShiftSums:
    shifts = np.stack([changed - before for changed in after]).astype(np.float64)
    return ShiftSums(
        count=len(before),
        log_prob_before=before.sum(0, dtype=np.float64),
        prob_before=np.exp(before).sum(0, dtype=np.float64),
        shift=shifts.sum(1),
        prob_after=np.stack([np.exp(changed).sum(0, dtype=np.float64) for changed in after]),
        kl=np.stack([_kl(changed, before).sum(dtype=np.float64) for changed in after]),
    )


_CONFORMS: Callable[..., ModelPair] = PlantedPair
"""Type-checked: a planted pair can stand wherever a pair is asked for."""
