"""A model pair run through nnsight: the boundary between numpy and torch.

NnsightPair
-> loading, checkpoints, adapters    checkpoints, adapters, hashes
-> tokenizers                        tokenizers, templates, the shared vocabulary
-> structure                         the layers of a model, found by running it
-> runs                              residuals read and written at a layer's output
-> checks, basis                     the checks at load, and the capabilities they turn off
-> generation, contrast              seeded, streamed, stoppable decoding; amplified logits
-> updates                           the finetuned side's update scaled, cut to rank 1, shuffled
-> ablation                          losses of texts, with components of residuals changed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch

from adl.callbacks import ShouldStop, never_stop
from adl.errors import DeviceOutOfMemory, PairError, SiteError, first_line, not_finite
from adl.pair.chat_templates import open_chat
from adl.pair.nnsight.ablation import (
    changed_losses,
    plain_losses,
    residuals_at,
    token_log_probs,
    unembedding,
    whitening,
)
from adl.pair.nnsight.basis import Runs
from adl.pair.nnsight.checks import checked
from adl.pair.nnsight.generation import end_token_ids, generate_texts
from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.loading import LoadedPair, load_pair, read_sides
from adl.pair.nnsight.runs import SideRuns, chunks
from adl.pair.nnsight.structure import most_positions
from adl.pair.nnsight.tokenizers import (
    TokenizerFacts,
    shared_ids,
    token_ends,
)
from adl.pair.nnsight.updates import PairUpdate
from adl.pair.protocol import (
    BosFacts,
    ChatPrompt,
    ComponentChange,
    Message,
    ResidualSums,
    ScoredBatch,
    ShiftSums,
    Thinking,
    require_one_vocabulary,
)
from adl.pair.self_checks import GENERATION, LOGIT_LENS, PATCHSCOPE, RESIDUALS, STEERING, require
from adl.pair.weight_hashes import FileHashes
from adl.records import (
    SIDES,
    Floats,
    GeneratedText,
    GenerationPlan,
    GenerationRequest,
    Ids,
    PairProvenance,
    PairSpec,
    Side,
    UpdateFacts,
    WeightChange,
    assert_shape,
)
from adl.text.corpus import TokenBatch
from adl.text.token_batches import common_start, left_padded

Check = Callable[[LoadedPair, tuple[Ids, Ids] | None], tuple[Runs, PairProvenance]]
"""Takes a pair's checks, as ``checks.checked`` does."""


class NnsightPair:
    """A base and a finetuned model loaded with transformers and run under nnsight."""

    def __init__(self, loaded: LoadedPair, check: Check = checked) -> None:
        self._loaded = loaded
        facts = read_sides(loaded.base, loaded.finetuned)
        self._text: dict[Side, TokenizerFacts] = dict(zip(SIDES, facts, strict=True))
        self._ends = {
            side: frozenset(
                end for end in end_token_ids(loaded.side(side)) if end < loaded.side(side).rows
            )
            for side in SIDES
        }
        self._positions = {side: most_positions(loaded.side(side).module) for side in SIDES}
        self._whitening: dict[Side, tuple[torch.Tensor, torch.Tensor]] = {}
        self._put: tuple[tuple[Any, ...], torch.Tensor] | None = None
        with self._device_errors():
            self._runs, self._provenance = check(loaded, self._shared)
        self._update = PairUpdate(
            loaded, self._provenance, *(self._runs[side].structure.path for side in SIDES)
        )

    @classmethod
    def load(cls, spec: PairSpec, hashes: FileHashes | None = None) -> NnsightPair:
        """Load the pair of ``spec``. Raises ``PairError`` and ``DeviceOutOfMemory``.

        ``hashes`` caches the hashes of the files that are read.
        """
        return cls(load_pair(spec, hashes))

    @property
    def provenance(self) -> PairProvenance:
        """Record of the loaded sides, devices, library versions and checks."""
        return self._provenance

    def memory(self) -> dict[str, int]:
        """Return bytes of weights (shared ones once) and, per accelerator, bytes allocated by torch."""
        modules = {id(self._loaded.side(side).module): side for side in SIDES}
        used = {
            "weights": sum(
                self._loaded.side(side).module.get_memory_footprint() for side in modules.values()
            )
        }
        for index in range(torch.cuda.device_count()):
            used[f"cuda:{index}"] = torch.cuda.memory_allocated(index)
        return used

    # --- text ---------------------------------------------------------------------------------

    def tokenise(self, side: Side, text: str) -> list[int]:
        """Return the ids of plain text, without special tokens."""
        return list(self._text[side].tokenizer.encode(text, add_special_tokens=False))

    def token_ends(self, side: Side, text: str) -> list[int]:
        """Return the character index after each token of :meth:`tokenise`; it never falls."""
        return token_ends(self._text[side].tokenizer, text)

    def decode(self, side: Side, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        decoded = self._text[side].tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(decoded)

    def bos(self, side: Side) -> BosFacts:
        """Return the begin-of-text facts of a side."""
        return self._text[side].bos

    def chat(
        self,
        side: Side,
        messages: Sequence[Message],
        *,
        prefill: str = "",
        thinking: Thinking = "auto",
    ) -> ChatPrompt:
        """Return a chat by the side's template, up to the start of the answer, with ``prefill``.

        A side without a template of its own uses the other's, or else plain ``User:`` and
        ``Assistant:`` lines, which begin like plain text. ``start`` is that of the prefill's first
        token.
        """
        other: Side = "finetuned" if side == "base" else "base"
        tokenizers = [self._text[name].tokenizer for name in (side, other)]
        opening = open_chat(tokenizers, messages, prefill=prefill, thinking=thinking)
        begin = list if opening.templated else self._text[side].bos.begun
        opened = begin(self.tokenise(side, opening.text))
        ids = begin(self.tokenise(side, opening.text + prefill)) if prefill else opened
        # A blank that ends the opening may be one token with the word after it.
        start = common_start((opened, ids))
        return ChatPrompt(tuple(ids), start, opening.notes, merged=start < len(opened))

    def token_texts(self, side: Side) -> Sequence[str]:
        """Return the text of every token [V] of a side, with spaces and byte fragments."""
        return self._text[side].token_texts

    def shared_vocabulary(self) -> tuple[Ids, Ids] | None:
        """Return ids of the shared tokens ([n] base, [n] finetuned); None for equal vocabularies."""
        return self._shared

    @cached_property
    def _shared(self) -> tuple[Ids, Ids] | None:
        return shared_ids(self._text["base"], self._text["finetuned"])

    # --- reading ------------------------------------------------------------------------------

    def residual_sums(
        self, base: TokenBatch, finetuned: TokenBatch, layers: Sequence[int], groups: Ids
    ) -> ResidualSums:
        """Run both sides on the same texts and sum their residuals; see ``ModelPair``."""
        assert_shape("groups", groups, [base.ids.shape[0]])
        require(self.provenance, RESIDUALS)
        self._check_layers(layers)
        with self._device_errors():
            before = self._use("base", base.ids).residuals(base, layers)
            after = self._use("finetuned", finetuned.ids).residuals(finetuned, layers)
            after = after.to(before.device)
            change = after - before
            members = torch.as_tensor(groups, device=before.device)
            stacked = {
                "base": before,
                "finetuned": after,
                "base_norm": before.norm(dim=-1),
                "finetuned_norm": after.norm(dim=-1),
                "squared_difference": change.square().sum(dim=-1),
            }
            n_groups = int(groups.max()) + 1
            sums = {
                name: torch.stack([rows[members == group].sum(0) for group in range(n_groups)])
                for name, rows in stacked.items()
            }
        count = np.bincount(groups, minlength=n_groups).astype(np.int64)
        return ResidualSums(
            count=count, **{name: rows.cpu().double().numpy() for name, rows in sums.items()}
        )

    def unembed(self, side: Side, vectors: Floats) -> Floats:
        """Return log-probabilities [n, V] of a token whose last residual is each of ``vectors``.

        The model itself runs its final norm, its head and any other step before its logits.
        """
        assert_shape("vectors", vectors, [None, self.provenance.width])
        require(self.provenance, LOGIT_LENS)
        with self._device_errors(), torch.no_grad():
            return self._gathered(side, self._use(side).unembedded_logits(vectors), len(vectors))

    def patched_log_probs(
        self, side: Side, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> Floats:
        """Return log-probabilities [n, V] after a prompt with its last residual replaced."""
        assert_shape("vectors", vectors, [None, self.provenance.width])
        require(self.provenance, PATCHSCOPE)
        self._check_layers([layer])
        with self._device_errors(), torch.no_grad():
            found = self._use(side, list(prompt_ids)).patched_logits(prompt_ids, layer, vectors)
            return self._gathered(side, found, len(vectors))

    def steering_shift(
        self, side: Side, contexts: TokenBatch, layer: int, vectors: Floats
    ) -> ShiftSums:
        """Return next-token shifts by each added vector; see ``ModelPair``."""
        assert_shape("vectors", vectors, [None, self.provenance.width])
        require(self.provenance, STEERING)
        self._check_layers([layer])
        with self._device_errors(), torch.no_grad():
            runs = self._use(side, contexts.ids)
            logits = runs.added_logits(contexts, layer, vectors)
            before = list(self._log_probs(side, next(logits)))
            changes = (_change_sums(before, self._log_probs(side, rows)) for rows in logits)
            return _shift_sums(before, changes, len(vectors))

    def output_shift(self, base: TokenBatch, finetuned: TokenBatch) -> ShiftSums:
        """Return the next-token shift from base to finetuned; see ``ModelPair``."""
        with self._device_errors(), torch.no_grad():
            logits = self._column_logits(self._use("base", base.ids), base)
            before = list(self._shared_log_probs("base", logits))
            logits = self._column_logits(self._use("finetuned", finetuned.ids), finetuned)
            after = self._shared_log_probs("finetuned", logits)
            return _shift_sums(before, [_change_sums(before, after)], 1)

    def token_losses(self, side: Side, texts: ScoredBatch) -> Floats:
        """Return the summed -log p [texts] of each text's scored tokens; see ``ModelPair``."""
        with self._device_errors(), torch.no_grad():
            losses = plain_losses(self._use(side, texts.ids), texts)
            self._finite(side, losses)
            return losses

    def token_log_probs(self, side: Side, texts: ScoredBatch) -> Floats:
        """Return log p [texts, tokens] in nats of each scored token; see ``ModelPair``."""
        with self._device_errors(), torch.no_grad():
            found = token_log_probs(self._use(side, texts.ids), texts)
            self._finite(side, found)
            return found

    def next_log_probs(self, side: Side, prompts: Sequence[Sequence[int]]) -> Floats:
        """Return log-probabilities [n, V] of the token after each prompt; see ``ModelPair``."""
        batch = left_padded(prompts)
        with self._device_errors(), torch.no_grad():
            logits = self._column_logits(self._use(side, batch.ids), batch)
            return self._gathered(side, iter([logits]), len(batch))

    def log_probs_after(
        self, side: Side, prefix: Sequence[int], endings: Sequence[Sequence[int]]
    ) -> Floats:
        """Return log-probabilities [n, V] of the token after a prefix with each ending."""
        if not endings or not all(endings):
            raise ValueError("every ending needs at least one token")
        found = np.empty((len(endings), len(self._text[side].token_texts)), dtype=np.float32)
        lengths = np.array([len(ending) for ending in endings])
        with self._device_errors(), torch.no_grad():
            runs = self._use(
                side,
                [*prefix, *(index for ending in endings for index in ending)],
                len(prefix) + int(lengths.max()),
            )
            # Endings of one length need no padding, which not every cache can take.
            for length in np.unique(lengths):
                rows = np.flatnonzero(lengths == length).tolist()
                some = np.array([endings[row] for row in rows], dtype=np.int64)
                found[rows] = self._gathered(side, runs.logits_after(prefix, some), len(rows))
        return found

    def component_losses(
        self,
        base: ScoredBatch,
        finetuned: ScoredBatch,
        layer: int,
        vectors: Floats,
        change: ComponentChange,
    ) -> Floats:
        """Return losses [m, texts] of finetuned with a component of its residuals changed."""
        assert_shape("vectors", vectors, [None, self.provenance.width])
        require(self.provenance, STEERING)
        self._check_layers([layer])
        with self._device_errors(), torch.no_grad():
            put: torch.Tensor | None = None
            if change == "replace":
                put = self._residuals_put(base, layer)
            losses = changed_losses(
                self._use("finetuned", finetuned.ids), layer, finetuned, vectors, put
            )
            self._finite("finetuned", losses)
            return losses

    def _residuals_put(self, base: ScoredBatch, layer: int) -> torch.Tensor:
        """Return base's residuals at ``layer``; the latest are kept, for one direction after another."""
        key = (layer, base.ids.shape, base.ids.tobytes(), base.mask.tobytes())
        if self._put is None or self._put[0] != key:
            self._put = key, residuals_at(self._use("base", base.ids), layer, base)
        return self._put[1]

    def token_directions(self, side: Side, ids: Sequence[int]) -> Floats:
        """Return unit rows of the unembedding, whitened over the vocabulary; see ``ModelPair``."""
        with self._device_errors(), torch.no_grad():
            head = unembedding(self._use(side).loaded.module)
            if side not in self._whitening:
                self._whitening[side] = whitening(head[: len(self._text[side].token_texts)])
            mean, whiten = self._whitening[side]
            rows = head[torch.as_tensor(list(ids), device=head.device)].float()
            return torch.nn.functional.normalize((rows - mean) @ whiten, dim=-1).cpu().numpy()

    # --- generating ---------------------------------------------------------------------------

    def update_facts(
        self, change: WeightChange, *, should_stop: ShouldStop = never_stop
    ) -> UpdateFacts:
        """Return the modules that ``change`` acts on; see ``ModelPair``."""
        require(self.provenance, GENERATION)
        if self._update.side == "base":
            require_one_vocabulary(self)
        with self._device_errors(), torch.no_grad():
            return self._update.facts(change, should_stop)

    def generate(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        *,
        on_text: Callable[[dict[int, str]], None] | None = None,
        should_stop: ShouldStop = never_stop,
    ) -> list[GeneratedText]:
        """Return the generated text of every request, in one batch; see ``ModelPair``."""
        self._check_generation(plan, requests)
        other = None
        if any(request.contrast for request in requests):
            require_one_vocabulary(self)
            other_side: Side = "base" if plan.side == "finetuned" else "finetuned"
            asked = [index for request in requests for index in request.contrast_ids]
            other = self._use(
                other_side, asked, written_length(plan, [each.contrast_ids for each in requests])
            )
        prompts = [index for request in requests for index in request.prompt_ids]
        length = written_length(plan, [request.prompt_ids for request in requests])
        runs = self._use(plan.side, prompts, length)
        with self._device_errors(), ExitStack() as stack:
            if plan.weights is not None:
                if self._update.side != plan.side:
                    require_one_vocabulary(self)
                    runs = self._use(self._update.side, prompts, length)
                stack.enter_context(self._update.applied(plan.weights))
            return generate_texts(
                runs,
                plan,
                requests,
                ends=self._ends[plan.side],
                decode=lambda ids: self.decode(plan.side, ids),
                on_text=on_text,
                should_stop=should_stop,
                other=other,
                width=max(runs.loaded.rows for runs in self._runs.values()),
                n_tokens=len(self._text[plan.side].token_texts),
            )

    def continuation_kl(
        self, base_ids: Sequence[int], finetuned_ids: Sequence[int], n_continuation: int
    ) -> Floats:
        """Return KL(finetuned || base) in nats before each of the last ``n_continuation`` tokens."""
        if n_continuation == 0:
            return np.zeros(0, dtype=np.float32)
        with self._device_errors(), torch.no_grad():
            found = {}
            for side, ids in zip(SIDES, (base_ids, finetuned_ids), strict=True):
                row = np.asarray([ids], dtype=np.int64)
                columns = range(len(ids) - n_continuation - 1, len(ids) - 1)
                batch = TokenBatch(
                    ids=row,
                    mask=np.ones_like(row, dtype=bool),
                    positions=tuple(map(str, columns)),
                    columns=tuple(columns),
                )
                runs = self._use(side, batch.ids, len(ids) - 1)
                logits = self._column_logits(runs, batch)
                found[side] = self._shared_log_probs(side, logits)
            return np.concatenate(
                [
                    (after.exp() * (after - before.to(after.device)))
                    .sum(-1)
                    .clamp(min=0)
                    .cpu()
                    .numpy()
                    for before, after in zip(found["base"], found["finetuned"], strict=True)
                ]
            )

    # --- running ------------------------------------------------------------------------------

    def _use(self, side: Side, ids: Any = (), length: int | None = None) -> SideRuns:
        """Return the side's runs, with its adapter switched; ``ids`` will be run.

        ``length`` is that of the longest text, by default of a row of ``ids``. Raises ``PairError`` for
        an id without a row in the embeddings, and for more tokens than the model has positions.
        """
        runs = self._runs[side]
        limit = self._positions[side]
        length = np.shape(ids)[-1] if length is None else length
        if limit is not None and length > limit:
            raise PairError(
                f"a text of {length:,} tokens is longer than the {limit:,} positions that the {side} "
                "model has",
                "Use shorter texts, or write fewer tokens.",
            )
        highest = int(np.max(ids, initial=0))
        if highest >= runs.loaded.rows:
            tokenizer = self._text[side].tokenizer
            piece = tokenizer.convert_ids_to_tokens(highest) or highest
            raise PairError(
                f"the {side} model has no row for the token {piece!r}: its tokenizer has "
                f"{len(tokenizer):,} tokens, its embeddings have {runs.loaded.rows:,} rows",
                "Leave the token out of the text, or load the model with the embeddings that were "
                "trained with this tokenizer.",
            )
        runs.loaded.use()
        return runs

    @staticmethod
    def _column_logits(
        runs: SideRuns, batch: TokenBatch, layer: int | None = None, vector: Floats | None = None
    ) -> torch.Tensor:
        """Return logits [rows x columns, V], with ``vector`` added at ``layer`` if given."""
        return runs.column_logits(batch, layer, vector)

    def _gathered(self, side: Side, parts: Iterator[torch.Tensor], n: int) -> Floats:
        """Return log-probabilities [n, V] of logits that come a few rows at a time."""
        out = np.empty((n, len(self._text[side].token_texts)), dtype=np.float32)
        done = 0
        for logits in parts:
            for rows in self._log_probs(side, logits):
                out[done : done + len(rows)] = rows.cpu().numpy()
                done += len(rows)
        return out

    def _log_probs(self, side: Side, logits: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield log-probabilities over every row of the unembedding, cut to the side's tokens."""
        n_tokens = len(self._text[side].token_texts)
        for rows in chunks(logits, n_tokens):
            normalised = torch.log_softmax(rows.float(), dim=-1)
            self._finite(side, normalised.amax(-1))
            yield normalised[:, :n_tokens]

    def _shared_log_probs(self, side: Side, logits: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield log-probabilities over the shared tokens, normalised over them."""
        shared = self._shared
        if shared is None:
            yield from self._log_probs(side, logits)
            return
        ids = torch.as_tensor(shared[SIDES.index(side)], device=logits.device)
        for rows in chunks(logits, len(ids)):
            normalised = torch.log_softmax(rows[:, ids].float(), dim=-1)
            self._finite(side, normalised.amax(-1))
            yield normalised

    def _finite(self, side: Side, numbers: Any) -> None:
        """Raise ``NotFinite`` if any of ``numbers`` is NaN or infinite."""
        if not bool(torch.isfinite(torch.as_tensor(numbers)).all()):
            raise not_finite(f"the {side} side", self.provenance.dtype)

    def _check_layers(self, layers: Sequence[int]) -> None:
        count = self.provenance.n_layers
        for layer in layers:
            if not 0 <= layer < count:
                raise SiteError(
                    f"layer {layer} is not a layer of this model", f"Use 0 to {count - 1}."
                )

    def _check_generation(
        self, plan: GenerationPlan, requests: Sequence[GenerationRequest]
    ) -> None:
        """Raise ``SiteError`` or ``NotAvailable`` if texts cannot be written in this way."""
        if plan.layer is not None:
            self._check_layers([plan.layer])
        require(self.provenance, GENERATION)
        if any(request.added is not None for request in requests):
            require(self.provenance, STEERING)

    @contextmanager
    def _device_errors(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise DeviceOutOfMemory(
                f"the device ran out of memory: {first_line(exc)}",
                "Use a smaller batch or fewer samples, or load with --dtype bfloat16, "
                "--load-in-8bit or --device-map auto.",
            ) from exc


def written_length(plan: GenerationPlan, prompts: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens that are run to write texts: all but the last one of the longest."""
    return max(map(len, prompts), default=0) + plan.max_new_tokens - 1


# --- sums over rows -------------------------------------------------------------------------------


def _summed(rows: torch.Tensor) -> np.ndarray:
    """Return the sum over rows, as float64 numpy."""
    return rows.sum(0).cpu().double().numpy()


def _added(parts: Iterable[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.sum(column, axis=0) for column in zip(*parts, strict=True))


def _change_sums(
    before: Iterable[torch.Tensor], after: Iterable[torch.Tensor]
) -> tuple[np.ndarray, ...]:
    """Return sums over rows [rows, V] of the shift, the probability after, and the KL.

    Writes into ``after``.
    """
    return _added(
        _sums_of_change(old.to(new.device), new) for old, new in zip(before, after, strict=True)
    )


def _sums_of_change(before: torch.Tensor, after: torch.Tensor) -> tuple[np.ndarray, ...]:
    # In place: over a large vocabulary each copy counts.
    prob = after.exp()
    shift = after.sub_(before)
    summed = _summed(shift), _summed(prob)
    return *summed, _summed(prob.mul_(shift).sum(-1))


def _shift_sums(
    before: Sequence[torch.Tensor], changes: Iterable[tuple[np.ndarray, ...]], n_changes: int
) -> ShiftSums:
    log_prob, prob = _added((_summed(rows), _summed(rows.exp())) for rows in before)
    shift, after = np.empty((2, n_changes, len(prob)))
    kl = np.empty(n_changes)
    for change, sums in enumerate(changes):
        shift[change], after[change], kl[change] = sums
    return ShiftSums(
        count=sum(map(len, before)),
        log_prob_before=log_prob,
        prob_before=prob,
        shift=shift,
        prob_after=after,
        kl=kl,
    )
