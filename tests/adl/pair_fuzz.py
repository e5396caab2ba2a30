"""Random pairs with random adapters and planted faults, and the same pairs by plain transformers and PEFT.

Everything hangs on the seed. A pair ends in one of two ways: its numbers are those of the plain models, or
an ``AdlError`` says what is wrong. A traceback, or a number that is another, is a fault of ours.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adl.difference import sums_that_fit
from adl.errors import AdlError
from adl.pair.nnsight.pair import NnsightPair
from adl.records import SIDES, PairSpec, SideSpec
from adl.text.token_batches import TokenBatch
from tests.tiny_models import (
    ARCHITECTURES,
    N_LAYERS,
    SENTENCES,
    WIDTH,
    perturb,
    tiny_model,
    tiny_tokenizer,
    write_model,
)

# Float32 through four random layers; a wrong adapter is off by tenths at least.
CLOSE = 2e-3

ATTENTION = {"gpt2": ["c_attn"], "gpt_neox": ["query_key_value"]}
HEADS = {"gpt2": "lm_head", "gpt_neox": "embed_out"}
EMBEDDINGS = {"gpt2": "wte", "gpt_neox": "embed_in"}
FINAL_NORMS = {"gpt2": "ln_f", "gpt_neox": "final_layer_norm"}


@dataclass
class Made:
    """A pair on disk: what to load, how the plain finetuned model is loaded, and what was planted.

    ``expected`` is "exact" (plain and ours must agree), "refused" (any numbers would be wrong), or
    "either" (exact or refused, as long as it is said). ``truth`` is the finetuned folder or adapter as it
    was before a fault that may be put right.
    """

    base: Path
    spec: PairSpec
    finetuned: Path
    adapter: Path | None
    what: str
    expected: str = "either"
    truth: Path | None = None


# --- making ---------------------------------------------------------------------------------------


def make_pair(folder: Path, seed: int) -> Made:
    """Write the pair of a seed."""
    chance = random.Random(seed)
    name = chance.choice(list(ARCHITECTURES))
    base = write_model(folder / "base", tiny_model(name, seed=seed))
    if chance.random() < 0.6:
        made = _with_adapter(folder, base, name, chance)
    else:
        full = tiny_model(name, seed=seed)
        perturb(full, seed + 50, chance.choice([0.01, 0.05, 0.2]))
        finetuned = write_model(folder / "finetuned", full)
        spec = PairSpec(SideSpec(str(base)), SideSpec(str(finetuned)))
        made = Made(base, spec, finetuned, None, f"{name}, full checkpoint", "exact")
    for vary in VARIATIONS:
        if chance.random() < 0.1 and vary(made, chance):
            made.what += f", {vary.__name__.removeprefix('_').replace('_', ' ')}"
    if chance.random() < 0.5:
        plant, expected = chance.choice(FAULTS)
        if plant(made, chance):
            made.what += f", {plant.__name__.removeprefix('_').replace('_', ' ')}"
            made.expected = expected
    return made


def _with_adapter(folder: Path, base: Path, name: str, chance: random.Random) -> Made:
    kind, settings, adapted = _adapted(base, name, chance)
    generator = torch.Generator().manual_seed(chance.randrange(1000))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad and parameter.dtype.is_floating_point:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    adapter = folder / "adapter"
    adapted.save_pretrained(str(adapter))
    spec = PairSpec(SideSpec(str(base)), SideSpec(str(base), adapter=str(adapter)))
    return Made(base, spec, base, adapter, f"{name}, {kind.__name__} {settings}")


def _adapted(
    base: Path, name: str, chance: random.Random
) -> tuple[Callable[..., Any], dict[str, Any], Any]:
    """The first draw that PEFT itself takes on this architecture."""
    while True:
        kind, settings = _adapter_config(name, chance)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        torch.manual_seed(chance.randrange(1000))
        try:
            return kind, settings, get_peft_model(model, kind(task_type="CAUSAL_LM", **settings))
        except (TypeError, ValueError):
            continue


def _adapter_config(name: str, chance: random.Random) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A type of adapter and settings for it."""
    targets = list(ARCHITECTURES[name].lora_targets)
    attention = ATTENTION.get(name, ["q_proj", "v_proj"])
    kinds = {str(kind.value): made for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    lora = {"r": chance.choice([1, 4, 8]), "lora_alpha": chance.choice([1, 8, 32])}
    # Three draws in five are a LoRA of some kind, as in the world.
    if chance.random() < 0.6:
        extra = chance.choice(
            [
                {},
                {"use_rslora": True},
                {"use_dora": True},
                {"bias": "all"},
                {"bias": "lora_only"},
                {"init_lora_weights": "pissa"},
                {"init_lora_weights": "olora"},
                {"init_lora_weights": "orthogonal"},
                {"lora_bias": True},
                {"layers_to_transform": [1, 2]},
                {"rank_pattern": {targets[0]: 2}, "alpha_pattern": {targets[0]: 5}},
                {"modules_to_save": [HEADS.get(name, "lm_head")]},
                {"modules_to_save": [EMBEDDINGS.get(name, "embed_tokens")]},
                {"modules_to_save": [FINAL_NORMS.get(name, "norm")]},
                {"trainable_token_indices": [3, 5]},
                {"target_modules": "all-linear"},
                {"target_modules": [*targets, HEADS.get(name, "lm_head")]},
                {"target_modules": [*targets, EMBEDDINGS.get(name, "embed_tokens")]},
                {"layer_replication": [[0, 2], [1, 4]]},
                {"alora_invocation_tokens": [3]},
            ]
        )
        return kinds["LORA"], {
            "target_modules": targets,
            "init_lora_weights": False,
            **lora,
            **extra,
        }
    others: dict[str, dict[str, Any]] = {
        "ADALORA": {"target_modules": targets, "total_step": 10, "init_r": 4},
        "IA3": {"target_modules": attention, "feedforward_modules": []},
        "LOHA": {"target_modules": targets, "r": 2, "alpha": 4},
        "LOKR": {"target_modules": targets, "r": 2, "alpha": 4},
        "OFT": {"target_modules": attention, "oft_block_size": 4},
        "BOFT": {"target_modules": attention, "boft_block_size": 4},
        "VERA": {"target_modules": attention[:1], "r": 4},
        "FOURIERFT": {"target_modules": attention, "n_frequency": 20},
        "HRA": {"target_modules": attention, "r": 4},
        "LN_TUNING": {"target_modules": [FINAL_NORMS.get(name, "norm")]},
        "MISS": {"target_modules": attention, "r": 4},
        "SHIRA": {"target_modules": attention, "r": 2},
        "TRAINABLE_TOKENS": {"token_indices": [3, 5]},
        "PROMPT_TUNING": {"num_virtual_tokens": 3},
        "PREFIX_TUNING": {"num_virtual_tokens": 3},
        "RANDLORA": {"target_modules": attention, "r": 4},
    }
    kind = chance.choice(list(others))
    return kinds[kind], others[kind]


# --- other ways of saving the same ----------------------------------------------------------------


def _weights_in_pickles(made: Made, chance: random.Random) -> bool:
    """The pair must read what PEFT and transformers read: here, the form before safetensors."""
    if made.adapter is None:
        return False
    path = _weights(made)
    torch.save(load_file(path), path.with_name("adapter_model.bin"))
    path.unlink()
    return True


def _weights_in_half_precision(made: Made, chance: random.Random) -> bool:
    if made.adapter is None or not _weights(made).exists():
        return False
    _rewrite(
        _weights(made),
        lambda tensors: {
            key: value.bfloat16() if value.is_floating_point() else value
            for key, value in tensors.items()
        },
    )
    return True


def _checkpoint_in_shards(made: Made, chance: random.Random) -> bool:
    model: Any = AutoModelForCausalLM.from_pretrained(made.base, dtype=torch.float32)
    (made.base / "model.safetensors").unlink()
    model.save_pretrained(made.base, max_shard_size="20KB")
    return True


def _another_size_beside_it(made: Made, chance: random.Random) -> bool:
    """A second set of weights in the base's folder, which loading must not take."""
    model: Any = AutoModelForCausalLM.from_pretrained(made.base, dtype=torch.float32)
    perturb(model, 3, 0.5)
    torch.save(model.state_dict(), made.base / "pytorch_model.bin")
    return True


VARIATIONS = (
    _weights_in_pickles,
    _weights_in_half_precision,
    _checkpoint_in_shards,
    _another_size_beside_it,
)


# --- faults ---------------------------------------------------------------------------------------


def _weights(made: Made) -> Path:
    folder = made.adapter or made.finetuned
    return next(iter(sorted(folder.glob("*model*.safetensors"))), folder / "adapter_model.bin")


def _read(path: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    )
    return tensors


def _rewrite(
    path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    tensors = change(_read(path))
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)


def _config(made: Made) -> Path:
    return (made.adapter or made.finetuned) / (
        "adapter_config.json" if made.adapter else "config.json"
    )


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _weights_cut_short(made: Made, chance: random.Random) -> bool:
    path = _weights(made)
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])
    return True


def _weights_are_a_pointer(made: Made, chance: random.Random) -> bool:
    _weights(made).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    return True


def _tensors_missing(made: Made, chance: random.Random) -> bool:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        names = sorted(key for key in tensors if "layers" in key or ".h." in key)
        lost = set(chance.sample(names, min(len(names), chance.choice([1, 3]))))
        return {key: value for key, value in tensors.items() if key not in lost}

    if made.adapter is not None and "VERA" in made.what.upper():
        return False
    before = set(_read(_weights(made)))
    _rewrite(_weights(made), change)
    return before != set(_read(_weights(made)))


def _keys_with_another_prefix(made: Made, chance: random.Random) -> bool:
    folder = made.adapter or made.finetuned
    made.truth = shutil.copytree(folder, folder.with_name("truth"))
    prefix = chance.choice(["module.", "_orig_mod.", "wrapped."])
    _rewrite(
        _weights(made), lambda tensors: {prefix + key: value for key, value in tensors.items()}
    )
    return True


def _not_a_number(made: Made, chance: random.Random) -> bool:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        floats = sorted(key for key, value in tensors.items() if value.is_floating_point())
        key = chance.choice(floats)
        flat = tensors[key].clone().flatten()
        flat[chance.randrange(len(flat))] = chance.choice([float("nan"), float("inf")])
        return {**tensors, key: flat.reshape(tensors[key].shape)}

    _rewrite(_weights(made), change)
    return True


def _config_cut_short(made: Made, chance: random.Random) -> bool:
    text = _config(made).read_text()
    _config(made).write_text(text[: chance.randrange(1, len(text) - 2)])
    return True


def _config_of_nonsense(made: Made, chance: random.Random) -> bool:
    _config(made).write_text(chance.choice(["[]", "null", "3", '"x"', "{}"]))
    return True


def _config_missing(made: Made, chance: random.Random) -> bool:
    _config(made).unlink()
    return True


def _weights_missing(made: Made, chance: random.Random) -> bool:
    _weights(made).unlink()
    return True


def _tokenizer_missing(made: Made, chance: random.Random) -> bool:
    for path in made.finetuned.glob("tokenizer*"):
        path.unlink()
    return True


def _finetuned_folder_holds_an_adapter(made: Made, chance: random.Random) -> bool:
    if made.adapter is not None:
        return False
    _lora_into(made.finetuned, made.finetuned)
    return True


def _base_folder_holds_an_adapter(made: Made, chance: random.Random) -> bool:
    _lora_into(made.base, made.base)
    return True


def _lora_into(checkpoint: Path, folder: Path) -> None:
    from peft import LoraConfig

    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    config = LoraConfig(
        r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    kept = folder.parent / "kept"
    get_peft_model(model, config).save_pretrained(str(kept))
    for path in kept.glob("adapter_*"):
        shutil.copy(path, folder / path.name)


def _another_number_of_layers(made: Made, chance: random.Random) -> bool:
    if made.adapter is not None:
        return False
    name = made.what.split(",")[0]
    shutil.rmtree(made.finetuned)
    write_model(made.finetuned, tiny_model(name, n_layers=N_LAYERS - 1))
    return True


def _another_width(made: Made, chance: random.Random) -> bool:
    name = made.what.split(",")[0]
    folder = made.finetuned if made.adapter is None else made.base
    shutil.rmtree(folder)
    write_model(folder, tiny_model(name, width=2 * WIDTH))
    return True


def _layers_counted_wrongly(made: Made, chance: random.Random) -> bool:
    if made.adapter is not None:
        return False
    key = "n_layer" if made.what.startswith("gpt2,") else "num_hidden_layers"
    _edit(
        made.finetuned / "config.json",
        **{key: N_LAYERS + chance.choice([-1, 1]), "layer_types": None},
    )
    return True


def _unknown_type_of_model(made: Made, chance: random.Random) -> bool:
    folder = made.finetuned
    _edit(folder / "config.json", model_type=chance.choice(["no_such_model", "t5", "vit"]))
    return True


def _unknown_type_of_adapter(made: Made, chance: random.Random) -> bool:
    if made.adapter is None:
        return False
    _edit(made.adapter / "adapter_config.json", peft_type=chance.choice(["NO_SUCH", "", None, 3]))
    return True


def _unknown_settings_of_the_adapter(made: Made, chance: random.Random) -> bool:
    if made.adapter is None:
        return False
    _edit(made.adapter / "adapter_config.json", a_setting_of_tomorrow=True)
    return True


def _adapter_of_another_base(made: Made, chance: random.Random) -> bool:
    if made.adapter is None:
        return False
    _edit(made.adapter / "adapter_config.json", base_model_name_or_path="somebody/else-7b")
    return True


def _targets_that_are_not_there(made: Made, chance: random.Random) -> bool:
    if made.adapter is None or "target_modules" not in made.what:
        return False
    _edit(made.adapter / "adapter_config.json", target_modules=["no_such_module"])
    return True


def _another_basis(made: Made, chance: random.Random) -> bool:
    """A permutation of the residual stream that leaves the outputs of a llama as they are."""
    if made.adapter is not None or not made.what.startswith("llama,"):
        return False
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(chance.randrange(1000)))

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = {}
        for key, value in tensors.items():
            if any(part in key for part in ("o_proj", "down_proj", "norm")):
                found[key] = value[order].contiguous()
            else:
                found[key] = value[:, order].contiguous()
        return found

    _rewrite(made.finetuned / "model.safetensors", change)
    return True


#: What is planted, and how the pair must end.
FAULTS: tuple[tuple[Callable[[Made, random.Random], bool], str], ...] = (
    (_weights_cut_short, "refused"),
    (_weights_are_a_pointer, "refused"),
    (_tensors_missing, "refused"),
    (_keys_with_another_prefix, "either"),
    (_not_a_number, "either"),
    (_config_cut_short, "refused"),
    (_config_of_nonsense, "refused"),
    (_config_missing, "refused"),
    (_weights_missing, "refused"),
    (_tokenizer_missing, "either"),
    (_finetuned_folder_holds_an_adapter, "refused"),
    (_base_folder_holds_an_adapter, "refused"),
    (_another_number_of_layers, "refused"),
    (_another_width, "refused"),
    (_layers_counted_wrongly, "refused"),
    (_unknown_type_of_model, "refused"),
    (_unknown_type_of_adapter, "refused"),
    (_unknown_settings_of_the_adapter, "said"),
    (_adapter_of_another_base, "said"),
    (_targets_that_are_not_there, "refused"),
    (_another_basis, "another basis"),
)


# --- comparing ------------------------------------------------------------------------------------


def outcome(made: Made) -> str:
    """How the pair ends: "exact", "refused: ..." or "WRONG: ..."; any exception but ours goes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pair = NnsightPair.load(made.spec)
        except AdlError as exc:
            if len(exc.message) < 10 or not exc.hint:
                return f"WRONG: an error without a way out: {exc}"
            return f"refused: {exc}"
        if made.expected == "refused":
            return "WRONG: loaded"
        if made.expected == "said" and not pair.provenance.mismatches:
            return "WRONG: nothing is said"
        finetuned, adapter = made.finetuned, made.adapter
        if made.truth is not None:
            finetuned, adapter = (finetuned, made.truth) if adapter else (made.truth, None)
        plain = {"base": _plain(made.base), "finetuned": _plain(finetuned, adapter)}
        return _compared(made, pair, plain)


def _plain(folder: Path, adapter: Path | None = None) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()


def _compared(made: Made, pair: NnsightPair, plain: dict[str, Any]) -> str:
    ids = pair.tokenise("base", SENTENCES[0])[:10]
    row = np.asarray([ids], dtype=np.int64)
    batch = TokenBatch(
        row, np.ones_like(row, dtype=bool), tuple(map(str, range(10))), tuple(range(10))
    )
    layers = tuple(range(N_LAYERS - 1))
    hidden, log_probs = {}, {}
    for side in SIDES:
        with torch.no_grad():
            out = plain[side](
                input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False
            )
        hidden[side] = torch.stack([out.hidden_states[layer + 1][0] for layer in layers]).numpy()
        log_probs[side] = torch.log_softmax(out.logits[0].float(), -1).numpy()
    refused = []

    def compare(what: str, ours: Callable[[], np.ndarray], truth: np.ndarray) -> str:
        try:
            found = ours()
        except AdlError as exc:
            refused.append(f"{what}: {exc}")
            return ""
        error = float(np.abs(found - truth).max() / max(1.0, float(np.abs(truth).max())))
        return "" if error < CLOSE else f"WRONG: {what} is off by {error:.3g}"

    zero = np.zeros(1, dtype=np.int64)
    n = len(tiny_tokenizer())
    shift = (log_probs["finetuned"] - log_probs["base"])[:, :n].sum(0)
    wrong = [
        compare(
            f"residuals of {side}",
            lambda side=side: getattr(sums_that_fit(pair, batch, batch, layers, zero), side)[0],
            hidden[side],
        )
        for side in SIDES
    ]
    if made.expected == "another basis" and len(refused) < len(SIDES):
        words = " ".join(pair.provenance.mismatches)
        if "basis" not in words:
            return "WRONG: another basis, and nothing is said"
    wrong.append(compare("output shift", lambda: pair.output_shift(batch, batch).shift[0], shift))
    for side in SIDES:
        vector = hidden[side][1, -1:]
        wrong.append(
            compare(
                f"patchscope of {side}",
                lambda side=side, vector=vector: pair.patched_log_probs(side, ids, 1, vector)[0],
                log_probs[side][-1, :n],
            )
        )
    found = [line for line in wrong if line]
    if found:
        return "; ".join(found)
    return "exact" if not refused else f"refused in part: {'; '.join(refused)}"
