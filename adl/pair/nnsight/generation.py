"""Decode a batch of prompts with a vector added per row: seeded, streamed, stoppable.

The cache and the padding are left to transformers' ``generate``. Three small parts plug into it:
``SeededSampling`` draws each row's tokens from its own random numbers, ``Tap`` streams tokens and
ends the run when asked, and an nnsight trace adds the vectors at every step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers import StoppingCriteriaList as StoppingList

from adl.callbacks import ShouldStop, never_stop
from adl.errors import PairError, Stopped, not_finite
from adl.pair.chat_templates import render_chat
from adl.pair.nnsight.contrast import AmplifiedLogits
from adl.pair.nnsight.loading import LoadedSide
from adl.pair.nnsight.runs import SideRuns
from adl.pair.nnsight.structure import residual_of, with_residual
from adl.records import EndReason, GeneratedText, GenerationPlan, GenerationRequest
from adl.text.token_batches import left_padded
from adl.text.words import HALF_A_CHARACTER

# Rows whose logits are float32 at a time: a softmax over a large vocabulary takes memory.
ROWS_AT_ONCE = 8


Watch = Callable[[torch.Tensor], None]
"""Called with the logits [rows, V] of every step, before a token is chosen."""


class SeededSampling(LogitsProcessor):
    """Turn greedy search into sampling whose random numbers depend on the row's seed alone.

    The token with the largest ``logits / temperature + Gumbel noise`` is a sample of the softmax
    (Gumbel-max), so each row draws noise from its own generator and the batch around it does not
    matter. Noise is drawn on the CPU: the same seed means the same numbers on every device. It is
    drawn for at least ``width`` tokens, the wider side's, so that both sides get the same.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, width: int = 0) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._width = width

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        """Return ``scores`` [rows, V] over the temperature, with noise added."""
        width = scores.shape[-1]
        drawn = max(width, self._width)
        noise = torch.stack(
            [
                torch.empty(drawn).exponential_(generator=generator)[:width].log_().neg_()
                for generator in self._generators
            ]
        )
        return scores.float() / self._temperature + noise.to(scores.device)


class FiniteScores(LogitsProcessor):
    """Raises ``NotFinite`` at the first NaN or infinity, whose most probable token would be arbitrary."""

    def __init__(self, what: str, dtype: str, watch: Watch | None = None) -> None:
        self._what = what
        self._dtype = dtype.removeprefix("torch.")
        self._watch = watch

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        """Return ``scores`` [rows, V] unchanged."""
        if not bool(torch.isfinite(scores.amax(-1)).all()):
            raise not_finite(self._what, self._dtype)
        if self._watch is not None:
            self._watch(scores)
        return scores


class WrittenTokens(LogitsProcessor):
    """Rules out rows of the embeddings past the side's ``n_tokens``, which stand for no text.

    What ends a text may be among them, as it is not written.
    """

    def __init__(self, n_tokens: int, ends: Iterable[int]) -> None:
        self._n_tokens = n_tokens
        self._ends = [end for end in ends if end >= n_tokens]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        """Return ``scores`` [rows, V], minus infinity at rows without a token."""
        if scores.shape[-1] <= self._n_tokens:
            return scores
        written = scores.clone()
        written[:, self._n_tokens :] = -torch.inf
        written[:, self._ends] = scores[:, self._ends]
        return written


class ChosenLogProbs:
    """Log p of each token that is written, from the logits that it was chosen by."""

    def __init__(self, watch: Watch | None) -> None:
        self._also = watch
        self._logits = torch.empty(0)

    def watch(self, logits: torch.Tensor) -> None:
        """Keep the logits [rows, V] of this step."""
        self._logits = logits
        if self._also is not None:
            self._also(logits)

    def of(self, tokens: torch.Tensor) -> list[float]:
        """Return log p of the tokens [rows] that were chosen at this step."""
        found: list[float] = []
        for rows, chosen in zip(
            self._logits.split(ROWS_AT_ONCE), tokens.split(ROWS_AT_ONCE), strict=True
        ):
            logits = rows.float()
            own = logits.gather(-1, chosen.to(logits.device)[:, None])[:, 0]
            found += (own - logits.logsumexp(-1)).tolist()
        return found


class Tap(StoppingCriteria):
    """Collects every token, streams new text, and ends the run when asked."""

    def __init__(
        self,
        rows: int,
        ends: frozenset[int],
        decode: Callable[[Sequence[int]], str],
        on_text: Callable[[dict[int, str]], None] | None,
        should_stop: ShouldStop,
        scores: ChosenLogProbs | None = None,
    ) -> None:
        self.stopped = False
        self.log_probs: list[list[float]] = [[] for _ in range(rows)]
        self._scores = scores
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.ended = [False] * rows
        self._ends = ends
        self._decode = decode
        self._on_text = on_text
        self._should_stop = should_stop
        self._shown = [""] * rows

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any
    ) -> torch.BoolTensor:
        """Add the newest column of ``input_ids`` [rows, tokens]; True for every row ends the run."""
        newest = input_ids[:, -1]
        log_probs = None if self._scores is None else self._scores.of(newest)
        for row, token in enumerate(newest.tolist()):
            if self.ended[row]:
                continue
            self.ended[row] = token in self._ends
            if not self.ended[row]:
                self.ids[row].append(token)
                if log_probs is not None:
                    self.log_probs[row].append(log_probs[row])
        self._hand_out()
        self.stopped = self.stopped or self._should_stop()
        finished = self.stopped or all(self.ended)
        return torch.full((len(self.ids),), finished, device=input_ids.device)  # type: ignore[return-value]

    def close(self) -> None:
        """Stream the rest: a text may end in the middle of a character."""
        self._hand_out(complete=True)

    def _hand_out(self, *, complete: bool = False) -> None:
        if self._on_text is None:
            return
        pieces = {}
        for row, ids in enumerate(self.ids):
            text = self._decode(ids)
            unfinished = text.endswith(HALF_A_CHARACTER) and not complete
            if unfinished or not text.startswith(self._shown[row]):
                continue
            if len(text) > len(self._shown[row]):
                pieces[row] = text[len(self._shown[row]) :]
                self._shown[row] = text
        if pieces:
            self._on_text(pieces)


def end_token_ids(loaded: LoadedSide) -> frozenset[int]:
    """Return the tokens that end a text: the checkpoint's, the tokenizer's and the chat turn's."""
    configured = loaded.module.generation_config.eos_token_id
    ids = set(configured if isinstance(configured, list) else [configured])
    ids.add(loaded.tokenizer.eos_token_id)
    ids.add(_turn_end(loaded))
    return frozenset(index for index in ids if index is not None)


def _turn_end(loaded: LoadedSide) -> int | None:
    """Return the token that the chat template puts right after an answer, if it is no ordinary one.

    A special token, or one that was added to the vocabulary: not every tokenizer lists as special
    what ends its turns.
    """
    tokenizer, answer = loaded.tokenizer, "Answer"
    if tokenizer.chat_template is None:
        return None
    chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": answer}]
    try:
        rendered = render_chat(tokenizer, chat, answer_next=False)
    except PairError:
        return None  # the template's error is raised when a chat is written
    if answer not in rendered:
        return None
    after = rendered[rendered.rfind(answer) + len(answer) :].lstrip()
    ids = tokenizer.encode(after, add_special_tokens=False)[:1]
    known = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return ids[0] if ids and ids[0] in known else None


def generate_texts(
    runs: SideRuns,
    plan: GenerationPlan,
    requests: Sequence[GenerationRequest],
    *,
    ends: frozenset[int],
    decode: Callable[[Sequence[int]], str],
    on_text: Callable[[dict[int, str]], None] | None = None,
    should_stop: ShouldStop = never_stop,
    watch: Callable[[Sequence[int], torch.Tensor], None] | None = None,
    other: SideRuns | None = None,
    width: int = 0,
    n_tokens: int | None = None,
) -> list[GeneratedText]:
    """Return the text of every request: in one batch, or one per length for a model without padding.

    ``watch`` is called with the indexes of the requests and the logits of every step. ``other`` is
    the side whose logits are subtracted for amplified logits, and ``width`` the number of logits of
    the wider side. Of the side's own logits those of its first ``n_tokens``, by default all, can be
    written; the log-probability of a token is over all of them.
    """
    found: dict[int, GeneratedText] = {}
    for rows in groups_of(runs, requests):
        texts = _generate_batch(
            runs,
            plan,
            [requests[row] for row in rows],
            ends=ends,
            decode=decode,
            on_text=_on_rows(on_text, rows),
            should_stop=should_stop,
            watch=None if watch is None else partial(watch, rows),
            other=other,
            width=width,
            n_tokens=n_tokens,
        )
        found |= dict(zip(rows, texts, strict=True))
    return [found[row] for row in range(len(requests))]


def groups_of(runs: SideRuns, requests: Sequence[GenerationRequest]) -> list[list[int]]:
    """Return the indexes of requests that are run together: all, those of one length, or each alone."""
    if runs.structure.alone:
        return [[row] for row in range(len(requests))]
    groups: dict[tuple[int, int], list[int]] = {}
    for row, request in enumerate(requests):
        lengths = (len(request.prompt_ids), len(request.contrast_ids))
        groups.setdefault((0, 0) if runs.structure.pads else lengths, []).append(row)
    return list(groups.values())


def _on_rows(
    on_text: Callable[[dict[int, str]], None] | None, rows: Sequence[int]
) -> Callable[[dict[int, str]], None] | None:
    """Return ``on_text`` for a part of the requests, whose rows count from 0."""
    if on_text is None:
        return None
    return lambda pieces: on_text({rows[row]: text for row, text in pieces.items()})


def _generate_batch(
    runs: SideRuns,
    plan: GenerationPlan,
    requests: Sequence[GenerationRequest],
    *,
    ends: frozenset[int],
    decode: Callable[[Sequence[int]], str],
    on_text: Callable[[dict[int, str]], None] | None,
    should_stop: ShouldStop,
    watch: Watch | None,
    other: SideRuns | None,
    width: int,
    n_tokens: int | None,
) -> list[GeneratedText]:
    if not requests:
        return []
    loaded, device = runs.loaded, runs.device
    prompts = left_padded([request.prompt_ids for request in requests])
    chosen = ChosenLogProbs(watch) if plan.scored else None
    watch = chosen.watch if chosen is not None else watch
    tap = Tap(len(requests), ends, decode, on_text, should_stop, chosen)
    guard = FiniteScores(f"the {plan.side} side", str(loaded.module.dtype), watch)
    options: dict[str, Any] = {
        "input_ids": torch.as_tensor(prompts.ids, device=device),
        "attention_mask": torch.as_tensor(prompts.mask, device=device).long(),
        "logits_processor": LogitsProcessorList([guard]),
        "max_new_tokens": plan.max_new_tokens,
        "do_sample": False,
        "eos_token_id": sorted(ends) or None,
        "pad_token_id": min(ends, default=0),
        "stopping_criteria": StoppingList([tap]),
    }
    if n_tokens is not None:
        options["logits_processor"].append(WrittenTokens(n_tokens, ends))
    if other is not None and any(request.contrast for request in requests):
        amplified = AmplifiedLogits(runs, other, requests, plan.max_new_tokens)
        options["logits_processor"].append(amplified)
    if not plan.greedy:
        seeds = [request.seed for request in requests]
        sampling = SeededSampling(seeds, plan.temperature, width)
        options["logits_processor"].append(sampling)
    added = _added_rows(requests, plan, device)
    with torch.no_grad(), _stops_between_layers((runs, other), tap, should_stop):
        if added is None:
            model: Any = loaded.module
            model.generate(**options)
        else:
            _generate_steered(loaded.model, runs.layers, plan.layer, added, options)
    tap.close()
    return [_finished(tap, row, decode) for row in range(len(requests))]


@contextmanager
def _stops_between_layers(
    sides: Sequence[SideRuns | None], tap: Tap, should_stop: ShouldStop
) -> Iterator[None]:
    """While inside, a stop ends the run at the next layer: a long prompt is one step of minutes."""
    if should_stop is never_stop:
        yield
        return

    def check(_layer: object, _given: object) -> None:
        if should_stop():
            tap.stopped = True
            raise Stopped("stopped on request")

    stacks: list[Any] = [
        runs.loaded.module.get_submodule(runs.structure.path) for runs in sides if runs is not None
    ]
    # Sides of an adapter share their layers.
    layers = {id(layer): layer for stack in stacks for layer in stack}
    hooks = [layer.register_forward_pre_hook(check) for layer in layers.values()]
    try:
        yield
    except Exception:
        # A trace raises what happens in it as an exception of its own.
        if not tap.stopped:
            raise
    finally:
        for hook in hooks:
            hook.remove()


def _generate_steered(
    model: Any, layers: Any, layer: int | None, added: torch.Tensor, options: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        # The loop over steps is open-ended: nnsight warns when generation ends first.
        warnings.simplefilter("ignore")
        with model.generate(**options) as tracer:
            for _step in tracer.iter[:]:
                output = layers[layer].output
                residual = residual_of(output)
                layers[layer].output = with_residual(output, residual + added.to(residual))


def _added_rows(
    requests: Sequence[GenerationRequest], plan: GenerationPlan, device: torch.device
) -> torch.Tensor | None:
    """Return vectors [rows, 1, width] to broadcast over tokens; None if no row is steered."""
    vectors = [request.added for request in requests]
    given = next((vector for vector in vectors if vector is not None), None)
    if given is None or plan.layer is None:
        return None
    rows = [np.zeros_like(given) if vector is None else vector for vector in vectors]
    return torch.as_tensor(np.stack(rows), device=device)[:, None]


def _finished(tap: Tap, row: int, decode: Callable[[Sequence[int]], str]) -> GeneratedText:
    ids = tuple(tap.ids[row])
    ended: EndReason = "length"
    if tap.ended[row]:
        ended = "end_of_text"
    elif tap.stopped:
        ended = "stopped"
    return GeneratedText(ids, decode(ids), ended, tuple(tap.log_probs[row]))
