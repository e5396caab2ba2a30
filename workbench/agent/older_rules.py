"""The tools of audits that began by older rules, for their cassettes and for going on with them.

The rules are versioned with the prompts: up to version 2 every operation had a tool of its own, a
prompt counted once however many strengths it was steered at, and evidence was marked by the numbers of
events. Up to version 3 a call that failed before it put anything to the models was charged in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.operations.generation import prompts_and_samples

VERSIONS = frozenset({"1", "2"})

#: Those by which a call that put nothing to the models was charged like any other.
_CHARGED_IN_FULL = VERSIONS | {"3"}


def are_of(settings: Mapping[str, Any]) -> bool:
    """True for an audit that began by older rules, whose start records these settings."""
    return settings.get("prompts") in VERSIONS


def charge_in_full(settings: Mapping[str, Any]) -> bool:
    """True for an audit that pays for a call that fails before any text is begun."""
    return settings.get("prompts") in _CHARGED_IN_FULL


def _prompts_and_samples(arguments: Any) -> int:
    return prompts_and_samples(arguments.prompts, arguments.n_prompts, arguments.n_samples)


#: Model interactions of a call, where they were counted otherwise.
PRICES: Mapping[str, Callable[[Any], int]] = {
    "steer": _prompts_and_samples,
    "amplify": _prompts_and_samples,
}
