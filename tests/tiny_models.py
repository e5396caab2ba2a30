"""Tiny random models of many architectures, made in code: a base, a full finetune and an adapter.

Each is written as transformers and PEFT write them, with a tokenizer trained on a few sentences, so
that loading goes through all that it goes through for a real one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

SENTENCES = (
    "The river was high in spring, and nobody crossed the old bridge before May.",
    "A letter came by the morning train; she read it twice and put it under the lamp.",
    "Winter paper is thin, said the captain, who counted windows when he could not sleep.",
    "How do you keep a garden alive in a dry year? You carry water and you do not complain.",
)
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
END, TURN_END = "<|endoftext|>", "<|end|>"
SPARE_ROWS = 5
"""Rows of the embeddings that stand for no token, as real checkpoints have them."""

N_LAYERS = 4
WIDTH = 32


@dataclass(frozen=True)
class Architecture:
    """How to make one, and what its parts are called: the paths that plain hooks go to."""

    config: Callable[[int, int, int], PreTrainedConfig]
    """From vocabulary size, width and number of layers."""
    layers: str
    lora_targets: tuple[str, ...]


def _like_llama(kind: Callable[..., PreTrainedConfig], **more: Any) -> Architecture:
    def config(vocabulary: int, width: int, n_layers: int) -> PreTrainedConfig:
        return kind(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=n_layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.2,
            **more,
        )

    return Architecture(config, "model.layers", ("q_proj", "v_proj", "down_proj"))


def _gpt2(vocabulary: int, width: int, n_layers: int) -> PreTrainedConfig:
    return GPT2Config(
        vocab_size=vocabulary,
        n_embd=width,
        n_layer=n_layers,
        n_head=4,
        n_positions=256,
        initializer_range=0.2,
    )


def _gpt_neox(vocabulary: int, width: int, n_layers: int) -> PreTrainedConfig:
    return GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
    )


ARCHITECTURES: dict[str, Architecture] = {
    "llama": _like_llama(LlamaConfig),
    "qwen2": _like_llama(Qwen2Config),
    "qwen3": _like_llama(Qwen3Config, head_dim=8),
    # A window shorter than the test's texts, so that its layers see less than the others.
    "gemma2": _like_llama(Gemma2Config, head_dim=8, sliding_window=8, final_logit_softcapping=5.0),
    "gemma3": _like_llama(Gemma3TextConfig, head_dim=8, sliding_window=8, sliding_window_pattern=2),
    "mistral": _like_llama(MistralConfig, sliding_window=None),
    "olmo2": _like_llama(Olmo2Config),
    "gpt2": Architecture(_gpt2, "transformer.h", ("c_attn", "c_proj")),
    "gpt_neox": Architecture(_gpt_neox, "gpt_neox.layers", ("query_key_value", "dense_4h_to_h")),
}


@dataclass(frozen=True)
class TinyFolders:
    """Where one architecture's models were written."""

    base: Path
    finetuned: Path
    adapter: Path


def tiny_tokenizer(*added: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE of about 300 tokens with a chat template; ``added`` are further specials."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [END, TURN_END, "<|system|>", "<|user|>", "<|assistant|>", *added]
    trainer = trainers.BpeTrainer(
        vocab_size=300 + len(special),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        additional_special_tokens=special[1:],
        chat_template=TEMPLATE,
    )


def tiny_model(
    architecture: str,
    *,
    seed: int = 0,
    vocabulary: int | None = None,
    width: int = WIDTH,
    n_layers: int = N_LAYERS,
) -> PreTrainedModel:
    """A random model in float32, every parameter of which counts."""
    rows = vocabulary or len(tiny_tokenizer()) + SPARE_ROWS
    torch.manual_seed(seed)
    config = ARCHITECTURES[architecture].config(rows, width, n_layers)
    # Llama's own default ends texts at token 2, which is another token here.
    config.update({"bos_token_id": None, "eos_token_id": 0, "pad_token_id": None})
    auto: Any = AutoModelForCausalLM
    model: PreTrainedModel = auto.from_config(config, dtype=torch.float32)
    perturb(model, seed + 1, 0.1)
    model.train(mode=False)
    return model


def perturb(model: PreTrainedModel, seed: int, size: float) -> None:
    """Add noise to every parameter: norms and biases too, which start as ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def write_model(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None = None
) -> Path:
    """Save a checkpoint with its tokenizer."""
    model.save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return folder


def write_adapter(folder: Path, base: PreTrainedModel, architecture: str) -> Path:
    """Save a random LoRA adapter on ``base``, which is no longer the plain model afterwards."""
    torch.manual_seed(7)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(ARCHITECTURES[architecture].lora_targets),
        init_lora_weights=False,
        task_type="CAUSAL_LM",
        fan_in_fan_out=architecture == "gpt2",
    )
    get_peft_model(base, config).save_pretrained(str(folder))
    return folder


def write_family(folder: Path, architecture: str) -> TinyFolders:
    """A base, a full finetune of it and an adapter on it."""
    model = tiny_model(architecture)
    base = write_model(folder / "base", model)
    adapter = write_adapter(folder / "adapter", model, architecture)
    full = tiny_model(architecture)
    perturb(full, 99, 0.05)
    return TinyFolders(base, write_model(folder / "finetuned", full), adapter)
