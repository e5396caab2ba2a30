"""Difference vectors as safetensors, for whoever wants to go on with them in code of their own.

Each array of each measured difference is a tensor ``KEY/NAME``, such as
``ea104cc8d28a/difference`` [layers, positions, width]: see ``adl.records.ActivationDifference`` for
the names and shapes. The file's metadata say of each key what it was measured on and with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from workbench.report.errors import ExportError
from workbench.report.files import new_file
from workbench.store.encoding import canonical_json
from workbench.store.events import DifferenceMeasured
from workbench.store.log import SessionLog
from workbench.store.state import Recorded, SessionState, fold

FORMAT = "adl-workbench vectors 1"
KEY_LENGTH = 12


def export_vectors(log: SessionLog, session_id: str, target: Path) -> Path:
    """Write every difference of a session. Raises `ExportError` if it has none or the file exists."""
    state = fold(log.events(log.find_session(session_id).id))
    if not state.differences:
        raise ExportError(
            f"session {state.session_id} has measured no difference",
            "Measure one (`adl-workbench diff`), or name another session.",
        )
    tensors = {
        f"{key[:KEY_LENGTH]}/{name}": np.ascontiguousarray(log.array(ref))
        for key, measured in state.differences.items()
        for name, ref in measured.body.arrays.items()
    }
    with new_file(target) as part:
        part.write_bytes(save(tensors, metadata=_metadata(state)))
    return target


def _metadata(state: SessionState) -> dict[str, str]:
    """Texts by name, as safetensors wants them; everything but the format and session is JSON."""
    return {
        "format": FORMAT,
        "session": state.session_id,
        "pair": canonical_json(state.pair),
        **{key[:KEY_LENGTH]: _facts(measured) for key, measured in state.differences.items()},
    }


def _facts(measured: Recorded[DifferenceMeasured]) -> str:
    body = measured.body.model_dump(mode="json", exclude={"arrays", "kind"})
    doubt = {"doubt": measured.body.doubt} if measured.body.doubt else {}
    return canonical_json(body | doubt | {"seq": measured.seq})
