"""The page on `adl` as a library runs as it stands: its blocks, in their order, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adl.readings.registry import READINGS
from tests.conftest import MODELS
from tests.tiny_models import write_family

PAGE = Path(__file__).parents[1] / "docs" / "library.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
OWN, DEMO = (f"# {which} pair\n" for which in ("own", "demo"))


def run_page(load: str) -> dict:
    """Run one of the two blocks that load a pair, and every other block."""
    (chosen,) = [block for block in BLOCKS if block.startswith(load)]
    rest = [block for block in BLOCKS if not block.startswith((OWN, DEMO))]
    assert len(rest) == len(BLOCKS) - 2
    names: dict = {}
    try:
        for block in (chosen, *rest):
            exec(compile(block, str(PAGE), "exec"), names)
    finally:
        READINGS.pop("base_lens", None)
    return names


@pytest.mark.slow
def test_on_an_own_pair(tmp_path, monkeypatch, capsys):
    folders = write_family(tmp_path / "path" / "to", "llama")
    assert folders.base == tmp_path / "path" / "to" / "base"
    assert folders.adapter == tmp_path / "path" / "to" / "adapter"
    monkeypatch.chdir(tmp_path)
    names = run_page(OWN)
    assert {readout.source for readout in names["lists"]} >= {"difference", "random", "split_half"}
    assert names["difference"].difference.shape == (1, 5, 32)
    shown = capsys.readouterr().out
    assert "1000 is not a layer" in shown.replace("'", "")
    for reading in READINGS:
        assert f"{reading}: " in shown


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_on_the_demo_pair(default_base, tmp_path, monkeypatch):
    (tmp_path / "models").symlink_to(MODELS, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    names = run_page(DEMO)
    (output,) = [
        readout
        for readout in names["lists"]
        if (readout.reading, readout.source) == ("output_difference", "difference")
    ]
    assert {" butter", " cake", " vanilla", " oven", " sugar"} & {t.text for t in output.tokens}
    assert names["trace"].verdict == "strong"
    assert names["answers"]["base"].text != names["answers"]["finetuned"].text
