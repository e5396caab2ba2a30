"""Settings of a probe besides its words, kept between probes and shown above the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import FiniteFloat, ValidationError

from workbench.operations.generation import DEFAULT_ALPHA, AskArguments
from workbench.operations.shared_arguments import Words

_QUESTION = {"prompt", "messages", "raw"}


class ProbeSettings(AskArguments):
    """Arguments of the probes, whose question is yet to be written.

    ``alpha``, ``layer`` and ``position`` count while ``steering``. Text is sent ``as_raw`` without
    chat template, system turn and prefill.
    """

    prompt: Words = ""
    system: Words = ""
    alpha: FiniteFloat = DEFAULT_ALPHA
    as_raw: bool = False
    steering: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> ProbeSettings:
        """Return the settings of an asked probe. Raises ``ValidationError``."""
        asked = AskArguments.model_validate(arguments)
        return cls.model_validate(
            asked.model_dump(exclude=_QUESTION)
            | {
                "system": asked.system or "",
                "alpha": asked.alpha or DEFAULT_ALPHA,
                "as_raw": asked.raw is not None,
                "steering": bool(asked.alpha),
            }
        )

    @classmethod
    def from_data(cls, data: Any) -> ProbeSettings:
        """Return settings from the data of `as_data`, or the defaults if a value does not fit."""
        if not isinstance(data, Mapping):
            return cls()
        known = cls.model_fields.keys() - _QUESTION
        values = {name: value for name, value in data.items() if name in known}
        try:
            return cls.model_validate(values | {"as_raw": data.get("raw", False)})
        except ValidationError:
            return cls()

    def as_data(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        data = self.model_dump(mode="json", exclude=_QUESTION | {"as_raw"})
        return data | {"raw": self.as_raw}

    def asking(self, **question: Any) -> AskArguments:
        """Return the arguments of a question: prompt, messages or raw. Raises ``ValidationError``."""
        values = self.model_dump(include=AskArguments.model_fields.keys() - _QUESTION)
        values |= {"system": self.system or None, "alpha": self.alpha if self.steering else 0.0}
        if "raw" in question:
            values |= {"system": None, "prefill": "", "thinking": "auto"}
        return AskArguments.model_validate(values | question)

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
