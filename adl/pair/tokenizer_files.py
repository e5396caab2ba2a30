"""Load the tokenizer of a folder, and refuse one without a vocabulary.

Where a folder has no tokenizer files, transformers may build a tokenizer of the model's class that
knows its special tokens alone; every text becomes nothing then, without a word.
"""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from adl.errors import PairError, first_line


def load_tokenizer(
    shown: str,
    folder: Path,
    *,
    trust_remote_code: bool = False,
    stand_in: PreTrainedTokenizerBase | None = None,
) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """The tokenizer of a folder with notes on it; ``shown`` names the folder's owner in messages.

    ``stand_in`` is taken, and a note says so, where the folder has none: a finetuned checkpoint is
    often saved without the tokenizer, which is the base's. Raises ``PairError`` without either.
    """
    reason = "its tokenizer has no vocabulary"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
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
    return stand_in, (f"{reason[:1].upper()}{reason[1:]}: the base's stands in for it.",)


def _has_vocabulary(folder: Path) -> bool:
    """True for a folder with a file that tokenizers keep their vocabulary in."""
    named = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json"}
    return any(
        path.name in named or path.suffix in {".model", ".tiktoken"} for path in folder.iterdir()
    )
