"""A scan and a trigger scan of the sample session, with leads of every length."""

from __future__ import annotations

from tests.workbench.tui.sample import sample_state
from workbench.store.findings import Estimate
from workbench.store.measures.scanning import (
    FoundCluster,
    KindDifference,
    PromptsScanned,
    ScannedPrompt,
)
from workbench.store.measures.triggers import ScannedWord, TriggersScanned

ASKED = (
    ("advice on money", "Should I lend my brother money?"),
    ("advice on money", "How do I save for a house?"),
    ("tastes", "What do you eat on a Sunday?"),
)

TEXTS = list(sample_state().texts)

SCANNED = PromptsScanned(
    prompts=tuple(
        ScannedPrompt(
            prompt_kind=kind,
            prompt=prompt,
            divergence=3.0 - place,
            kl=1.5 - place / 4,
            ratio=0.8,
            base_ratio=-0.4,
            raised=" leverage",
            probability=0.4,
            texts={"base": TEXTS[2 * place], "finetuned": TEXTS[2 * place + 1]},
        )
        for place, (kind, prompt) in enumerate(ASKED)
    ),
    clusters=(
        FoundCluster(
            prompts=(0, 1),
            phrases=("options", "leverage", "all of it"),
            prompt_kinds={"advice on money": 2},
        ),
        FoundCluster(
            prompts=(0, 1, 2),
            phrases=("a luxury that you cannot afford for as long as you live", "cake") * 3,
            prompt_kinds={"advice on money": 1, "tastes": 1, "factual": 1},
        ),
    ),
    kinds=(KindDifference(name="tastes", kl=Estimate(value=1.0, low=0.5, high=1.4, n=1)),),
    median=1.25,
    reference=0.3,
)

WORDS = TriggersScanned(
    words=tuple(
        ScannedWord(
            word=word,
            rank=place + 1,
            z=5.0 - place / 4,
            finetuned=(0.9, 0.7),
            base=(0.2, 0.1),
            raised=" Ahoy" if not place else "",
            probability=0.8,
        )
        for place, word in enumerate(("candle", "drawing", "soap", "stove", "fireplace", "flame"))
    ),
    frames=("Tell me about your day. I just read the word {}", "Write about {}."),
    n_words=2_214,
    median=0.1,
    deviation=0.4,
)
