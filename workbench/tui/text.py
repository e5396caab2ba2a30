"""Text for the screen: untrusted text passes the display boundary, and is never markup."""

from __future__ import annotations

from textual.content import Content

from adl.text.tokens import visible
from workbench.display import clean_line, clean_lines, shorten
from workbench.store.events import Actor
from workbench.tui.on_screen import on_screen


def line(text: str, style: str = "", width: int | None = None) -> Content:
    """Return untrusted text on one line of at most ``width`` characters, controls made visible."""
    cleaned = clean_line(text)
    return Content.styled(cleaned if width is None else shorten(cleaned, width), style)


def block(text: str, style: str = "") -> Content:
    """Return untrusted text of several lines, controls except line feeds made visible."""
    return Content.styled(clean_lines(text), style)


def problem(message: str, style: str = "$text-error") -> Content:
    """Return a message of an error, with options of the command line called as fields are."""
    return block(on_screen(message), style)


def token(text: str, style: str = "") -> Content:
    """Return a token with its whitespace made visible, without the leading space of words."""
    return Content.styled(clean_line(visible(text)).removeprefix("\u00b7"), style)


def actor_name(actor: Actor, *, short: bool = False) -> str:
    """Return the display name of an actor; ``short`` leaves out "agent" before an agent's name."""
    named = clean_line(actor.name)
    if actor.kind == "human":
        return named or "you"
    if actor.kind == "agent":
        return named if short and named else f"agent {named}".rstrip()
    return named or "program"
