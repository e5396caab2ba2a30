"""The audit screen's part for a session of an engine: who holds the keys, and a lost engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from textual.content import Content
from textual.screen import Screen

from adl.errors import AdlError
from workbench.engine.opened_session import EngineHand, Link, OpenedSession
from workbench.faults import as_error
from workbench.tui import keys, text
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.engine_gone import EngineGone
from workbench.tui.messages import LeaveEngine, OrderRefused
from workbench.tui.survival import bug_in_words

_ALERTS = {"watching": " watching ", "gone": " engine gone "}


class LinkedScreen(Screen[None]):
    """A screen over a session whose jobs an engine may run."""

    opened: OpenedSession

    def __init__(self) -> None:
        super().__init__()
        self._link: Link | None = None

    def say_problem(
        self, problem: BaseException, title: str, hide: Callable[[str], str] | None = None
    ) -> None:
        """Show a problem, with the names of a blind session hidden, by ``hide`` if it is given.

        A bug is told with the place of its trace.
        """
        hide = hide or self.opened.redactor.hide
        known = as_error(problem)
        self.notify(
            bug_in_words(problem, hide) if known is None else hide(str(known)),
            title=title,
            severity="error",
            markup=False,
        )

    @contextmanager
    def refusals_shown(self, title: str) -> Iterator[None]:
        """Context in which an order that is refused is shown as a problem."""
        try:
            yield
        except AdlError as exc:
            self.say_problem(exc, title)
        except RuntimeError as exc:
            # A key that was pressed while the session is being left.
            self.notify(f"{title}: {exc}", severity="warning", markup=False)

    def on_order_refused(self, message: OrderRefused) -> None:
        """Show why the engine did not do what was asked of it."""
        self.say_problem(message.error, "Not done")

    @property
    def link_alert(self) -> str:
        """The link in a few words for the top line, empty with nothing to tell."""
        return _ALERTS.get(self._link.kind, "") if self._link is not None else ""

    def show_link(self) -> None:
        """Take how this screen is linked to its engine, and ask what there is to ask."""
        engine, before = self.opened.engine, self._link
        if engine is None:
            return
        link = self._link = engine.link
        kinds = (before.kind if before is not None else "", link.kind)
        if link.kind == "gone" and kinds[0] != "gone":
            self._ask(self._ask_where_to_go_on(link.why, is_unasked=True))
        elif link.asking and (before is None or before.asking != link.asking):
            self._ask(self._ask_to_give_keys(engine, link.asking, link.asked_by))
        elif kinds == ("watching", "keys"):
            self.notify("You have the keys.", markup=False)
        elif kinds == ("keys", "watching"):
            self.notify(f"{link.holder or 'Another screen'} has the keys.", markup=False)
        elif link.kind == "watching" and before is not None and before.holder and not link.holder:
            self.notify(
                f"The screen that had the keys is gone: {keys.shown('keys')} takes them.",
                markup=False,
            )
        self.refresh_bindings()

    async def action_keys(self) -> None:
        """Ask for the keys; of a lost engine, ask where to go on."""
        engine = self.opened.engine
        if engine is None:
            return
        if engine.link.kind == "gone":
            self._ask(self._ask_where_to_go_on(engine.link.why))
            return
        with self.refusals_shown("The keys"):
            if not await asyncio.to_thread(engine.ask_for_keys):
                holder = engine.link.holder or "The other screen"
                self.notify(f"{holder} is asked for the keys.", markup=False)

    def _ask(self, asking: Coroutine[Any, Any, None]) -> None:
        # As the app: it may ask over a dialog that is open.
        self.app.run_worker(asking)

    async def _ask_to_give_keys(self, engine: EngineHand, number: int, asked_by: str) -> None:
        question = Content.assemble(
            text.line(asked_by, "bold"),
            " watches this session and asks for the keys.\n\nIf you give them, you watch.",
        )
        asking = Confirm(question, "Give the keys", "Keep them")
        asking.is_unasked = True
        gives = await self.app.push_screen_wait(asking)
        with self.refusals_shown("The keys"):
            await asyncio.to_thread(engine.answer_keys, number, bool(gives))

    async def _ask_where_to_go_on(self, why: str, *, is_unasked: bool = False) -> None:
        asking = EngineGone(why)
        asking.is_unasked = is_unasked
        way = await self.app.push_screen_wait(asking)
        if way is not None:
            self.post_message(LeaveEngine(way))
