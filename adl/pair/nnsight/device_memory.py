"""Memory of accelerators that torch keeps after what was in it is gone."""

from __future__ import annotations

import gc

import torch


def give_back() -> None:
    """Give back what no tensor uses, so that other processes of the machine can have it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
