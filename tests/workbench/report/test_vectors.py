from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from adl.records import ActivationDifference
from tests.workbench.replay.audits import Audit
from workbench.report.errors import ExportError
from workbench.report.vectors import KEY_LENGTH, export_vectors
from workbench.store.log import SessionLog
from workbench.store.state import fold


def test_vectors_come_out_as_they_were_measured(
    log: SessionLog, recorded: Audit, tmp_path: Path
) -> None:
    written = export_vectors(log, recorded.session_id, tmp_path / "v.safetensors")
    state = fold(log.events(recorded.session_id))
    ((key, measured),) = state.differences.items()
    tensors = load_file(written)
    assert set(tensors) == {f"{key[:KEY_LENGTH]}/{name}" for name in ActivationDifference.ARRAYS}
    for name, ref in measured.body.arrays.items():
        found = tensors[f"{key[:KEY_LENGTH]}/{name}"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, log.array(ref))


def test_the_file_says_what_was_measured(log: SessionLog, recorded: Audit, tmp_path: Path) -> None:
    written = export_vectors(log, recorded.session_id, tmp_path / "v.safetensors")
    with safe_open(written, framework="numpy") as file:
        metadata = file.metadata()
    (key,) = {name.partition("/")[0] for name in load_file(written)}
    facts = json.loads(metadata[key])
    assert facts["layers"] == [2]
    assert facts["positions"] == ["0", "1", "2", "3", "4"]
    assert facts["n_texts"] == 24
    assert facts["corpus"]["seed"] == 0
    assert facts["key"].startswith(key)
    assert metadata["session"] == recorded.session_id
    assert json.loads(metadata["pair"])["base"]["checkpoint"] == "planted-base"


def test_without_a_difference_there_is_no_file(log: SessionLog, tmp_path: Path) -> None:
    session = log.start_session("empty")
    with pytest.raises(ExportError, match="no difference"):
        export_vectors(log, session, tmp_path / "v.safetensors")
    assert list(tmp_path.glob("v*")) == []


def test_nothing_is_overwritten(log: SessionLog, recorded: Audit, tmp_path: Path) -> None:
    target = export_vectors(log, recorded.session_id, tmp_path / "v.safetensors")
    before = target.read_bytes()
    with pytest.raises(ExportError, match="exists already"):
        export_vectors(log, recorded.session_id, target)
    assert target.read_bytes() == before
