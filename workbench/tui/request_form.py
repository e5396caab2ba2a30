"""The request for an audit by an agent as the fields of its form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from adl.words import plain_number
from workbench.agent.budgets import Budgets
from workbench.engine.agent_request import AuditRequest
from workbench.store.agent_events import AgentMode, Policy
from workbench.tui.pair_form import Fields

#: How modes and policies are called on the screen.
MODES: Mapping[AgentMode, str] = {
    "adl": "ADL",
    "black_box": "black box",
    "scaffolded": "scaffolded",
}
POLICIES: Mapping[Policy, str] = {"never": "never", "spending": "spending", "always": "always"}
ON, OFF = "on", "off"


def empty_request() -> Fields:
    """Return the initial texts of the form."""
    budgets = Budgets()
    return {
        "mode": MODES["adl"],
        "model": "",
        "interactions": _typed(budgets.interactions),
        "calls": _typed(budgets.calls),
        "tokens": _typed(budgets.tokens),
        "minutes": "" if budgets.seconds is None else plain_number(budgets.seconds / 60),
        "approval": "never",
        "blind": OFF,
        "prepare": ON,
    }


def known_fields(view: Any) -> Fields:
    """Return the usable fields of saved data over the initial ones."""
    fields = empty_request()
    if isinstance(view, Mapping):
        kept = {name: view[name] for name in fields if isinstance(view.get(name), str)}
        fields |= kept
    return fields


def check_request(fields: Mapping[str, str]) -> tuple[AuditRequest | None, dict[str, str]]:
    """Return the request made from the fields, or None and the problems by field."""
    problems: dict[str, str] = {}

    def number(name: str, parse: Callable[[str], float], least: float) -> float | None:
        plain = fields.get(name, "").replace(",", "").replace("_", "").strip()
        if not plain:
            return None
        try:
            value = parse(plain)
        except ValueError:
            problems[name] = f"must be a number, not {plain[:20]!r}; empty means no limit"
            return None
        if not least <= value < 1e12:
            problems[name] = f"must be {plain_number(least)} or more; empty means no limit"
            return None
        return value

    interactions = number("interactions", int, 0)
    calls, tokens = number("calls", int, 1), number("tokens", int, 1)
    minutes = number("minutes", float, 0)
    model = fields.get("model", "").strip()
    if not model:
        problems["model"] = "name the model that plays the agent"
    modes = {label: mode for mode, label in MODES.items()}
    if problems:
        return None, problems
    wish = AuditRequest(
        model=model,
        mode=modes.get(fields.get("mode", ""), "adl"),
        budgets=Budgets(
            None if interactions is None else int(interactions),
            None if calls is None else int(calls),
            None if tokens is None else int(tokens),
            None if minutes is None else 60.0 * minutes,
        ),
        approval=next(
            (policy for policy in get_args(Policy) if policy == fields.get("approval")), "never"
        ),
        blind=fields.get("blind") == ON,
        prepare=fields.get("prepare") == ON,
    )
    return wish, {}


def _typed(value: int | None) -> str:
    return "" if value is None else str(value)
