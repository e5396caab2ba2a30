"""The command line as it is, but for the second before each question for a job's state at NDIF."""

from __future__ import annotations

from adl.pair.nnsight.ndif import NdifBackend
from workbench import cli

if __name__ == "__main__":
    NdifBackend._pause = lambda *_: None  # type: ignore[method-assign]
    cli.main()
