"""How fast, side by side in one run: ratios, since seconds differ from machine to machine.

Each of the workbench's ways stands beside the plain one it replaces: 128 tokens through the whole
model, one patchscope run per position, prompt, scale and sign, bare transformers generation, and two
copies of the weights. Both sides of a ratio are run alternately, and the median is taken.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from adl.difference import measure_difference
from adl.organisms.registry import get_organism
from adl.pair.nnsight.demo import prepared_base
from adl.pair.nnsight.pair import NnsightPair
from adl.readings.patchscope import IDENTITY_PROMPTS, SCALES, sweep
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.corpus import CorpusSource
from adl.text.prompts import everyday_prompts
from workbench.locations import find_locations

LAYER = 14
ROUNDS = 3
POSITIONS = ("0", "1", "2", "3", "4")
NEW_TOKENS = 30
SAMPLED_RUNS = 45


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(ours: Callable[[], object], plain: Callable[[], object]) -> float:
    """Seconds of ``plain`` per second of ``ours``, both run alternately after a warm-up."""
    ours()
    plain()
    pairs = [(seconds(ours), seconds(plain)) for _ in range(ROUNDS)]
    return statistics.median(plain_time / our_time for our_time, plain_time in pairs)


def difference(pair: NnsightPair) -> float:
    """Texts per second at k=5 and one layer, over those of 128 tokens through both whole models."""
    texts = CorpusSource.parse(None).open().texts(0, 512)
    long_ids = torch.randint(100, 40_000, (4, 128), generator=torch.Generator().manual_seed(0))
    loaded = pair._loaded

    def plain() -> None:
        for side in (loaded.base, loaded.finetuned):
            side.use()
            with torch.no_grad():
                side.module(long_ids, output_hidden_states=True)

    per_text = ratio(lambda: measure_difference(pair, texts, [LAYER]), plain)
    return per_text * len(texts) / len(long_ids)


def patchscope(pair: NnsightPair) -> float:
    """A sweep of 30 scales, 3 prompts, 5 positions, over one run per each of those.

    The plain way is timed on a tenth of its 450 runs per side, and multiplied.
    """
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(POSITIONS), pair.provenance.width)).astype(np.float32)
    prompts = [pair.tokenise("base", prompt) for prompt in IDENTITY_PROMPTS]
    layer = pair._loaded.base.module.get_decoder().layers[LAYER]

    def plain() -> None:
        for run in range(SAMPLED_RUNS):
            vector = torch.as_tensor(vectors[run % len(vectors)])

            def replace_last(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
                out[:, -1] = vector  # noqa: B023 - the hook is gone before the next run
                return out

            for side in (pair._loaded.base, pair._loaded.finetuned):
                side.use()
                hook = layer.register_forward_hook(replace_last)
                with torch.no_grad():
                    side.module(torch.as_tensor([prompts[run % len(prompts)]]))
                hook.remove()

    def swept() -> None:
        for vector in vectors:
            for _point in sweep(pair, LAYER, vector):
                pass

    whole = len(SCALES) * len(IDENTITY_PROMPTS) * len(POSITIONS)
    return ratio(swept, plain) * (whole / SAMPLED_RUNS)


def steering(pair: NnsightPair) -> float:
    """Batched steering's time over bare transformers generation of the same number of tokens."""
    chats = [pair.chat("finetuned", prompt.messages) for prompt in everyday_prompts()[:8]]
    length = max(len(chat.ids) for chat in chats)
    ids = np.zeros((len(chats), length), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, chat in enumerate(chats):
        ids[row, length - len(chat.ids) :] = chat.ids
        mask[row, length - len(chat.ids) :] = 1
    rng = np.random.default_rng(0)
    added = rng.standard_normal(pair.provenance.width).astype(np.float32)
    requests = [GenerationRequest(chat.ids, 0, added) for chat in chats]
    plan = GenerationPlan("finetuned", LAYER, 0.0, NEW_TOKENS)
    produced: dict[str, int] = {}

    def ours() -> None:
        texts = pair.generate(plan, requests)
        produced["steps"] = max(len(text.token_ids) for text in texts)

    def plain() -> None:
        pair._loaded.finetuned.use()
        steps = produced["steps"]
        with torch.no_grad():
            pair._loaded.finetuned.module.generate(
                input_ids=torch.as_tensor(ids),
                attention_mask=torch.as_tensor(mask),
                max_new_tokens=steps,
                min_new_tokens=steps,
                do_sample=False,
                pad_token_id=2,
            )

    return 1 / ratio(ours, plain)


def memory(pair: NnsightPair) -> float:
    """Bytes of the adapter pair's weights over those of its base alone."""
    module = pair._loaded.base.module
    adapter = sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in module.named_parameters()
        if "lora_" in name
    )
    whole = pair.memory()["weights"]
    return whole / (whole - adapter)


def main() -> int:
    """Print the table as Markdown."""
    base = str(prepared_base(find_locations().models))
    adapter = get_organism("cake_bake").adapter
    pair = NnsightPair.load(
        PairSpec(SideSpec(base), SideSpec(base, adapter=adapter), dtype="float32")
    )
    print(f"{torch.get_num_threads()} threads, {pair.provenance.devices[0]}\n")
    print("| what | ratio | aim |\n|---|---|---|")
    print(f"| difference at k=5: texts per second, times plain | {difference(pair):.0f} | >= 50 |")
    print(f"| patchscope sweep: times faster than plain runs | {patchscope(pair):.1f} | >= 5 |")
    print(f"| batched steering: time over bare generation | {steering(pair):.2f} | <= 1.2 |")
    print(f"| adapter pair: memory over one model | {memory(pair):.3f} | <= 1.15 |")
    return 0
