"""How text gets onto the screen: untrusted text through the one display boundary, never as markup."""

from __future__ import annotations

from textual.content import Content

from adl.text.tokens import visible
from workbench.display import clean_line, clean_lines, shorten
from workbench.store.events import Actor


def line(text: str, style: str = "", width: int | None = None) -> Content:
    """Untrusted text on one line, at most ``width`` characters, with controls made visible."""
    cleaned = clean_line(text)
    return Content.styled(cleaned if width is None else shorten(cleaned, width), style)


def block(text: str, style: str = "") -> Content:
    """Untrusted text of several lines, with controls but line feeds made visible."""
    return Content.styled(clean_lines(text), style)


def token(text: str, style: str = "") -> Content:
    """A token with its whitespace made visible; the one leading space that words have is left out."""
    return Content.styled(clean_line(visible(text)).removeprefix("\u00b7"), style)


def actor_name(actor: Actor, *, short: bool = False) -> str:
    """Name of an actor for a person; ``short`` leaves out "agent" before an agent's name."""
    named = clean_line(actor.name)
    if actor.kind == "human":
        return named or "you"
    if actor.kind == "agent":
        return named if short and named else f"agent {named}".rstrip()
    return named or "program"
