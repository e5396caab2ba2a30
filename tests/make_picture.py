"""Make the picture of the README anew: `python -m tests.make_picture [FILE]`.

The recorded example in the replay, at the end of the person's and the agent's work, drawn by the
program itself at 160x48 and turned into a PNG by Chromium.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.workbench.report.test_html import BROWSERS
from tests.workbench.tui.waiting import until
from workbench.report.example import opened_example
from workbench.tui.app import WorkbenchApp
from workbench.tui.messages import ReplaySession
from workbench.tui.screens.replay import ReplayScreen
from workbench.tui.startup import Startup

TARGET = Path(__file__).parents[1] / "docs" / "workbench.png"
COLUMNS, LINES = 160, 48
#: To the readings: the middle layer, its consensus, and down to a token that stands out.
KEYS = ("2", "L", "R", "R", "R", "down", "down")
# The size of the drawing at this many columns and lines, and how much finer the picture is.
WIDTH, HEIGHT, SCALE = 1995, 1243, 0.9


def is_at_end(app: WorkbenchApp) -> bool:
    """True once the replay stands at its last event and shows it."""
    screen = app.screen
    return isinstance(screen, ReplayScreen) and screen._ready and screen.opened.player.at_end


async def drawn() -> str:
    """The replay at its end, as SVG."""
    with opened_example() as (log, session):
        last = log.verify().heads[session][0]
        startup = Startup(
            database=log.path, replay=ReplaySession(session, last), prepare=False, lasting=False
        )
        app = WorkbenchApp(startup)
        async with app.run_test(size=(COLUMNS, LINES)) as pilot:
            await until(pilot, lambda: is_at_end(app), "the end of the replay")
            for key in KEYS:
                await pilot.press(key)
                await pilot.pause()
            return app.export_screenshot()


def make(target: Path) -> None:
    """Draw it, and write the PNG."""
    browser = next(found for name in BROWSERS if (found := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.svg"
        picture.write_text(asyncio.run(drawn()), encoding="utf-8")
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--user-data-dir={folder}/profile", f"--force-device-scale-factor={SCALE}"),
                *(f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={target}", picture.as_uri()),
            ],
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
