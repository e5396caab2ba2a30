"""The session's facts for the steering console: layers, norms and suggested alphas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adl.records import POOLED
from workbench.store.alphas import chosen_alphas
from workbench.store.events import DifferenceMeasured
from workbench.store.state import SessionState
from workbench.tui import keys
from workbench.tui.panes.steering.settings import SteeringSettings, layer_index


@dataclass(frozen=True)
class SteeringFacts:
    """Measured norms and suggested alphas for steering.

    ``n_layers`` is None where no pair was loaded; ``differences`` has the newest one of each layer,
    and ``suggested`` the alphas that the shift lens chose at a layer and position.
    """

    n_layers: int | None = None
    differences: Mapping[int, DifferenceMeasured] = field(default_factory=dict)
    suggested: Mapping[tuple[int, str], frozenset[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, state: SessionState) -> SteeringFacts:
        """Return the facts of a session."""
        suggested: dict[tuple[int, str], set[float]] = {}
        for key in chosen_alphas(state):
            alphas = suggested.setdefault((key.layer, key.position), set())
            alphas |= set() if key.scale is None else {key.scale}
        return cls(
            n_layers=None if state.pair is None else int(state.pair["n_layers"]),
            differences={
                layer: recorded.body
                for recorded in state.differences.values()
                for layer in recorded.body.layers
            },
            suggested={place: frozenset(alphas) for place, alphas in suggested.items()},
        )

    def layer(self, settings: SteeringSettings) -> int | None:
        """Return the layer index of the settings; None where it is not known."""
        return layer_index(settings.layer, self.n_layers)

    def norm(self, settings: SteeringSettings) -> float | None:
        """Return the residual norm that alpha is in units of; None where it was not computed."""
        layer = self.layer(settings)
        found = None if layer is None else self.differences.get(layer)
        return None if found is None else found.residual_norm.get(str(layer))

    def positions(self, settings: SteeringSettings) -> tuple[str, ...]:
        """Return the positions measured at the layer, the pooled one first."""
        layer = self.layer(settings)
        found = None if layer is None else self.differences.get(layer)
        return tuple(dict.fromkeys((POOLED, *(found.positions if found else ()))))

    def suggestions(self, settings: SteeringSettings) -> list[float]:
        """Return the sorted alphas that the shift lens chose at the layer and position."""
        layer = self.layer(settings) if settings.carrier == "difference" else None
        return sorted(self.suggested.get((-1 if layer is None else layer, settings.position), ()))

    def is_missing(self, settings: SteeringSettings) -> bool:
        """True if the layer exists, has no measured difference, and the carrier needs one."""
        layer = self.layer(settings) if settings.carrier == "difference" else None
        return layer is not None and layer not in self.differences

    def wrong_layer(self, layer: str) -> str:
        """Return why a layer is invalid; empty if it is valid or the depth is not known."""
        if self.n_layers is None or layer_index(layer, self.n_layers) is not None:
            return ""
        return (
            f"layer {layer} is not a layer of this model: give a number from 0 to"
            f" {self.n_layers - 1}, or a share of the depth from 0.0 to 1.0"
        )

    def refusal(self, settings: SteeringSettings, *, being_measured: bool) -> str:
        """Return the reason why these settings cannot be steered with; empty if they can."""
        if self.n_layers is None:
            return "no model pair is loaded: nothing can be steered yet"
        if settings.carrier != "difference":
            return ""
        if wrong := self.wrong_layer(settings.layer):
            return wrong
        if self.is_missing(settings):
            return "" if being_measured else self.missing(settings)
        there = self.positions(settings)
        if settings.position not in there:
            return (
                f"position {settings.position} was not measured at layer {self.layer(settings)}:"
                f" {keys.shown('position')} takes one of {', '.join(there)}"
            )
        return ""

    def missing(self, settings: SteeringSettings, *, recorded: bool = False) -> str:
        """That the difference was not computed, and what computes it; nothing does in a replay."""
        missing = f"not computed: the difference at layer {self.layer(settings)}."
        return missing if recorded else f"{missing} {keys.shown('measure')} measures it."
