"""Tiny random models as GGUF files, written with llama.cpp's own package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import PreTrainedModel

from tests.tiny_models import tiny_tokenizer

_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """llama.cpp's name of a weight of a Llama, a Qwen 2 or their like."""
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    path, _, kind = name.rpartition(".")
    if path in whole:
        return f"{whole[path]}.{kind}"
    _, _, number, part = path.split(".", 3)
    return f"blk.{number}.{_LAYER[part]}.{kind}"


def write_gguf(
    file: Path, model: PreTrainedModel, kind: str, quantisation: str = "F32", **leave: Any
) -> Path:
    """Write ``model`` with its matrices in blocks of ``quantisation``; ``leave`` out some weights.

    ``leave`` may also hold ``more``, a function that writes more settings and tensors.
    """
    config, tokenizer = model.config, tiny_tokenizer()
    writer = gguf.GGUFWriter(str(file), kind)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary]
    tokens += [f"<unused{n}>" for n in range(config.vocab_size - len(tokens))]
    special = set(tokenizer.all_special_tokens)
    merges = tokenizer.backend_tokenizer.to_str()
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in json.loads(merges)["model"]["merges"]])
    writer.add_eos_token_id(0)
    writer.add_chat_template(tokenizer.chat_template)
    wanted = gguf.GGMLQuantizationType[quantisation]
    for name, value in model.state_dict().items():
        array = value.numpy().astype(np.float32)
        if name in leave.get("without", ()):
            continue
        if array.ndim > 1:
            array = gguf.quants.quantize(array, wanted)
            writer.add_tensor(gguf_name(name), array, raw_dtype=wanted)
        else:
            writer.add_tensor(gguf_name(name), array)
    leave.get("more", lambda _: None)(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
