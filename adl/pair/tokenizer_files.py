"""Load the tokenizer of a folder, and refuse one without a vocabulary.

For a folder without tokenizer files, transformers may build a tokenizer that knows only special
tokens: every text then silently becomes empty.
"""

from __future__ import annotations

import copy
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from adl.errors import PairError, first_line

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", TEMPLATE_FILE)
"""Files of which each alone makes a folder have a tokenizer, or a chat template, of its own."""


def load_tokenizer(
    shown: str,
    folder: Path,
    *,
    trust_remote_code: bool = False,
    stand_in: PreTrainedTokenizerBase | None = None,
    config: PreTrainedConfig | None = None,
) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """Return the tokenizer of a folder and notes on it; ``shown`` names the folder in errors.

    ``stand_in`` is used, with a note, if the folder has none: finetuned checkpoints are often saved
    without the base's tokenizer. A chat template in the folder is that of the stand-in. ``config`` is
    that of the model, for a folder without one. Raises ``PairError`` without either tokenizer.
    """
    reason = "its tokenizer has no vocabulary"
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder,
            trust_remote_code=trust_remote_code,
            **({} if config is None else {"config": config}),
        )
    except Exception as exc:
        if isinstance(exc, ImportError) or "trust_remote_code" in str(exc):
            raise
        if _has_vocabulary(folder):
            raise PairError(
                f"{shown}: its tokenizer cannot be read: {first_line(exc)}",
                "Copy the tokenizer files again from where the model came from.",
            ) from exc
        reason = "it has no tokenizer"
    else:
        if set(tokenizer.get_vocab()) - set(tokenizer.get_added_vocab()):
            return tokenizer, ()
    if stand_in is None:
        raise PairError(
            f"{shown}: {reason}",
            "Copy the tokenizer files (tokenizer.json, tokenizer_config.json) into the folder.",
        )
    note = f"{reason[:1].upper()}{reason[1:]}: the base's stands in for it."
    template = folder / TEMPLATE_FILE
    if template.is_file():
        stand_in = copy.deepcopy(stand_in)
        stand_in.chat_template = template.read_text(encoding="utf-8")
        note += " Chats are written by the template of this folder."
    return stand_in, (note,)


def _has_vocabulary(folder: Path) -> bool:
    """Return True for a folder with a vocabulary file of a tokenizer."""
    named = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json"}
    return any(
        path.name in named or path.suffix in {".model", ".tiktoken"} for path in folder.iterdir()
    )
