"""Settings of a probe besides its words, kept between probes and shown above the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pydantic import ValidationError

from adl.pair.protocol import Thinking
from adl.records import POOLED, SIDES, Side
from workbench.operations.generation import DEFAULT_ALPHA, AskArguments


@dataclass(frozen=True)
class ProbeSettings:
    """How probes are asked; ``alpha``, ``layer`` and ``position`` count while ``steering``.

    ``raw`` text goes to the models as it is, without chat template, system turn and prefill.
    """

    system: str = ""
    prefill: str = ""
    raw: bool = False
    sides: tuple[Side, ...] = SIDES
    n_samples: int = 1
    seed: int = 0
    temperature: float = 1.0
    max_new_tokens: int = 120
    thinking: Thinking = "auto"
    steering: bool = False
    alpha: float = DEFAULT_ALPHA
    layer: str = "0.5"
    position: str = POOLED

    @classmethod
    def checked(cls, **values: Any) -> ProbeSettings:
        """Return settings from typed values. Raises ``ValidationError``."""
        wanted = cls(**values)
        taken = AskArguments(prompt="-", **wanted.generation())
        return replace(
            wanted,
            n_samples=taken.n_samples,
            seed=taken.seed,
            temperature=taken.temperature,
            max_new_tokens=taken.max_new_tokens,
            alpha=AskArguments(prompt="-", alpha=wanted.alpha).alpha,
        )

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> ProbeSettings:
        """Return the settings of an asked probe. Raises ``ValidationError``."""
        taken = AskArguments.model_validate(arguments)
        return cls(
            system=taken.system or "",
            prefill=taken.prefill,
            raw=taken.raw is not None,
            sides=taken.sides,
            n_samples=taken.n_samples,
            seed=taken.seed,
            temperature=taken.temperature,
            max_new_tokens=taken.max_new_tokens,
            thinking=taken.thinking,
            steering=bool(taken.alpha),
            alpha=taken.alpha or DEFAULT_ALPHA,
            layer=taken.layer,
            position=taken.position,
        )

    @classmethod
    def from_data(cls, data: Any) -> ProbeSettings:
        """Return settings from the data of `as_data`, with defaults for whatever does not fit."""
        if not isinstance(data, Mapping):
            return cls()
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        if isinstance(values.get("sides"), list):
            values["sides"] = tuple(values["sides"])
        texts = ("system", "prefill", "layer", "position")
        if not all(isinstance(values.get(name, ""), str) for name in texts):
            return cls()
        if not all(isinstance(values.get(name, False), bool) for name in ("raw", "steering")):
            return cls()
        try:
            return cls.checked(**values)
        except ValidationError:
            return cls()

    def as_data(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        return asdict(self) | {"sides": list(self.sides)}

    def generation(self, *, raw: bool = False) -> dict[str, Any]:
        """Return the arguments of `AskArguments` except the messages."""
        return {
            "thinking": "auto" if raw else self.thinking,
            "sides": self.sides,
            "n_samples": self.n_samples,
            "seed": self.seed,
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
            "layer": self.layer,
            "position": self.position,
            "alpha": self.alpha if self.steering else 0.0,
        }

    def in_short(self, *, raw: bool) -> str:
        """Return the settings on one line; ``raw`` for a probe without a chat template."""
        asked = "both" if len(self.sides) == 2 else f"{self.sides[0]} only"
        samples = f"{self.n_samples} sample{'' if self.n_samples == 1 else 's'}"
        parts = [
            asked,
            samples,
            f"{self.max_new_tokens} tokens",
            f"T {self.temperature:g}",
            f"seed {self.seed}",
        ]
        if self.steering:
            parts.insert(0, f"steered {self.alpha:g} at layer {self.layer}, {self.position}")
        if raw:
            parts.insert(0, "raw text")
        elif self.prefill:
            parts.insert(0, "prefill")
        if self.thinking != "auto" and not raw:
            parts.insert(0, f"thinking {self.thinking}")
        if self.system and not raw:
            parts.insert(0, "system")
        return " · ".join(parts)
