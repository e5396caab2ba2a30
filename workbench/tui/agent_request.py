"""The request for an audit by an agent, as form fields and as data, and the endpoint's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from adl.errors import AdlError
from workbench.agent.budgets import Budgets
from workbench.locations import find_locations
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


@dataclass(frozen=True)
class AuditRequest:
    """Settings of an audit by an agent; ``prepare`` first computes what is missing of its overview."""

    model: str
    mode: AgentMode = "adl"
    budgets: Budgets = field(default_factory=Budgets)
    approval: Policy = "never"
    blind: bool = False
    prepare: bool = True


@dataclass(frozen=True)
class EndpointFacts:
    """Settings of the endpoint without secrets; ``trouble`` if they cannot be used."""

    address: str = ""
    has_key: bool = False
    needs_key: bool = False
    model: str | None = None
    config_file: str = ""
    trouble: str = ""

    @property
    def is_ready(self) -> bool:
        """True if an agent can be started, given a model."""
        return not self.trouble and (self.has_key or not self.needs_key)


def look_up_endpoint() -> EndpointFacts:
    """Read the settings again, so that a corrected file counts at once."""
    # Imported on first use, so that the screen is shown sooner.
    from workbench.settings import DEFAULT_ENDPOINT, load_settings

    config_file = str(find_locations().config_file)
    try:
        settings = load_settings()
    except AdlError as exc:
        return EndpointFacts(config_file=config_file, trouble=str(exc))
    return EndpointFacts(
        address=settings.address,
        has_key=settings.api_key is not None,
        needs_key=settings.base_url.rstrip("/") == DEFAULT_ENDPOINT,
        model=settings.agent_model,
        config_file=config_file,
    )


def empty_request() -> Fields:
    """Return the initial texts of the form."""
    budgets = Budgets()
    return {
        "mode": MODES["adl"],
        "model": "",
        "interactions": _typed(budgets.interactions),
        "calls": _typed(budgets.calls),
        "tokens": _typed(budgets.tokens),
        "minutes": "" if budgets.seconds is None else f"{budgets.seconds / 60:g}",
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
            problems[name] = f"{plain[:20]!r} is no number; empty means no limit"
            return None
        if not least <= value < 1e12:
            problems[name] = f"give {least:g} or more; empty means no limit"
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
