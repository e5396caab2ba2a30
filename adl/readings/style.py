"""Style taken out: words that many other finetunings of the same base raise, too.

Documents have a spelling and a register besides their topic. What they share with other finetunings is
not what makes this one: a word raised by most of the others is struck from every list, with the reason,
and can be looked at.

    bank of finetunings, by base    name, digest, words that it raises
      - the pair itself             known by the digest of its weights: it never meets itself
      -> words raised by half of the rest, and by two at least

A word that a finetuning raises is among its first words in the output difference or in the shift lens
of base. A word that stands three times as high in a list as in any of the others stays there: it may be
both. Spellings of which no other finetuning knows are found by ``adl.readings.spelling``. The bank that
comes with the package is made by ``python -m tests.make_style_bank``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.errors import StyleBankError
from adl.pair.protocol import ModelPair
from adl.readings.narrowness import shared_words
from adl.readings.ranking import Vocabulary, top_tokens
from adl.readings.shift_lens import (
    contexts_of,
    output_score,
    output_shift,
    shift_score,
    steering_shifts,
)
from adl.records import POOLED, ActivationDifference, PairProvenance, Site, TokenScore, rescale

WORDS = 150
"""Words kept of each list of a finetuning, about a twentieth of those that are ranked."""

ALPHA = 0.2
FEWEST = 2
LEAST_SHARE = 0.5
FAR_ABOVE = 3

VERSION = 1
_BUNDLED = files("adl") / "data" / "style_bank.json"


@dataclass(frozen=True)
class Finetuning:
    """A finetuning in the bank: the words that it raises, in lower case, most raised first.

    ``base`` identifies the base (:func:`base_key`), ``digest`` the finetuned weights. ``output`` are
    the words of its output difference, ``shift`` those of the shift lens on base. ``is_broad`` marks a
    control without a narrow domain.
    """

    name: str
    digest: str
    base: str
    output: tuple[str, ...]
    shift: tuple[str, ...]
    is_broad: bool = False


@dataclass(frozen=True)
class Style:
    """Words to strike from the lists of a pair, and what the bank has of its base.

    ``raised_by`` counts by word how many of the ``n_others`` finetunings raise it, ``highest`` is its
    best rank with any of them, from 1. ``broad`` are the words of the output difference of a broad
    control on the same base, without those that are struck; none if the bank has no control.
    ``spelling`` if spellings are struck as well.
    """

    raised_by: Mapping[str, int] = field(default_factory=dict)
    n_others: int = 0
    broad: tuple[str, ...] = ()
    highest: Mapping[str, int] = field(default_factory=dict)
    spelling: bool = False

    def reason(self, text: str, rank: int | None = None) -> str:
        """Return why a token's word is struck from a list where it has ``rank``; empty if it is not."""
        word = text.strip().casefold()
        count = self.raised_by.get(word, 0)
        stays = rank is not None and rank * FAR_ABOVE < self.highest.get(word, 0)
        if not count or stays:
            return ""
        return f"raised by {count} of {self.n_others} other finetunings of this base"

    @property
    def sha256(self) -> str:
        """Digest of the words that are struck."""
        plain = json.dumps([self.n_others, sorted(self.raised_by.items())])
        return hashlib.sha256(plain.encode()).hexdigest()


def style_of(bank: Iterable[Finetuning], pair: ModelPair, without: Collection[str] = ()) -> Style:
    """Return the style of a pair's base from the other finetunings in the bank.

    Left out are the pair itself, by its digest, finetunings named in ``without``, and all of other
    bases. With fewer than two left only spellings are struck.
    """
    base, digest = base_key(pair), finetuned_digest(pair.provenance)
    others = {
        each.digest: each
        for each in bank
        if each.base == base and each.digest != digest and each.name not in without
    }
    counts = Counter(word for each in others.values() for word in {*each.output, *each.shift})
    least = max(FEWEST, int(np.ceil(LEAST_SHARE * len(others))))
    struck = {word: count for word, count in sorted(counts.items()) if count >= least}
    broad = [each for each in others.values() if each.is_broad]
    kept = tuple(word for word in broad[0].output if word not in struck) if broad else ()
    ranks: dict[str, int] = {}
    for each in others.values():
        for words in (each.output, each.shift):
            for rank, word in enumerate(words, start=1):
                if word in struck:
                    ranks[word] = min(rank, ranks.get(word, rank))
    return Style(struck, len(others), kept, ranks, spelling=True)


def base_key(pair: ModelPair) -> str:
    """Identify a base by its tokens, depth and width: the same from the Hub and from a GGUF file."""
    digest = hashlib.sha256("\0".join(pair.token_texts("base")).encode("utf-8", "replace"))
    facts = pair.provenance
    return f"{facts.base.architecture}-{facts.n_layers}x{facts.width}-{digest.hexdigest()[:16]}"


def finetuned_digest(provenance: PairProvenance) -> str:
    """Identify the finetuned weights: the adapter's hash, or the checkpoint's."""
    side = provenance.finetuned
    return side.adapter_sha256 or side.content_sha256 or side.resolved_revision or side.checkpoint


def finetuning_of(
    pair: ModelPair,
    difference: ActivationDifference,
    texts: Sequence[str],
    layer: int,
    name: str,
    *,
    is_broad: bool = False,
    should_stop: ShouldStop = never_stop,
) -> Finetuning:
    """Return what a pair's finetuning raises, for the bank.

    Raises ``Stopped`` within one batch of ``should_stop`` returning True, ``CorpusError`` for texts
    that are too short, and ``StyleBankError`` for a pair whose predictions do not differ.
    """
    contexts = contexts_of(pair, texts)
    vocabulary = shared_words(pair)
    output = output_shift(pair, contexts, should_stop=should_stop)
    if not output.log_shift.any():
        raise StyleBankError(
            "the finetuned model predicts what base predicts, so it raises no word",
            "Add a pair whose sides differ: one of nothing would count as a finetuning.",
        )
    unit = rescale(difference.vector(Site(layer, POOLED)), difference.residual_norm(layer))
    (shift,) = steering_shifts(
        pair, "base", contexts, layer, (ALPHA * unit)[None], should_stop=should_stop
    )
    raised = top_tokens(output_score(output, vocabulary.words), vocabulary, WORDS)
    steered_words = Vocabulary.of(pair.token_texts("base"))
    steered = top_tokens(shift_score(shift, steered_words.words), steered_words, WORDS)
    return Finetuning(
        name,
        finetuned_digest(pair.provenance),
        base_key(pair),
        _words(raised),
        _words(steered),
        is_broad,
    )


def _words(tokens: Sequence[TokenScore]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(token.text.strip().casefold() for token in tokens))


# --- files ----------------------------------------------------------------------------------------


def bundled() -> tuple[Finetuning, ...]:
    """Return the finetunings that come with the package."""
    return _parsed(_BUNDLED.read_text(encoding="utf-8"), str(_BUNDLED))


def read_bank(path: Path) -> tuple[Finetuning, ...]:
    """Return the finetunings of a file; none if there is no file. Raises ``StyleBankError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(str(path), str(exc)) from exc
    return _parsed(text, str(path))


def bank_text(bank: Sequence[Finetuning]) -> str:
    """Return the text of a bank's file, a line for each finetuning."""
    lines = ",\n".join(json.dumps(asdict(each), ensure_ascii=False) for each in bank)
    return f'{{"version": {VERSION}, "finetunings": [\n{lines}\n]}}\n'


def added(bank: Sequence[Finetuning], new: Finetuning) -> tuple[Finetuning, ...]:
    """Return the bank with a finetuning, in the place of one with the same weights and base."""
    kept = [each for each in bank if (each.digest, each.base) != (new.digest, new.base)]
    return (*kept, new)


def _parsed(text: str, place: str) -> tuple[Finetuning, ...]:
    try:
        data: Any = json.loads(text)
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']!r}")
        return tuple(_finetuning(each) for each in data["finetunings"])
    except (ValueError, TypeError, KeyError) as exc:
        raise _unreadable(place, f"{type(exc).__name__}: {exc}") from exc


def _finetuning(data: Mapping[str, Any]) -> Finetuning:
    found = Finetuning(**data)
    output, shift = tuple(found.output), tuple(found.shift)
    names = (found.name, found.digest, found.base, *output, *shift)
    if not all(isinstance(each, str) for each in names):
        raise TypeError("a name or a word is no text")
    return replace(found, output=output, shift=shift)


def _unreadable(place: str, why: str) -> StyleBankError:
    return StyleBankError(
        f"the bank of finetunings {place} cannot be read: {why[:200]}",
        "Move the file away: finetunings are added again with `style-bank`.",
    )
