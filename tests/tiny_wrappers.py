"""Tiny random multimodal models: a language model wrapped with a tower for what is no text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import AutoModelForCausalLM, AutoModelForImageTextToText

from tests.tiny_models import SPARE_ROWS, perturb, tiny_tokenizer

VOCABULARY = len(tiny_tokenizer()) + SPARE_ROWS
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": None,
}
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
GEMMA = TEXT | {"head_dim": 8, "sliding_window": 8}
QWEN_TOWER = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 14,
    "out_hidden_size": 32,
}
MROPE = {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0}
LINEAR = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}


def _config(kind: str, text: dict[str, Any], tower: dict[str, Any], **more: Any) -> Any:
    return AutoConfig.for_model(kind, text_config=text, vision_config=tower, **more)


def _typed(kind: str, **more: Any) -> dict[str, Any]:
    return TEXT | {"model_type": kind} | more


WRAPPERS: dict[str, Callable[[], Any]] = {
    "gemma3": lambda: _config(
        "gemma3",
        GEMMA,
        TOWER,
        mm_tokens_per_image=4,
        image_token_index=7,
        boi_token_index=5,
        eoi_token_index=6,
    ),
    "mistral3": lambda: _config(
        "mistral3",
        _typed("mistral", sliding_window=None),
        TOWER | {"model_type": "pixtral"},
        image_token_index=5,
    ),
    "llava": lambda: _config(
        "llava", _typed("llama"), TOWER | {"model_type": "clip_vision_model"}, image_token_index=5
    ),
    "llava_next": lambda: _config(
        "llava_next",
        _typed("mistral", sliding_window=None),
        TOWER | {"model_type": "clip_vision_model"},
        image_token_index=5,
    ),
    "llava_onevision": lambda: _config(
        "llava_onevision",
        _typed("qwen2"),
        TOWER | {"model_type": "siglip_vision_model"},
        image_token_index=5,
        video_token_index=6,
    ),
    "qwen2_vl": lambda: _config(
        "qwen2_vl",
        TEXT | {"rope_parameters": MROPE},
        {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14},
    ),
    "qwen2_5_vl": lambda: _config("qwen2_5_vl", TEXT | {"rope_parameters": MROPE}, QWEN_TOWER),
    "qwen3_vl": lambda: _config(
        "qwen3_vl",
        TEXT | {"head_dim": 8, "rope_parameters": MROPE},
        QWEN_TOWER | {"deepstack_visual_indexes": [0], "num_position_embeddings": 16},
    ),
    "qwen3_5": lambda: _config(
        "qwen3_5",
        TEXT | LINEAR,
        QWEN_TOWER | {"patch_size": 4, "num_position_embeddings": 16},
    ),
    "paligemma": lambda: _config(
        "paligemma",
        _typed("gemma2", head_dim=8, sliding_window=8),
        TOWER | {"model_type": "siglip_vision_model"},
        image_token_index=5,
        projection_dim=32,
    ),
    "idefics3": lambda: _config("idefics3", _typed("llama"), TOWER, image_token_id=5),
    "smolvlm": lambda: _config("smolvlm", _typed("llama"), TOWER, image_token_id=5),
    "internvl": lambda: _config(
        "internvl",
        _typed("qwen2"),
        TOWER | {"image_size": [28, 28], "patch_size": [14, 14]},
        image_token_id=5,
    ),
    "aya_vision": lambda: _config(
        "aya_vision",
        _typed("cohere2", sliding_window=8),
        TOWER | {"model_type": "siglip_vision_model"},
        image_token_index=5,
    ),
    "llama4": lambda: _config(
        "llama4",
        TEXT
        | {
            "head_dim": 8,
            "intermediate_size_mlp": 64,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
        },
        TOWER | {"vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32},
    ),
    "mllama": lambda: _config(
        "mllama",
        TEXT
        | {
            "cross_attention_layers": [1],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [0],
        },
    ),
}


TEXT_ONLY = {"qwen3_5", "llama4", "mllama"}
"""Those whose language model transformers loads by itself."""

GEMMA3N = GEMMA | {
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "laurel_rank": 4,
    "altup_num_inputs": 2,
    "num_kv_shared_layers": 0,
    "activation_sparsity_pattern": None,
    "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
}


def tiny_wrapper(kind: str) -> PreTrainedModel:
    """A random wrapped model in float32, every parameter of which counts."""
    torch.manual_seed(0)
    if kind == "gemma3n_text":
        auto: Any = AutoModelForCausalLM
        config = AutoConfig.for_model(kind, **GEMMA3N)
    else:
        auto, config = AutoModelForImageTextToText, WRAPPERS[kind]()
    model: PreTrainedModel = auto.from_config(config, dtype=torch.float32)
    perturb(model, 1, 0.05)
    model.train(mode=False)
    return model


def text_part(wrapper: PreTrainedModel) -> PreTrainedModel:
    """The language model of a wrapper by itself, with copies of its weights."""
    auto: Any = AutoModelForCausalLM
    config = wrapper.config.get_text_config()
    text: PreTrainedModel = auto.from_config(config, dtype=torch.float32)
    decoder: Any = wrapper.get_decoder()
    text.get_decoder().load_state_dict(decoder.state_dict())
    if not config.tie_word_embeddings:
        text.get_output_embeddings().load_state_dict(wrapper.get_output_embeddings().state_dict())
    text.train(mode=False)
    return text
