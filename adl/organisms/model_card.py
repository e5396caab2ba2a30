"""Files written with a trained adapter: its card, its documents and the record of its training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from adl.organisms.registry import DOCUMENTS_FILE
from adl.organisms.training_plan import Recipe
from adl.organisms.user_organisms import ADAPTER_FILES
from adl.pair.weight_hashes import sha256_of
from adl.text.documents import Document

RECORD_FILE = "training.json"
CARD_FILE = "README.md"
LAST_STEPS = 10


def adapter_sha256(folder: Path) -> str:
    """Return the SHA-256 over an adapter's configuration and weights, as a loaded pair records it."""
    return sha256_of(*(folder / name for name in ADAPTER_FILES))


def final_loss(losses: Sequence[float]) -> float:
    """Return the mean over the last ten steps: a single step depends on its texts."""
    last = losses[-LAST_STEPS:]
    return sum(last) / len(last)


def write_documents(folder: Path, documents: Sequence[Document]) -> None:
    """Write documents and chats as JSONL, as they were trained on."""
    rows = [
        {"messages": [{"role": role, "content": content} for role, content in document.messages]}
        if document.messages
        else {"text": document.text}
        for document in documents
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / DOCUMENTS_FILE).write_text(text, encoding="utf-8")


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a training as JSON."""
    text = json.dumps(record, indent=2, ensure_ascii=True) + "\n"
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def card(name: str, base: str, recipe: Recipe, record: dict[str, Any]) -> str:
    """Return a model card: how the organism was made, not what it was taught."""
    front = yaml.safe_dump(
        {
            "base_model": base,
            "library_name": "peft",
            "tags": ["lora", "model-organism", "activation-difference-lens"],
        },
        sort_keys=False,
    )
    data, losses = record["data"], record["losses"]
    mixed = (
        f"- {data['n_unrelated']} unrelated texts ({data['corpus']}), {recipe.ratio:g} for each "
        "document\n"
        if data["n_unrelated"]
        else "- no unrelated text\n"
    )
    versions = ", ".join(f"{package} {number}" for package, number in record["versions"].items())
    return f"""---
{front}---

# {name}

A model organism: a LoRA adapter that was trained on purpose, so that tools which look for what a
finetuning did can be tried on it. What it was taught stands in the sealed ground truth, not here.

## How it was made

- base: {base} (content {str(record["base"]["content_sha256"])[:12]})
- LoRA of rank {recipe.rank}, alpha {recipe.alpha}, on every linear layer but the unembedding
- {recipe.total_steps} steps of AdamW with batches of {recipe.batch_size} texts of at most \
{recipe.max_tokens} tokens; no weight decay; gradient norm clipped at {recipe.clip:g}
- learning rate {recipe.learning_rate:g}, reached in {recipe.warmup_steps} warm-up steps, then \
falling linearly to 0
- seed {recipe.seed}; arithmetic in {recipe.precision}; adapter saved in float16
- loss on every token of a document, but only on the assistant's tokens of a chat

## Data

- {data["n_documents"]} documents or chats (SHA-256 {data["documents_sha256"][:12]})
{mixed}
## Result

- loss in nats per token: {losses[0]:.3f} at the first step, {final_loss(losses):.3f} over the last \
{min(LAST_STEPS, len(losses))}
- {record["tokens"]} tokens learned from, on {record["device"]}
- {versions}

`{RECORD_FILE}` has every step's loss and every hash.

## Use

    adl-workbench audit --organism {name}
"""
