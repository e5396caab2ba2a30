"""What is tried of a pair when it is loaded, and what cannot be had where a check fails.

    a check fails -> what needs it is off, by name, and says so when it is asked for
                  -> or, where nothing right is left, the pair is refused

No architecture and no kind of adapter need be known beforehand: one that is read wrongly fails here.
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
"""What is off where a check fails. A check that is not here refuses the pair, or only says so."""

WAY_OUT: Mapping[str, str] = {
    FINITE: "Load it with a wider format: --dtype bfloat16 or --dtype float32.",
    SIDES_DIFFER: "See that the adapter acts on plain text, and that both names are right.",
    BASIS: "What the sides say can still be compared: the output difference, and asking both.",
}


def failed(
    name: str, found: str, figure: float | None = None, tolerance: float | None = None
) -> Check:
    """A check that failed, with what is off because of it."""
    return Check(name, "failed", found, figure, tolerance, NEEDED_BY.get(name, ()))


def compared(name: str, figure: float, tolerance: float, found: str, wrong: str) -> Check:
    """A check on a number that should be no more than ``tolerance``; NaN is more."""
    if figure <= tolerance:
        return Check(name, "passed", found, figure, tolerance)
    return failed(name, wrong, figure, tolerance)


def hint(check: Check) -> str:
    """What can be done about a check that failed, or done without it."""
    if check.outcome != "failed":
        return ""
    return WAY_OUT.get(check.name, "The other readings do not need it." if check.off else "")


def require(provenance: PairProvenance, capability: Capability) -> None:
    """Raise ``NotAvailable`` if ``capability`` rests on something that failed on this pair."""
    for check in provenance.checks:
        if capability in check.off:
            raise NotAvailable(
                f"{capability}: not available for this pair: {check.found}", hint(check)
            )


def check_line(check: Check | Mapping[str, Any]) -> str:
    """A check in one line, from its record or from its plain data in the log."""
    plain = check if isinstance(check, Mapping) else vars(check)
    figure, tolerance = plain.get("figure"), plain.get("tolerance")
    number = "" if figure is None else f" ({figure:.2g}"
    if number:
        number += ")" if tolerance is None else f", at most {tolerance:.2g})"
    off = ", ".join(plain.get("off", ()))
    return f"{plain['found']}{number}" + (f"; off: {off}" if off else "")
