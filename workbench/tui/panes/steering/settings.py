"""The settings of the steering console: the arguments of steering, from and to typed text."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, FiniteFloat, ValidationError

from adl.errors import SiteError
from adl.generation.amplified import Carrier
from adl.pair.protocol import resolve_layer
from adl.records import DEFAULT_LAYER
from adl.text.prompts import everyday_prompts
from workbench.fields import choices, in_words
from workbench.operations.amplify import AmplifyArguments
from workbench.operations.generation import DEFAULT_ALPHA, SteerArguments
from workbench.operations.shared_arguments import Words
from workbench.tui.operation_fields import form_field, from_typed, typed_text

SOURCES = choices(SteerArguments.model_fields["source"].annotation)

CARRIERS = choices(AmplifyArguments.model_fields["carrier"].annotation)

#: A sweep gives an overview before the details: few prompts and short texts.
SWEEP_ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 1.0)
SWEEP_PROMPTS = 3
SWEEP_TOKENS = 40

#: Fields that the console, and the views it recorded, call by another name.
_NAMES = {
    "n_prompts": "everyday",
    "n_samples": "samples",
    "max_new_tokens": "tokens",
    "alphas": "sweep",
}
_FIELDS = {name: field for field, name in _NAMES.items()}


def _layer(layer: str) -> str:
    if layer_index(layer, sys.maxsize) is None:
        raise ValueError(
            f"must be a number (15) or a share of the depth from 0.0 to 1.0, not {layer!r}"
        )
    return layer


def _with_unsteered(alphas: tuple[float, ...]) -> tuple[float, ...]:
    if not any(alphas):
        raise ValueError("must have an alpha other than 0, as in 0.1 0.3 0.6")
    return tuple(sorted({0.0, *alphas}))


class SteeringSettings(SteerArguments):
    """Arguments of the next steering, at ``alpha``, and of the next sweep, at ``alphas``.

    ``own`` selects the prompts: ``prompt`` if true, else the first ``n_prompts`` bundled ones.
    """

    layer: Annotated[str, AfterValidator(_layer)] = DEFAULT_LAYER
    alphas: Annotated[tuple[FiniteFloat, ...], AfterValidator(_with_unsteered)] = SWEEP_ALPHAS
    n_prompts: int = Field(4, ge=1, le=len(everyday_prompts()))
    alpha: FiniteFloat = DEFAULT_ALPHA
    carrier: Carrier = "difference"
    prompt: Words = Field("", min_length=1)
    own: bool = False

    def text(self, name: str) -> str:
        """Return a setting as it would be typed."""
        return typed_text(getattr(self, _FIELDS.get(name, name)))

    def changed(self, name: str, typed: str) -> SteeringSettings:
        """Return the settings with one changed. Raises ``ValueError`` with a message to show."""
        changed = self._with(name, typed)
        if name in {"prompt", "everyday"}:
            return changed.model_copy(update={"own": name == "prompt"})
        return changed

    def _with(self, name: str, typed: str) -> SteeringSettings:
        field = _FIELDS.get(name, name)
        values = self.model_dump(exclude_unset=True)
        info = type(self).model_fields[field]
        values[field] = from_typed(form_field(field, info), typed.strip(), info)
        try:
            return self.model_validate(values)
        except ValidationError as exc:
            raise ValueError(in_words(exc, type(self), names=_shown)) from None

    def as_view(self) -> dict[str, str]:
        """Return the settings as plain data, for `from_view`."""
        return {name: self.text(name) for name in self._names()}

    @classmethod
    def from_view(cls, view: object) -> SteeringSettings:
        """Return settings from data, with defaults for whatever does not fit."""
        settings = cls()
        if not isinstance(view, Mapping):
            return settings
        for name in cls._names():
            try:
                settings = settings._with(name, str(view[name]))
            except (KeyError, ValueError):
                continue
        return settings if settings.prompt else settings.model_copy(update={"own": False})

    def steering(self) -> SteerArguments | AmplifyArguments:
        """Return arguments for steered and unsteered texts. Raises ``ValueError``."""
        if self.carrier != "difference":
            return self._amplifying(strengths=(self.alpha,))
        if self.alpha == 0:
            raise ValueError("alpha is 0, which adds nothing: raise it with the right arrow key")
        return self._arguments(alphas=(0.0, self.alpha))

    def sweeping(self) -> SteerArguments | AmplifyArguments:
        """Return arguments for short texts at every strength of the sweep."""
        short = {
            "n_prompts": min(self.n_prompts, SWEEP_PROMPTS),
            "n_samples": 1,
            "max_new_tokens": min(self.max_new_tokens, SWEEP_TOKENS),
        }
        if self.carrier == "difference":
            return self._arguments(**short)
        # Those of the difference mean nothing to another carrier, which has its own.
        asked = () if self.alphas == SWEEP_ALPHAS else tuple(each for each in self.alphas if each)
        return self._amplifying(**short, strengths=asked)

    @classmethod
    def _names(cls) -> list[str]:
        # The console sets these two by `prompt` and `own`.
        fields = [field for field in cls.model_fields if field not in {"prompts", "prompt_file"}]
        return [_NAMES.get(field, field) for field in fields]

    def _arguments(self, **values: Any) -> SteerArguments:
        values = self.model_dump(include=set(SteerArguments.model_fields)) | values
        if self.own:
            values |= {"prompts": (self.prompt,), "n_prompts": None}
        return SteerArguments.model_validate(values)

    def _amplifying(self, **values: Any) -> AmplifyArguments:
        shared = set(AmplifyArguments.model_fields) & set(SteerArguments.model_fields)
        given = self._arguments(**{name: values[name] for name in shared & values.keys()})
        values = given.model_dump(include=shared) | values | {"carrier": self.carrier}
        try:
            return AmplifyArguments.model_validate(values)
        except ValidationError as exc:
            raise ValueError(in_words(exc, AmplifyArguments, most=1, names=_shown)) from None


def layer_index(layer: str, n_layers: int | None) -> int | None:
    """Return the layer index; None if it is out of range or the depth is not known."""
    if n_layers is None:
        return None
    try:
        return resolve_layer(layer, n_layers)
    except SiteError:
        return None


def _shown(field: str) -> str:
    return _NAMES.get(field, field).replace("_", " ")
