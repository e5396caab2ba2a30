"""The workbench as a process in a terminal: from its start to its exit code."""

from __future__ import annotations

import sys

from workbench.display import ascii_only, clean_line
from workbench.tui.app import WorkbenchApp
from workbench.tui.paste import guard_pastes
from workbench.tui.startup import Startup
from workbench.tui.survival import handle_messages_safely


def run_workbench(startup: Startup) -> int:
    """Run the workbench in this terminal until it is left; returns the exit code."""
    guard_pastes()
    handle_messages_safely()
    app = WorkbenchApp(startup)
    with app.leaving.ending_the_process():
        try:
            code = app.run()
        finally:
            if app.opened is not None:
                # Still there only if a fault of the program took the screen down.
                app.opened.close(app.current_view(), "failed", "the screen failed")
                app.unrecorded = app.unrecorded or app.opened.unrecorded
    # On the screen it is gone with the screen.
    trouble = app.opener.trouble
    if problem := app.crash or (str(trouble) if trouble is not None else ""):
        sys.stderr.write(f"error: {ascii_only(clean_line(problem))}\n")
    if app.unrecorded is not None:
        words = f"how a session was left could not be recorded: {app.unrecorded}"
        sys.stderr.write(f"error: {ascii_only(clean_line(words))}\n")
        code = code or 1
    return (app.return_code or 1) if code is None else code
