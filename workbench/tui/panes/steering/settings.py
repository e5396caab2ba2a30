"""The settings of the steering console, with their conversions from and to typed text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from adl.errors import SiteError
from adl.pair.protocol import Thinking, resolve_layer
from adl.records import POOLED, SIDES, Side
from adl.text.prompts import everyday_prompts
from workbench.operations.generation import DEFAULT_ALPHA, SteerArguments

Source = Literal["difference", "random", "split_half"]
SOURCES: tuple[Source, ...] = ("difference", "random", "split_half")

#: A sweep is looked at before anything is believed of it: few prompts and short texts.
SWEEP_ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 1.0)
SWEEP_PROMPTS = 3
SWEEP_TOKENS = 40


@dataclass(frozen=True)
class SteeringSettings:
    """Settings of a steering. ``alpha`` is in units of the typical residual norm of ``layer``.

    ``own`` selects the prompts: ``prompt`` if true, else the first ``everyday`` bundled ones.
    """

    alpha: float = DEFAULT_ALPHA
    layer: str = "0.5"
    position: str = POOLED
    side: Side = "finetuned"
    source: Source = "difference"
    own: bool = False
    prompt: str = ""
    everyday: int = 4
    seed: int = 0
    temperature: float = 1.1
    tokens: int = 60
    samples: int = 1
    thinking: Thinking = "auto"
    sweep: tuple[float, ...] = SWEEP_ALPHAS

    def text(self, name: str) -> str:
        """Return a setting as it would be typed."""
        value = getattr(self, name)
        if isinstance(value, tuple):
            return " ".join(f"{alpha:g}" for alpha in value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.10g}" if isinstance(value, float) else str(value)

    def changed(self, name: str, typed: str) -> SteeringSettings:
        """Return the settings with one changed. Raises ``ValueError`` with a message to show."""
        change: dict[str, Any] = {name: _READERS[name](typed)}
        if name in {"prompt", "everyday"}:
            change["own"] = name == "prompt"
        return replace(self, **change)

    def as_view(self) -> dict[str, str]:
        """Return the settings as plain data, for `from_view`."""
        return {item.name: self.text(item.name) for item in fields(self)}

    @classmethod
    def from_view(cls, view: object) -> SteeringSettings:
        """Return settings from data, with defaults for whatever does not fit."""
        settings = cls()
        if not isinstance(view, Mapping):
            return settings
        for name, read in _READERS.items():
            try:
                settings = replace(settings, **{name: read(str(view[name]))})
            except (KeyError, ValueError):
                continue
        return settings if settings.prompt else replace(settings, own=False)

    def steering(self) -> SteerArguments:
        """Return arguments for steered and unsteered texts. Raises ``ValueError``."""
        if self.alpha == 0:
            raise ValueError("alpha is 0, which adds nothing: raise it with the right arrow key")
        return self._arguments((0.0, self.alpha), self.everyday, self.samples, self.tokens)

    def sweeping(self) -> SteerArguments:
        """Return arguments for short texts at every alpha of the sweep. Raises ``ValueError``."""
        n_prompts = min(self.everyday, SWEEP_PROMPTS)
        return self._arguments(self.sweep, n_prompts, 1, min(self.tokens, SWEEP_TOKENS))

    def _arguments(
        self, alphas: tuple[float, ...], everyday: int, n_samples: int, tokens: int
    ) -> SteerArguments:
        return SteerArguments(
            prompts=(self.prompt,) if self.own else (),
            n_prompts=None if self.own else everyday,
            alphas=alphas,
            layer=self.layer,
            position=self.position,
            side=self.side,
            source=self.source,
            n_samples=n_samples,
            seed=self.seed,
            temperature=self.temperature,
            max_new_tokens=tokens,
            thinking=self.thinking,
        )


def layer_index(layer: str, n_layers: int | None) -> int | None:
    """Return the layer index; None if it is out of range or the depth is not known."""
    if n_layers is None:
        return None
    try:
        return resolve_layer(layer, n_layers)
    except SiteError:
        return None


def _layer(typed: str) -> str:
    written = typed.strip()
    value = _number("layer", "give a number (15) or a share of the depth (0.5)")(written)
    if value < 0 or ("." in written and value > 1):
        raise ValueError(
            f"layer {typed!r} is not a layer: give a number (15) or a share of the depth (0.5)"
        )
    if "." not in written and not written.isdecimal():
        raise ValueError(f"layer {typed!r} is not a whole number: a share of the depth has a point")
    return written


def _number(what: str, hint: str, least: float = -math.inf) -> Callable[[str], float]:
    def read(typed: str) -> float:
        if not typed.strip():
            raise ValueError(f"{what} is empty: {hint}")
        try:
            value = float(typed)
        except ValueError:
            raise ValueError(f"{what} {typed!r} is not a number: {hint}") from None
        if not math.isfinite(value) or value < least:
            raise ValueError(f"{what} {typed!r} is out of range: {hint}")
        return value

    return read


def _whole(what: str, least: int, most: int | None = None) -> Callable[[str], int]:
    bound = f"from {least}" if most is None else f"from {least} to {most}"

    def read(typed: str) -> int:
        try:
            value = int(typed)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise ValueError(f"{what} {typed!r} does not do: give a whole number {bound}")
        return value

    return read


def _everyday(typed: str) -> int:
    return _whole("everyday", 1, len(everyday_prompts()))(typed)


def _one_of(what: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(typed: str) -> str:
        if typed not in choices:
            raise ValueError(f"{what} {typed!r} does not exist: choose from {', '.join(choices)}")
        return typed

    return read


def _written(what: str, hint: str) -> Callable[[str], str]:
    def read(typed: str) -> str:
        if not typed.strip():
            raise ValueError(f"no {what}: {hint}")
        return typed.strip()

    return read


def _sweep(typed: str) -> tuple[float, ...]:
    hint = "give numbers with spaces between them, as 0.1 0.3 0.6"
    one = _number("an alpha of the sweep", hint)
    alphas = {one(part) for part in typed.replace(",", " ").split()} | {0.0}
    if len(alphas) == 1:
        raise ValueError(f"the sweep has no alpha but 0: {hint}")
    return tuple(sorted(alphas))


_READERS: dict[str, Callable[[str], Any]] = {
    "alpha": _number("alpha", "give a number such as 0.3"),
    "layer": _layer,
    "position": _written("position", "choose one that was measured"),
    "side": _one_of("side", SIDES),
    "source": _one_of("vector", SOURCES),
    "own": lambda typed: typed == "yes",
    "prompt": _written("prompt", "write one, or press Escape and take everyday prompts"),
    "everyday": _everyday,
    "seed": _whole("seed", 0),
    "temperature": _number("temperature", "give 0 or more; 0 takes the likeliest token", 0),
    "tokens": _whole("tokens", 1),
    "samples": _whole("samples", 1),
    "thinking": _one_of("thinking", get_args(Thinking)),
    "sweep": _sweep,
}
