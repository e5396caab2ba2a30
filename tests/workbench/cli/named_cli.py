"""The command line over a pair whose every name gives the answer away, and is said wherever it can be.

``NAMED_CLI`` is ``load``, ``bug`` or empty: loading fails as an unreadable adapter does, or as
something that nobody foresaw does.
"""

from __future__ import annotations

import os
import sys
import warnings

from adl.errors import PairError
from adl.records import PairSpec
from tests.planted_cli import stand_in_for_torch
from tests.workbench.agent.test_blinding import ADAPTER, BASE, NamedPair


class NamedLoading:
    @staticmethod
    def load(spec: PairSpec, hashes: object) -> NamedPair:
        # As libraries do, past everything of ours.
        sys.stderr.write(f"Some weights of {spec.base.checkpoint} were not used\n")
        warnings.warn(f"{ADAPTER}/adapter_config.json is old", stacklevel=1)
        match os.environ.get("NAMED_CLI"):
            case "load":
                raise PairError(f"{ADAPTER} cannot be read", f"Look into {ADAPTER} on {BASE}.")
            case "bug":
                raise RuntimeError(f"no key in {ADAPTER}/adapter_model.safetensors")
        return NamedPair()


def main() -> None:
    stand_in_for_torch({})
    vars(sys.modules["adl.pair.nnsight.pair"])["NnsightPair"] = NamedLoading
    from workbench import cli

    cli.main()


if __name__ == "__main__":
    main()
