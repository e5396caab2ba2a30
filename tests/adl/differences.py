"""A measured difference beside every residual of its texts, held at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adl.records import SIDES, ActivationDifference, Side


def check_difference(
    found: ActivationDifference,
    truth: Mapping[Side, np.ndarray],
    close: Mapping[str, float],
    error_close: Mapping[str, float],
) -> None:
    """Assert means, norms and standard error of residuals [texts, layers, positions, width]."""
    change = truth["finetuned"] - truth["base"]
    np.testing.assert_allclose(found.difference, change.mean(0), **close)
    np.testing.assert_allclose(found.base_mean, truth["base"].mean(0), **close)
    np.testing.assert_allclose(found.finetuned_mean, truth["finetuned"].mean(0), **close)
    for side in SIDES:
        norms = np.linalg.norm(truth[side], axis=-1).mean(0)
        np.testing.assert_allclose(getattr(found, f"{side}_norm"), norms, **close)
    error = np.linalg.norm(change.std(0, ddof=1), axis=-1) / np.sqrt(len(change))
    np.testing.assert_allclose(found.standard_error, error, **error_close)
