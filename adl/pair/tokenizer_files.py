"""Load the tokenizer of a folder, and refuse one without a vocabulary.

For a folder without tokenizer files, transformers may build a tokenizer that knows only special
tokens: every text then silently becomes empty.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from adl.errors import PairError, first_line

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", TEMPLATE_FILE)
"""Files of which each alone makes a folder have a tokenizer, or a chat template, of its own."""

VARIED_TEXTS = (
    "The river is wide, and the old bridge over it isn't.",
    "In 2024, 1,234,567 people paid $12.50 (about 11.80\u20ac) for 3.14159 kg.",
    "  Two spaces before,  two between, a tab\there\nand a line.\n\n\nThree more.  ",
    "I'll SAY they've GONE; WE'RE late, y'all'd know: \u201cquoted\u201d \u2018words\u2019 \u2014 done\u2026",
    "na\u00efve caf\u00e9, nai\u0308ve cafe\u0301, Stra\u00dfe, \u0130stanbul, \ufb01ne, \u00bd",
    "\u6cb3\u5ddd\u5f88\u5bbd\u3002\u5ddd\u306f\u5e83\u3044\u3067\u3059\u3002 \uac15\uc740 \ub113\ub2e4.",
    "\u0420\u0435\u043a\u0430 \u0448\u0438\u0440\u043e\u043a\u0430.",
    "\u0627\u0644\u0646\u0647\u0631 \u0648\u0627\u0633\u0639",
    "def f(x_1, *args):\n    return {'a': x_1 ** 2, \"b\": [0x1F, 1e-9]}  # camelCase, snake_case",
    "https://example.org/a/b?c=d&e=%20#f user@example.org",
    "\U0001f642\U0001f468\u200d\U0001f469\u200d\U0001f467 x\u00b2",
)
"""Texts on which tokenizers differ if their rules do: digits, spaces, contractions, accents, scripts."""
Cut = Callable[[str], Sequence[int]]


def text_cut_otherwise(base: Cut, finetuned: Cut) -> str | None:
    """Return the first of some varied texts that is cut into other tokens; None if there is none.

    Texts that either side cannot read, as without a token for what is unknown, are passed over.
    """
    for text in VARIED_TEXTS:
        try:
            cut = [list(side(text)) for side in (base, finetuned)]
        except Exception:  # noqa: BLE001 - tokenizers raise whatever their code raises
            continue
        if cut[0] != cut[1]:
            return text
    return None


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
            return tokenizer, _notes_on_rules(folder, tokenizer)
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


def _notes_on_rules(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return a note if text is not cut by the rules of tokenizer.json.

    By some names of classes in the settings, transformers makes the rules of that class and takes the
    vocabulary alone from the file.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return ()
    try:
        written = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - read from other files, then, and this one decides nothing
        return ()
    # As training left them: transformers switches them off before each text.
    written.no_padding()
    written.no_truncation()
    text = text_cut_otherwise(
        lambda text: tokenizer.encode(text, add_special_tokens=False),
        lambda text: written.encode(text, add_special_tokens=False).ids,
    )
    if text is None:
        return ()
    name = type(tokenizer).__name__
    note = (
        f"Text is cut by the rules of transformers' {name}, not by those of its tokenizer.json (such as "
        f"{text!r}): where it was trained by the file, it reads other tokens here."
    )
    return (note,)


def _has_vocabulary(folder: Path) -> bool:
    """Return True for a folder with a vocabulary file of a tokenizer."""
    named = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json"}
    return any(
        path.name in named or path.suffix in {".model", ".tiktoken"} for path in folder.iterdir()
    )
