"""Settings of a person: the endpoint, its key, and which models play the agent and the judge.

Looked for in this order: what is given (a flag), the environment, ``config.toml`` of
``workbench.locations``. The names in the file are the fields' own; in the environment they are
``OPENAI_API_KEY``, ``OPENAI_BASE_URL``, and ``ADL_WORKBENCH_`` with the field's name for the rest.
"""

from __future__ import annotations

import math
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel, Field, FiniteFloat, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariable

from adl.errors import AdlError, first_line
from workbench.bounds import LARGEST_NUMBER
from workbench.display import shorten
from workbench.fields import in_words
from workbench.locations import find_locations
from workbench.scrubbing import SHORTEST, protect

DEFAULT_ENDPOINT = "https://api.openai.com/v1"
#: Tokens of a conversation from which on older results are sent shortened; most models take more.
DEFAULT_CONTEXT = 100_000
# More does not fit the clocks of every system.
_LONGEST_SECONDS = 1e6
MUST_BE_URL = "must be a URL such as https://host:8000/v1"
EXAMPLE_KEYS = """layer = "f11"
search = ["/", "ctrl+s"]"""
"""Lines of ``[keys]`` as help and docs/keys.md show them."""


class SettingsError(AdlError):
    """A setting is missing or cannot be used."""


class Price(BaseModel):
    """Prices of a model, in US dollars per million tokens."""

    prompt: FiniteFloat = Field(ge=0)
    completion: FiniteFloat = Field(ge=0)


class Settings(BaseSettings):
    """The endpoint and the models behind it. The key is never shown: not in ``repr``, not in errors."""

    model_config = SettingsConfigDict(
        env_prefix="ADL_WORKBENCH_",
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY")
    base_url: str = Field(
        DEFAULT_ENDPOINT,
        validation_alias="OPENAI_BASE_URL",
        repr=False,
        description="Address of an OpenAI-compatible endpoint.",
    )
    agent_model: str | None = Field(None, description="Model that plays the agent.")
    judge_model: str | None = Field(None, description="Model that grades; the agent's if not set.")
    timeout: FiniteFloat = Field(
        120.0, gt=0, le=_LONGEST_SECONDS, description="Longest silence of the endpoint, in seconds."
    )
    attempts: int = Field(
        6, ge=1, le=1_000, description="How often a request is tried before giving up."
    )
    backoff: FiniteFloat = Field(
        1.0, ge=0, le=_LONGEST_SECONDS, description="First wait between attempts, in seconds."
    )
    longest_wait: FiniteFloat = Field(
        300.0,
        gt=0,
        le=_LONGEST_SECONDS,
        description="Longest wait an endpoint may ask for, in seconds.",
    )
    stream: bool = Field(True, description="Take replies as they come.")
    tools: Literal["auto", "native", "json"] = Field(
        "auto", description="Native tool calls, or JSON in the reply; auto tries native first."
    )
    context: int = Field(
        DEFAULT_CONTEXT,
        gt=0,
        le=LARGEST_NUMBER,
        description="Tokens of an audit's conversation before older results are sent shortened.",
    )
    prices: dict[str, Price] = Field(
        default_factory=dict, description="Prices by model, to compute costs with."
    )

    keys: dict[str, Any] = Field(
        default_factory=dict, description="Keys of the screen by id; docs/keys.md lists the ids."
    )

    private_files: bool = Field(
        True, description="New files are for you alone; if false, as the umask has it."
    )

    @field_validator("base_url", mode="before")
    @classmethod
    def _default_for_empty(cls, value: Any) -> Any:
        return value or DEFAULT_ENDPOINT

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value != DEFAULT_ENDPOINT and not is_url(value):
            raise ValueError(MUST_BE_URL)
        return value

    @field_validator("api_key", "agent_model", "judge_model", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Precedence: arguments, environment, config file. `.env` files are ignored."""
        return (
            init_settings,
            EnvSettingsSource(settings_cls),
            InitSettingsSource(settings_cls, _config_file(find_locations().config_file)),
        )

    @property
    def address(self) -> str:
        """The endpoint as it may be shown and recorded: without user, password and query."""
        parts = urlsplit(self.base_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be recorded or shown."""
        parts = urlsplit(self.base_url)
        key = self.api_key.get_secret_value() if self.api_key else None
        # Some take the key in the address.
        asked = [value for _, value in parse_qsl(parts.query) if len(value) >= SHORTEST]
        return tuple(one for one in (key, parts.password, *asked) if one)

    def model_post_init(self, _context: Any) -> None:
        """Keep the keys out of whatever is stored and shown from here on."""
        protect(*self.secrets())

    def require_model(self, role: Literal["agent", "judge"]) -> str:
        """The model of a role. Raises ``SettingsError`` if none is set."""
        model = self.agent_model if role == "agent" else self.judge_model or self.agent_model
        if model is None:
            variable = f"ADL_WORKBENCH_{role.upper()}_MODEL"
            raise SettingsError(
                f"no model is set for the {role}",
                f"Give --model, set {variable}, or write {role}_model into "
                f"{find_locations().config_file}.",
            )
        return model

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return the cost of a reply in US dollars; None where the model's price is not set."""
        price = self.prices.get(model)
        if price is None:
            return None
        cost = (prompt_tokens * price.prompt + completion_tokens * price.completion) / 1e6
        return cost if math.isfinite(cost) else None


def load_settings(**given: Any) -> Settings:
    """The settings, with what is ``given`` (and not None) before all else.

    Raises ``SettingsError`` that names the setting, and never its value.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as exc:
        fields = Settings.model_fields
        aliases = {str(field.validation_alias): name for name, field in fields.items()}
        wrong = in_words(
            exc, Settings, values=False, most=1, names=lambda alias: aliases.get(alias, alias)
        )
        raise SettingsError(
            f"the setting {wrong}",
            f"Correct it in the environment or in {find_locations().config_file}.",
        ) from None
    except UnreadableVariable as exc:
        raise SettingsError(
            f"an environment variable is not JSON: {first_line(exc)}", "Correct the variable."
        ) from None


def configured_keys(config_file: Path) -> dict[str, Any]:
    """Keys of the screen that the file gives, by id. Raises ``SettingsError``."""
    given = _parsed(config_file).get("keys", {})
    if not isinstance(given, dict):
        raise SettingsError(
            f"{config_file}: keys = {shorten(repr(given), 60)} is not a table of keys",
            f"Write a section: [keys], and below it lines such as {EXAMPLE_KEYS.splitlines()[0]}.",
        )
    return given


def is_url(text: str) -> bool:
    """True if the text is an address that an endpoint may have."""
    # Imported here: whoever names no endpoint does not wait for its client.
    import httpx

    try:
        url = httpx.URL(text)
        port = urlsplit(text).port
    except (httpx.InvalidURL, ValueError):
        return False
    # Spaces and controls are quoted by some clients, and end a line of the request in others.
    is_plain = text.isprintable() and " " not in text
    return is_plain and url.scheme in {"http", "https"} and bool(url.host) and port != 0


def _config_file(path: Path) -> dict[str, Any]:
    given = _parsed(path)
    known = Settings.model_fields
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"Did you mean {close[0]}? " if close else ""
            raise SettingsError(
                f"{path} has a setting {shorten(name, 100)!r}, which there is not",
                f"{meant}Settings are: {', '.join(known)}.",
            )
    return given


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise SettingsError(
            f"{path} cannot be read: {exc.strerror or exc}", "Check its permissions."
        ) from exc
    except (ValueError, RecursionError):
        # Not from the parser's error: it may quote the line that holds the key.
        raise SettingsError(f"{path} is not TOML", "Correct the file.") from None
