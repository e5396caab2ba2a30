"""The bank of style: a pair's finetuning kept, so that its style can be struck from other pairs' lists."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock
from pydantic import Field

from adl.pair.protocol import ModelPair, resolve_layer
from adl.pair.self_checks import DIFFERENCE, require
from adl.readings.style import (
    Finetuning,
    Style,
    added,
    bank_text,
    bundled,
    finetuning_of,
    read_bank,
    style_of,
)
from adl.records import DEFAULT_LAYER
from adl.text.corpus import CorpusSource
from workbench.locations import find_locations
from workbench.operations.running import Arguments, Command, Context, Operation, Summary
from workbench.operations.shared_arguments import (
    ContextTexts,
    CorpusName,
    Layer,
    TextColumn,
    TextSeed,
)
from workbench.private_files import keep_private, make_folder
from workbench.store.measures.style_bank import FinetuningBanked


class BankArguments(Arguments):
    """The name of the finetuning in the bank, and the text to read it on."""

    label: str = Field(
        min_length=1, max_length=64, description="Name of the finetuning in the bank."
    )
    broad: bool = Field(False, description="It is a control without a narrow domain.")
    layer: Layer = DEFAULT_LAYER
    corpus: CorpusName = None
    text_column: TextColumn = None
    n_texts: ContextTexts = 256
    seed: TextSeed = 0


def add_to_bank(context: Context, arguments: BankArguments) -> Summary:
    """Keep the words that this finetuning raises in your bank of style.

    Words that most finetunings of a base raise are struck from the lists of other pairs with that base.
    A pair's own entry is never used on itself.
    """
    pair = context.pair
    require(pair.provenance, DIFFERENCE)
    layer = resolve_layer(arguments.layer, pair.provenance.n_layers)
    _, difference = context.session.require_difference(layer)
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    texts = source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)
    new = finetuning_of(
        pair,
        difference,
        texts,
        layer,
        arguments.label,
        is_broad=arguments.broad,
        should_stop=context.should_stop,
    )
    path = find_locations().style_bank
    keep(path, new)
    others = known_style(pair).n_others
    context.record(
        FinetuningBanked(
            name=new.name,
            digest=new.digest,
            base=new.base,
            is_broad=new.is_broad,
            output=new.output,
            shift=new.shift,
            n_others=others,
            settings={"texts": texts.sha256, "layer": layer, "seed": arguments.seed},
        )
    )
    return {"name": new.name, "words": list(new.output[:20]), "others": others, "file": str(path)}


STYLE_BANK = Operation(
    "style_bank",
    "Add to the bank of style",
    BankArguments,
    add_to_bank,
    needs=("pair", "difference"),
    finds=FinetuningBanked,
    command=Command("style-bank", positional="label"),
    examines=False,
)


def known_style(pair: ModelPair) -> Style:
    """Return the style of a pair's base, from the bundled bank and the user's own.

    Raises ``StyleBankError`` for a file of the user that cannot be read.
    """
    return style_of([*bundled(), *read_bank(find_locations().style_bank)], pair)


def keep(path: Path, new: Finetuning) -> None:
    """Add a finetuning to a bank's file, completely or not at all. Raises ``StyleBankError``."""
    make_folder(path.parent)
    with FileLock(f"{path}.lock"):
        text = bank_text(added(read_bank(path), new))
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(text, encoding="utf-8")
        keep_private(draft)
        draft.replace(path)
