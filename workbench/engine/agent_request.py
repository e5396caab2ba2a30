"""The request for an audit by an agent, and the endpoint that its model is asked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from adl.errors import AdlError
from workbench.agent.budgets import Budgets
from workbench.locations import find_locations
from workbench.store.agent_events import AgentMode, Policy

AgentPhase = Literal["idle", "preparing", "working", "stopping"]
"""What the thread of the agent is at."""


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
