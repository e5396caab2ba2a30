"""A reading declared in one module and registered is computed, recorded, offered and shown."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import numpy as np

from adl.readings import READINGS, FailedReading, Reading, ReadingRequest, register, take_readings
from adl.readings.ranking import among


def steps(reader):
    yield ("norms",), lists(reader)


def lists(reader):
    for source, position, vector in reader.vectors():
        scores = reader.pair.unembed("base", vector[None])[0].astype(np.float64)
        words = among(scores, reader.vocabulary.words)
        yield reader.ranked("norms", source, "base", words, position=position)


register(
    Reading(
        name="norms",
        family="logit",
        title="Norms of rows",
        label="norms",
        short="nrm",
        description="the vector unembedded by base",
        help="a throwaway reading.",
        steps=steps,
    )
)
try:
    register(READINGS["norms"])
except ValueError as error:
    assert "norms" in str(error)
else:
    raise AssertionError("a second reading of the same name")

from typer.testing import CliRunner

from adl.difference import measure_difference
from tests.adl.test_difference import make_texts
from tests.planted import PlantedPair
from workbench.agent.tools import READING_TOOL
from workbench.cli.tree import app
from workbench.operations.readings import ReadArguments
from workbench.tui.panes.readings import render
from workbench.tui.panes.readings.index import Index
from workbench.tui.panes.readings.pane import ReadingsPane

pair, texts = PlantedPair(), make_texts(24, 20)
difference = measure_difference(pair, texts, [3])
found = list(take_readings(pair, difference, texts, ReadingRequest(3, ("norms",))))
assert {readout.reading for readout in found} == {"norms"}
assert {readout.source for readout in found} >= {"difference", "random", "split_half"}

assert ReadArguments(readings=("norms",)).readings == ("norms",)
assert "norms" in ReadArguments().readings
assert "norms" in str(READING_TOOL.arguments.model_json_schema())
assert "a throwaway reading" in ReadingsPane.HELP
assert "norms" in render.offered(())
assert "nrm" in render.strip(Index(), None, 40).plain
assert "norms" in render.strip(Index(), None, 120).plain
help_text = CliRunner().invoke(app, ["read", "--help"], env={"COLUMNS": "200"})
assert "norms" in help_text.output, help_text.output
print("complete")
"""


def test_a_registered_reading_is_offered_everywhere():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "complete"
