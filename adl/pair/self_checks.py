"""The checks of a pair at load, and the capabilities that a failed check turns off.

    a check fails -> capabilities that need it are off, and raise ``NotAvailable``
                  -> or the pair is refused, if no number would be right

Architectures and kinds of adapters need not be known: one that is read wrongly fails a check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from adl.errors import NotAvailable
from adl.records import Check, PairProvenance

Capability = Literal[
    "residuals",
    "activation difference",
    "logit lens",
    "patchscope",
    "steering",
    "generation",
    "outputs",
]
RESIDUALS: Capability = "residuals"
DIFFERENCE: Capability = "activation difference"
LOGIT_LENS: Capability = "logit lens"
PATCHSCOPE: Capability = "patchscope"
STEERING: Capability = "steering"
GENERATION: Capability = "generation"
OUTPUTS: Capability = "outputs"

FINITE = "finite numbers"
CAUSAL = "no look ahead"
ADAPTER_OFF = "adapter off is the base"
SIDES_DIFFER = "the sides differ"
CAPTURE = "residuals"
UNTOUCHED = "the same residual put back"
LENS = "logit lens"
PATCHED = "patchscope"
PADDED = "steered among padded texts"
GENERATED = "generation"
BASIS = "shared basis"

NEEDED_BY: Mapping[str, tuple[Capability, ...]] = {
    FINITE: (DIFFERENCE, LOGIT_LENS, PATCHSCOPE, STEERING, GENERATION, OUTPUTS),
    CAPTURE: (RESIDUALS, DIFFERENCE),
    UNTOUCHED: (LOGIT_LENS, PATCHSCOPE, STEERING),
    LENS: (LOGIT_LENS,),
    PATCHED: (PATCHSCOPE,),
    PADDED: (STEERING,),
    GENERATED: (GENERATION,),
    BASIS: (DIFFERENCE,),
}
"""Capabilities that a failed check turns off. Other checks refuse the pair, or only report."""

HINTS: Mapping[str, str] = {
    FINITE: "Load it with a wider format: --dtype bfloat16 or --dtype float32.",
    SIDES_DIFFER: "See that the adapter acts on plain text, and that both names are right.",
    BASIS: "What the sides say can still be compared: the output difference, and asking both.",
}


def failed(
    name: str, found: str, figure: float | None = None, tolerance: float | None = None
) -> Check:
    """Return a failed check, with the capabilities it turns off."""
    return Check(name, "failed", found, figure, tolerance, NEEDED_BY.get(name, ()))


def compared(name: str, figure: float, tolerance: float, found: str, wrong: str) -> Check:
    """Return a check that passes if ``figure`` is at most ``tolerance``; NaN fails."""
    if figure <= tolerance:
        return Check(name, "passed", found, figure, tolerance)
    return failed(name, wrong, figure, tolerance)


def hint(check: Check) -> str:
    """Return what to do about a failed check, or an empty string."""
    if check.outcome != "failed":
        return ""
    return HINTS.get(check.name, "The other readings do not need it." if check.off else "")


def require(provenance: PairProvenance, capability: Capability) -> None:
    """Raise ``NotAvailable`` if a failed check turned ``capability`` off for this pair."""
    for check in provenance.checks:
        if capability in check.off:
            raise NotAvailable(
                f"{capability}: not available for this pair: {check.found}", hint(check)
            )


def check_line(check: Check | Mapping[str, Any]) -> str:
    """Return a check in one line, from its record or from its plain data in the log."""
    plain = check if isinstance(check, Mapping) else vars(check)
    figure, tolerance = plain.get("figure"), plain.get("tolerance")
    number = "" if figure is None else f" ({figure:.2g}"
    if number:
        number += ")" if tolerance is None else f", at most {tolerance:.2g})"
    off = ", ".join(plain.get("off", ()))
    return f"{plain['found']}{number}" + (f"; off: {off}" if off else "")
