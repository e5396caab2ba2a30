"""Every causal language model of transformers that can be made tiny: exact, or refused by name.

The reference is the model by itself with plain PyTorch hooks. Which readings each has is what the
table of docs/pairs.md says; it is written by ``python -m tests.adl.test_every_architecture``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import GenerationConfig, PreTrainedModel

from adl.errors import NotAvailable, PairError
from adl.pair.nnsight.loading import LoadedPair, LoadedSide, package_versions, wrap
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.structure import most_positions
from adl.records import GenerationPlan, GenerationRequest, PairProvenance, SideProvenance
from adl.text.token_batches import TokenBatch
from tests.tiny_causal import KINDS, made
from tests.tiny_models import SENTENCES, perturb, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
CLOSE = 2e-3
DOCS = Path(__file__).parents[2] / "docs" / "pairs.md"
HEADING = "## Architectures\n"
NOT_TRIED = "not tried: it cannot be made tiny by rules"
READINGS = ("residuals", "logit lens", "patchscope", "steering", "generation")
LAYER = 1
# The tiny configs are made for 256 tokens, where they say so.
MORE_THAN_CONFIGS_HAVE = 300


def pair_of(model: PreTrainedModel, tuned: PreTrainedModel | None = None) -> NnsightPair:
    """A pair of the model and a full finetune of it, without a detour over the disk."""
    for module in (model, *([tuned] if tuned is not None else [])):
        module.generation_config = GenerationConfig(eos_token_id=0, pad_token_id=0)
    if tuned is None:
        tuned = copy.deepcopy(model)
        perturb(tuned, 9, 0.02)
    sides = [
        LoadedSide(wrap(module, TOKENIZER), TOKENIZER, adapted=False) for module in (model, tuned)
    ]
    side = SideProvenance(
        *("tiny", None, None, None, None, None, None, "", None),
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        vocabulary_size=len(TOKENIZER),
    )
    config = model.config.get_text_config()
    provenance = PairProvenance(
        *(side, side, config.num_hidden_layers, config.hidden_size, "float32", ("cpu",)),
        attn_implementation=None,
        quantisation=None,
        shares_weights=False,
        versions=package_versions(),
    )
    return NnsightPair(LoadedPair(*sides, provenance))


class Hooked:
    """A model by itself, with plain hooks on its layers."""

    def __init__(self, model: PreTrainedModel, path: str) -> None:
        self.model: Any = model
        self._layers: Any = model.get_submodule(path)

    @contextmanager
    def changing(self, layer: int, change: Any) -> Iterator[None]:
        def hook(_module: Any, _given: Any, output: Any) -> Any:
            residual = output if isinstance(output, torch.Tensor) else output[0]
            changed = change(residual)
            return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

        handle = self._layers[layer].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]

    def log_probs(self, ids: Sequence[int]) -> np.ndarray:
        return torch.log_softmax(self.logits(ids), -1)[:, : len(TOKENIZER)].numpy()

    def residual(self, ids: Sequence[int], layer: int) -> np.ndarray:
        seen = []
        with self.changing(layer, lambda residual: seen.append(residual[0].clone()) or residual):
            self.logits(ids)
        return seen[0].numpy()


def put_last(vector: np.ndarray) -> Any:
    def change(residual: torch.Tensor) -> torch.Tensor:
        residual = residual.clone()
        residual[:, -1] = torch.as_tensor(vector)
        return residual

    return change


def batch_of(rows: Sequence[Sequence[int]], columns: Sequence[int]) -> TokenBatch:
    width = max(map(len, rows))
    ids, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), bool)
    for row, tokens in enumerate(rows):
        ids[row, width - len(tokens) :] = tokens
        mask[row, width - len(tokens) :] = True
    return TokenBatch(ids, mask, tuple(map(str, columns)), tuple(width + c for c in columns))


def judged(kind: str, model: PreTrainedModel) -> tuple[str, str]:
    """("exact", ""), ("partly", what is off) or ("refused", why).

    Raises AssertionError for a number that is not the reference's.
    """
    try:
        pair = pair_of(model)
    except PairError as exc:
        return "refused", exc.message
    plain = Hooked(pair._loaded.finetuned.module, pair._runs["finetuned"].structure.path)
    rows = [TOKENIZER.encode(SENTENCES[0])[:12], TOKENIZER.encode(SENTENCES[1])[:7]]
    vector = np.random.default_rng(0).standard_normal((2, pair.provenance.width))
    vector = (3 * vector).astype(np.float32)
    last = pair.provenance.n_layers - 1

    def residuals() -> float:
        batch = batch_of(rows, (-3, -1))
        sums = pair.residual_sums(batch, batch, (LAYER,), np.arange(2))
        truth = [plain.residual(row, LAYER)[[-3, -1]] for row in rows]
        return max(
            float(np.abs(found[0] - true).max() / max(1, np.abs(true).max()))
            for found, true in zip(sums.finetuned, truth, strict=True)
        )

    def lens() -> float:
        found = pair.unembed("finetuned", plain.residual(rows[0], last))
        return far(found, plain.log_probs(rows[0]))

    def patchscope() -> float:
        found = pair.patched_log_probs("finetuned", rows[0], LAYER, vector)
        truth = []
        for one in vector:
            with plain.changing(LAYER, put_last(one)):
                truth.append(plain.log_probs(rows[0])[-1])
        return far(found, np.stack(truth))

    def steering() -> float:
        found = pair.steering_shift("finetuned", batch_of(rows, (-1,)), LAYER, vector[:1])
        before = np.stack([plain.log_probs(row)[-1] for row in rows])
        with plain.changing(LAYER, lambda residual: residual + torch.as_tensor(vector[0])):
            after = np.stack([plain.log_probs(row)[-1] for row in rows])
        return far(found.shift[0], (after - before).sum(0))

    def generation() -> float:
        requests = [
            GenerationRequest(tuple(rows[1]), 0),
            GenerationRequest(tuple(rows[0]), 0, added=vector[0]),
        ]
        texts = pair.generate(GenerationPlan("finetuned", LAYER, 0.0, 3), requests)
        deficits, n_tokens = [0.0], len(pair.token_texts("finetuned"))
        for request, text in zip(requests, texts, strict=True):
            ids = list(request.prompt_ids)
            for token in text.token_ids:
                added = 0 * vector[0] if request.added is None else request.added
                with plain.changing(LAYER, lambda residual, v=added: residual + torch.as_tensor(v)):
                    row = torch.log_softmax(plain.logits(ids)[-1], -1)[:n_tokens]
                deficits.append(float(row.max() - row[token]))
                ids.append(token)
        return max(deficits)

    off = []
    for name, measure in zip(
        READINGS, (residuals, lens, patchscope, steering, generation), strict=True
    ):
        try:
            error = measure()
        except NotAvailable:
            off.append(name)
        else:
            assert error < CLOSE, f"{kind}: {name} is off by {error:.3g}"
    return ("partly", ", ".join(off)) if off else ("exact", "")


def far(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(found.clip(-100) - truth.clip(-100)).max())


def verdict_of(kind: str) -> str:
    """The words of the table for one architecture."""
    try:
        model = made(kind)
    except ValueError:
        return NOT_TRIED
    verdict, why = judged(kind, model)
    if verdict == "refused":
        # Without the name of the class and the figure, which each has its own of.
        return f"refused: it {re.sub(r' [(].*[)]$', '', why.partition(': it ')[2])}"
    check_longest_text(model)
    return f"exact, but there is no {why}" if verdict == "partly" else "exact"


def check_longest_text(model: PreTrainedModel) -> None:
    """Check that the model reads as many tokens as it is said to, and no more."""

    def read(n_tokens: int) -> None:
        with torch.no_grad():
            model(input_ids=torch.full((1, n_tokens), 5), use_cache=False)

    limit = most_positions(model)
    read(limit or MORE_THAN_CONFIGS_HAVE)
    if limit is not None:
        with pytest.raises((IndexError, RuntimeError)):
            read(limit + 1)


def table() -> dict[str, str]:
    """The verdict on each architecture in docs/pairs.md."""
    section = DOCS.read_text().partition(HEADING)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return {kind: words for words, kinds in rows for kind in re.findall("`(.+?)`", kinds)}


def test_at_least_sixty_are_exact_in_everything():
    assert sum(words == "exact" for words in table().values()) >= 60


@pytest.mark.parametrize(
    "kind",
    # A third with every run of the tests; a fault of one alone is found by the slow ones.
    [pytest.param(kind, marks=[pytest.mark.slow] * (at % 3 != 0)) for at, kind in enumerate(KINDS)],
)
def test_exact_or_refused_by_name_as_the_table_has_it(kind):
    found = verdict_of(kind)
    # Of another version of transformers, which has others, none may be wrong without a word.
    if kind in table() and f"transformers {transformers.__version__}" in DOCS.read_text():
        assert found == table()[kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
        ("granite", {"logits_scaling": 4.0, "residual_multiplier": 0.5}),
        ("cohere", {"logit_scale": 0.25}),
        ("falcon_h1", {"lm_head_multiplier": 0.03}),
        ("gemma3_text", {"final_logit_softcapping": 2.0}),
        ("falcon", {"alibi": True, "new_decoder_architecture": False}),
        ("qwen3_next", {"layer_types": ["linear_attention", "full_attention"] * 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_factors_and_forms_of_single_checkpoints_are_exact(kind, more):
    model = made(kind, **more)
    for name, value in more.items():
        assert getattr(model.config, name) == value
    assert judged(kind, model) == ("exact", "")


def rewritten() -> str:
    """The table's section, with what every architecture is found to be."""
    by_verdict: dict[str, list[str]] = {}
    for kind in KINDS:
        by_verdict.setdefault(verdict_of(kind), []).append(kind)
    order = sorted(by_verdict, key=lambda words: (words == NOT_TRIED, words != "exact", words))
    rows = [
        f"| {words} | {', '.join(f'`{kind}`' for kind in sorted(by_verdict[words]))} |"
        for words in order
    ]
    return "\n".join(["| | model types |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":
    text = DOCS.read_text()
    before, _, rest = text.partition(HEADING)
    prose, _, _ = rest.partition("\n| | model types |")
    _, found, after = rest.partition("\n## ")
    DOCS.write_text(f"{before}{HEADING}{prose}\n{rewritten()}{found}{after}")
