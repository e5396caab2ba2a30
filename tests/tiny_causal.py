"""Every causal language model of transformers that can be made tiny without knowing it.

Sizes are told by how config fields are called. What no rule fits, or comes out too large, is left out;
``made`` says why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.tiny_models import N_LAYERS, SPARE_ROWS, WIDTH, perturb, tiny_tokenizer

KINDS: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
ROWS = len(tiny_tokenizer()) + SPARE_ROWS
LARGEST = 3_000_000

_SIZES: tuple[tuple[str, int], ...] = (
    (r"(vocab_size|vocab_size_per_layer_input)$", ROWS),
    (
        r"^(num_hidden_layers|n_layers?|num_layers|(en|de)coder_layers|num_decoder_layers)$",
        N_LAYERS,
    ),
    (r"^(hidden_size|n_embd|d_model|model_dim|dim|emb_dim|embedding_size|embedding_dim)$", WIDTH),
    (r"^(word_embed_proj_dim|attention_hidden_size|lru_width|hidden_dim)$", WIDTH),
    (r"(intermediate_size|ffn_dim|n_inner|d_ff|ffn_hidden_size|mlp_hidden|dim_ff)", 2 * WIDTH),
    (r"(block_ff_dim)", 2 * WIDTH),
    (r"^((num|(en|de)coder)_attention_heads|n_heads?|num_heads|attention_heads|n_head)$", 4),
    (r"^(num_key_value_heads|n_head_kv|num_kv_heads|num_global_key_value_heads)$", 2),
    (r"(^|_)head_dim$|^kv_channels$|^d_kv$", 8),
    (r"^(q_lora_rank|kv_lora_rank|qk_rope_head_dim|o_lora_rank)$", 8),
    (r"^(num_experts|n_routed_experts|num_local_experts|moe_num_experts)$", 4),
    (r"^(num_experts_per_tok|moe_k|moe_top_k|top_k_experts|experts_per_token)$", 2),
    (r"^(n_group|topk_group|n_groups|mamba_n_groups|mamba_ngroups)$", 1),
    (r"^(max_position_embeddings|n_positions|max_seq_len|n_ctx|context_length|seq_length)$", 256),
    # Shorter than the tests' texts, so that such layers see less than others.
    (r"^(sliding_window|attention_window_size|attention_chunk_size|window_size)$", 8),
    (r"^rotary_dim$", 4),
    # Of a hybrid's layers every other one attends.
    (r"^attn_layer_period$", 2),
    (r"^attn_layer_offset$", 1),
    (r"^(mamba_d_state|state_size|ssm_state_size|mamba_d_ssm)$", 8),
    (r"^(mamba_n_heads|mamba_num_heads|n_mamba_heads)$", 4),
)
_TOKENS = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": None}
# Tried in turn: what some configs insist on.
_VARIANTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"bos_token_id": 1, "pad_token_id": 0},
    {"num_key_value_heads": 4, "bos_token_id": 1, "pad_token_id": 0},
    {"num_hidden_layers": 8},
    {"head_dim": 8, "qk_rope_head_dim": 8, "num_key_value_heads": 4},
    {"head_dim": 16},
    {"num_hidden_layers": 54},
    {"num_experts_per_tok": 1},
    {"num_layers": 24},
    {"head_dim": 16, "num_heads": 4},
    {"layer_types": ["conv", "full_attention"] * 2},
    {"num_kv_shared_layers": 0},
    {"is_decoder": True},
)


def made(kind: str, seed: int = 0, **more: Any) -> PreTrainedModel:
    """A random model in float32, every parameter of which counts; ``more`` of its config.

    Raises ``ValueError`` with why not.
    """
    why = ""
    for variant in _VARIANTS:
        try:
            config = _config(kind, {**variant, **more})
            with torch.device("meta"):
                blank = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            size = sum(parameter.numel() for parameter in blank.parameters())
            if size > LARGEST:
                raise ValueError(f"it has {size:,} parameters at the least")
            torch.manual_seed(seed)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            perturb(model, seed + 1, 0.1)
            model.train(mode=False)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[5, 6, 7, 8]]), use_cache=False).logits
            if not torch.isfinite(logits).all():
                raise ValueError("its random weights give no finite numbers")
        except Exception as exc:
            first = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
            why = why or first
        else:
            return model
    raise ValueError(f"{kind}: {why}")


def _config(kind: str, variant: Mapping[str, Any]) -> Any:
    config = CONFIG_MAPPING[kind]
    blank = config()
    sizes = _sized(blank.to_dict())
    if hasattr(blank, "attn_layer_indices"):
        sizes["attn_layer_indices"] = [1, 3]
    return config(**{**sizes, **_TOKENS, **variant})


def _sized(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Of a config's fields those that are sizes, made small; of configs within it, too."""
    sizes: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and "model_type" in value:
            kept = {key: value[key] for key in ("model_type",)}
            sizes[name] = {**kept, **_sized(value), **(_TOKENS if name == "text_config" else {})}
        elif not isinstance(value, bool) and isinstance(value, int) and value:
            size = next((size for pattern, size in _SIZES if re.search(pattern, name)), None)
            if size is not None:
                sizes[name] = size
    return sizes
