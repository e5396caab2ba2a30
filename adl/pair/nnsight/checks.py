"""The self-checks of a loaded pair: a few forward passes of a short text.

The reference is the model alone, run plainly or with a plain PyTorch hook; ``SideRuns``, which all
readings use, is compared with it. Two checks also choose how a model is run: a model that cannot be
padded runs rows by length, one whose cache cannot be shared runs prompts whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from adl.errors import AdlError, PairError, first_line, not_finite
from adl.pair.nnsight.basis import Runs, basis_check
from adl.pair.nnsight.generation import generate_texts
from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.loading import LoadedPair, LoadedSide, dtype_name
from adl.pair.nnsight.runs import SideRuns, distance
from adl.pair.nnsight.structure import Probe, Structure, check_ids, find_structure, with_residual
from adl.pair.self_checks import (
    ADAPTER_OFF,
    CAPTURE,
    CAUSAL,
    FINITE,
    GENERATED,
    LENS,
    PADDED,
    PATCHED,
    SIDES_DIFFER,
    UNTOUCHED,
    check_line,
    compared,
    failed,
)
from adl.records import (
    SIDES,
    Check,
    GenerationPlan,
    GenerationRequest,
    Ids,
    PairProvenance,
    Side,
)
from adl.text.token_batches import left_padded

# Differences of log-probabilities, as a share of their spread over the vocabulary. Half precision
# rounds differently in batches of another shape; quantised layers depend on the whole batch.
TOLERANCE = {"float32": 1e-3, "float64": 1e-3}
HALF_TOLERANCE = 0.05
QUANTISED_TOLERANCE = 0.2
N_GENERATED = 2
ADDED_SIZE = 0.3


def checked(
    loaded: LoadedPair,
    shared: tuple[Ids, Ids] | None,
    probed: Callable[[LoadedSide], tuple[SideRuns, Probe]] | None = None,
    side_checks: type[SideChecks] | None = None,
) -> tuple[Runs, PairProvenance]:
    """Return the runs of each side, and the pair's record with the checks and mismatches.

    ``probed`` runs a short text on a side, ``side_checks`` takes a side's checks. Raises
    ``PairError`` for a model that cannot be read, or an adapter that cannot be switched off.
    """
    runs: Runs = {}
    probes: dict[Side, Probe] = {}
    for side in SIDES:
        runs[side], probes[side] = (probed or _probed)(loaded.side(side))
    provenance = replace(loaded.provenance, width=runs["base"].structure.width)
    tolerances = {side: _tolerance(provenance, loaded.side(side)) for side in SIDES}
    for side in SIDES:
        structure = replace(runs[side].structure, tolerance=tolerances[side])
        runs[side] = replaced(runs[side], structure)
    checks = [_adapter_off(loaded, probes["base"]), _finite(probes, provenance.dtype)]
    if checks[-1].outcome == "passed":
        checks.append(_sides_differ(probes))
        for side in reversed(SIDES):
            runs[side].loaded.use()
            if side == "base" and _same_kind(loaded):
                structure = replace(runs["finetuned"].structure, tolerance=tolerances[side])
                runs[side] = replaced(runs[side], structure)
            else:
                taken = (side_checks or SideChecks)(side, runs[side], probes[side])
                checks += taken.take()
                runs[side] = taken.runs
        checks.append(basis_check(loaded, runs, shared))
    failures = [check for check in checks if check.outcome == "failed"]
    sentences = tuple(f"{check.name}: {check_line(check)}" for check in failures)
    mismatches = provenance.mismatches + sentences
    return runs, replace(provenance, checks=tuple(checks), mismatches=mismatches)


def _probed(loaded: LoadedSide) -> tuple[SideRuns, Probe]:
    loaded.use()
    ids = check_ids(loaded.module, loaded.tokenizer)
    structure, probe = find_structure(loaded.module, ids)
    return SideRuns(loaded, structure, ids[0]), probe


def _same_kind(loaded: LoadedPair) -> bool:
    """Return True if both sides have the same class of model."""
    return type(loaded.base.module) is type(loaded.finetuned.module)


def _tolerance(provenance: PairProvenance, side: LoadedSide) -> float:
    """Return the largest distance of equal predictions of a side, whose numbers may be its own kind."""
    if provenance.quantisation is not None:
        return QUANTISED_TOLERANCE
    return TOLERANCE.get(dtype_name(side.module), HALF_TOLERANCE)


# --- both sides -------------------------------------------------------------------------------


def _adapter_off(loaded: LoadedPair, base: Probe) -> Check:
    if loaded.untouched is None:
        return Check(ADAPTER_OFF, "not applicable", "the base has weights of its own")
    before, after = loaded.untouched, base.logits.cpu()
    if torch.equal(before, after):
        return Check(
            ADAPTER_OFF, "passed", "the base's logits are, bit for bit, those before the adapter"
        )
    same_shape = before.shape == after.shape
    by = f" by up to {float((after - before).abs().max()):.3g}" if same_shape else ""
    raise PairError(
        f"the adapter changes the base's weights: switched off, its logits differ{by} from the "
        "checkpoint's own",
        "Merge the adapter into its checkpoint and give that as --finetuned.",
    )


def _finite(probes: dict[Side, Probe], dtype: str) -> Check:
    for side, probe in probes.items():
        for numbers in (*probe.outputs, probe.logits.amax(-1)):
            if not bool(torch.isfinite(numbers).all()):
                return failed(FINITE, str(not_finite(f"the {side} side", dtype)).rstrip("."))
    return Check(FINITE, "passed", "residuals and logits of a short text are finite")


def _sides_differ(probes: dict[Side, Probe]) -> Check:
    base, finetuned = probes["base"], probes["finetuned"]
    if base.ids != finetuned.ids or base.logits.shape != finetuned.logits.shape:
        return Check(SIDES_DIFFER, "not applicable", "the sides read text as other tokens")
    figure = distance(finetuned.logits, base.logits.to(finetuned.logits.device))
    if figure > 0:
        return Check(SIDES_DIFFER, "passed", "the sides predict differently", figure)
    return failed(SIDES_DIFFER, "the sides predict exactly the same after a short text", figure)


# --- one side ---------------------------------------------------------------------------------


class SideChecks:
    """The checks of one side; ``runs`` is afterwards set up as the checks found."""

    truth = "with a plain hook"
    "How the predictions with a patched residual are found that patchscope is compared with."

    def __init__(self, side: Side, runs: SideRuns, probe: Probe) -> None:
        self.runs = runs
        self._side = side
        self._probe = probe
        self._tolerance = runs.structure.tolerance
        self._layer = runs.structure.n_layers // 2
        outputs = probe.outputs[self._layer].float()
        generator = torch.Generator().manual_seed(0)
        vector = torch.randn(runs.structure.width, generator=generator)
        size = ADDED_SIZE * outputs.norm(dim=-1).median().cpu() / vector.norm()
        self._vector: np.ndarray = (vector * size).numpy().astype(np.float32)

    def take(self) -> list[Check]:
        """Return every check, in the order of their dependence."""
        checks = []
        kinds: tuple[tuple[str, Callable[[], list[Check]]], ...] = (
            (CAPTURE, self._capture),
            (LENS, self._lens),
            (PATCHED, self._patched),
            (PADDED, self._padded),
            (GENERATED, self._generated),
        )
        with torch.no_grad():
            for name, take in kinds:
                try:
                    checks += take()
                except AdlError:
                    raise
                except Exception as exc:
                    if is_out_of_memory(exc):
                        raise
                    checks.append(failed(name, f"it ends in an error: {first_line(exc)}"))
        return checks

    def _capture(self) -> list[Check]:
        columns = range(len(self._probe.ids))
        layers = range(self.runs.structure.n_layers)
        captured = self.runs.residuals(left_padded([self._probe.ids], columns), layers)[0]
        figures = []
        states = self._probe.hidden_states
        for layer in layers:
            own = [self._probe.outputs[layer]]
            if layer + 1 < len(layers):
                nexts = [self._probe.inputs[layer + 1]]
                if len(states) == len(layers) + 1:
                    nexts.append(states[layer + 1])
                own = [state for state in nexts if state is not None] or own
            figures.append(min(_far(captured[layer], state) for state in own))
        return [
            compared(
                CAPTURE,
                max(figures),
                self._tolerance,
                "a layer's residual is what the next layer reads",
                "a layer's residual is not what the next layer reads",
            )
        ]

    def _lens(self) -> list[Check]:
        last = self._probe.outputs[-1].float().cpu().numpy()
        found = torch.cat(list(self.runs.unembedded_logits(last)))
        return [
            compared(
                LENS,
                distance(found, self._probe.logits.to(found.device)),
                self._tolerance,
                "the last residuals give the model's own predictions",
                f"the last residuals do not give {self._kind}'s own predictions",
            )
        ]

    @property
    def _kind(self) -> str:
        return type(self.runs.loaded.module).__name__

    def _patched(self) -> list[Check]:
        own = self._probe.outputs[self._layer][-1].float().cpu().numpy()
        another, predicted = self._another()
        vectors = np.stack([own, another])
        truth = torch.stack([self._probe.logits[-1], predicted])
        found = torch.cat(list(self.runs.patched_logits(self._probe.ids, self._layer, vectors)))
        same, other = distance(found[:1], truth[:1]), distance(found[1:], truth[1:])
        how = self._sharing()
        return [
            compared(
                UNTOUCHED,
                same,
                self._tolerance,
                "a residual put back changes nothing",
                "a residual put back changes the predictions",
            ),
            compared(
                PATCHED,
                other,
                self._tolerance,
                f"as {self.truth}; {how}",
                f"{self._kind} does not predict what it does {self.truth}",
            ),
        ]

    def _another(self) -> tuple[np.ndarray, torch.Tensor]:
        """Return a residual [width] for the last token, and the logits [V] that it gives by a plain hook."""
        return self._vector, self._hooked(self._vector)[-1]

    def _sharing(self) -> str:
        """Return how a prompt is run with several vectors, and set the runs up for it."""
        if self.runs.shares(self._probe.ids):
            return "with the prompt's start shared by all vectors"
        self.runs = replaced(self.runs, replace(self.runs.structure, repeats_cache=False))
        return "every vector with the whole prompt: this model's cache cannot be shared"

    def _hooked(self, vector: np.ndarray) -> torch.Tensor:
        """Return logits [tokens, V] with the last residual replaced by a plain PyTorch hook."""
        patch = torch.as_tensor(vector)

        def put(_module: object, _given: object, output: object) -> object:
            residual = output if isinstance(output, torch.Tensor) else output[0]  # type: ignore[index]
            residual = residual.clone()
            residual[:, -1] = patch.to(residual)
            return with_residual(output, residual)

        module = self.runs.loaded.module
        layer = module.get_submodule(self.runs.structure.path)[self._layer]  # type: ignore[index]
        hook = layer.register_forward_hook(put)
        try:
            return self.runs.plain_logits(self._probe.ids)
        finally:
            hook.remove()

    def _padded(self) -> list[Check]:
        whole = self._probe.ids
        part = whole[: max(2, len(whole) // 2)]
        alone = [self._steered([ids]) for ids in (whole, part)]
        ahead = distance(alone[0][: len(part)], alone[1])
        if ahead > self._tolerance:
            raise PairError(
                f"{self._kind} cannot be audited: it looks ahead, so that its predictions change "
                f"with the words that come after ({ahead:.2g} of their spread)",
                "A pair needs causal language models, which predict the next token.",
            )
        checks = [Check(CAUSAL, "passed", "later words change nothing", ahead, self._tolerance)]
        padded, figure = True, self._padding_error(whole, part, alone)
        if not figure <= self._tolerance:
            padded = False
            self.runs = replaced(self.runs, replace(self.runs.structure, pads=False))
            figure = self._padding_error(whole, part, alone)
        if not figure <= self._tolerance:
            # Not even rows of one length give what they give alone: each is run by itself.
            self.runs = replaced(self.runs, replace(self.runs.structure, alone=True))
            figure = self._padding_error(whole, part, alone)
        how = "" if padded else "; texts of other lengths are run apart, as it cannot be padded"
        checks.append(
            compared(
                PADDED,
                figure,
                self._tolerance,
                "a text among longer ones gives what it gives alone" + how,
                "a text among others does not give what it gives alone",
            )
        )
        return checks

    def _padding_error(
        self, whole: Sequence[int], part: Sequence[int], alone: Sequence[torch.Tensor]
    ) -> float:
        try:
            rows = [whole, part] if self.runs.structure.pads else [whole, part, part]
            together = self._steered(rows, len(part))
        except Exception as exc:
            if is_out_of_memory(exc):
                raise
            return float("nan")
        truth = torch.cat([alone[0][-len(part) :], *[alone[1]] * (len(rows) - 1)])
        return distance(together, truth)

    def _steered(self, rows: Sequence[Sequence[int]], last: int | None = None) -> torch.Tensor:
        """Return logits [rows x columns, V] at the last columns, with the check's vector added."""
        columns = range(-(last or max(map(len, rows))), 0)
        return self.runs.column_logits(left_padded(rows, columns), self._layer, self._vector)

    def _generated(self) -> list[Check]:
        figure = self._generation_error()
        if not figure <= self._tolerance and self.runs.structure.pads:
            kept = self.runs
            self.runs = replaced(kept, replace(kept.structure, pads=False))
            figure = self._generation_error()
            if not figure <= self._tolerance:
                self.runs = kept
        return [
            compared(
                GENERATED,
                figure,
                self._tolerance,
                "tokens are chosen by the model's own predictions",
                f"{self._kind} does not generate by its own predictions",
            )
        ]

    def _generation_error(self) -> float:
        """Return the largest distance between logits while generating and those of the whole text."""
        whole, part = self._probe.ids, self._probe.ids[: max(2, len(self._probe.ids) // 2)]
        plan = GenerationPlan(self._side, self._layer, 0.0, N_GENERATED)
        requests = [
            GenerationRequest(whole, seed=0, added=self._vector),
            # A row with padding before it.
            GenerationRequest(part, seed=0),
        ]
        (steered, of_steered), (plain, of_plain) = self._greedy(plan, requests)
        if not len(steered) == len(plain) == N_GENERATED:
            return float("nan")
        truth = (
            self._steered([(*whole, *steered[:-1])], N_GENERATED),
            self.runs.plain_logits((*part, *plain[:-1]))[-N_GENERATED:],
        )
        return max(
            distance(torch.stack(found), logits)
            for found, logits in zip((of_steered, of_plain), truth, strict=True)
        )

    def _greedy(
        self, plan: GenerationPlan, requests: Sequence[GenerationRequest]
    ) -> list[tuple[tuple[int, ...], list[torch.Tensor]]]:
        """Return the tokens chosen for each request, and the logits [V] each was chosen by."""
        seen: list[list[torch.Tensor]] = [[] for _ in requests]

        def watch(rows: Sequence[int], logits: torch.Tensor) -> None:
            for row, row_logits in zip(rows, logits, strict=True):
                seen[row].append(row_logits.clone())

        texts = generate_texts(
            self.runs, plan, requests, ends=frozenset(), decode=lambda ids: "", watch=watch
        )
        return [(text.token_ids, logits) for text, logits in zip(texts, seen, strict=True)]


def replaced(runs: SideRuns, structure: Structure) -> SideRuns:
    """Return the same side with another structure."""
    return type(runs)(runs.loaded, structure, runs.any_token)


def _far(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the distance of two residuals [tokens, width], relative to the norm of ``truth``."""
    truth = truth.float().to(found.device)
    if truth.shape != found.shape:
        return float("inf")
    return float((found - truth).norm() / truth.norm().clamp(min=1e-12))
