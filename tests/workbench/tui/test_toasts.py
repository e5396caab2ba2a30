"""The first of several errors stays readable, whatever follows it."""

from __future__ import annotations

import pytest
from textual.widgets._toast import Toast

from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import screen_text, until
from workbench.tui import toasts

CAUSES = [
    ("Steer failed", "no room on the device for 8 rows: steer fewer samples, or shorter texts"),
    ("Not written", "/nowhere/steering-12.txt: there is no such folder"),
    ("Read failed", "layer 40 is not there: the models have 4 layers, 0 to 3"),
    ("The agent did not start", "http://127.0.0.1:1/v1 does not answer: start the server"),
    ("", "the session has no event 400: it has 20"),
    ("Ask failed", "the tokenizer has no chat template"),
]
LONG = "too long to be shown whole: " + "words and words " * 200


def in_view(app) -> str:
    """The words of the toasts that are on the screen, wherever their lines break."""
    lines = [line.partition("\u258c") for line in screen_text(app).split("\n")]
    return " ".join(" ".join(after.split()) for _, edge, after in lines if edge)


def tell(app, causes, severity="error") -> None:
    for title, message in causes:
        app.screen.notify(message, title=title, severity=severity, markup=False)


async def see(app, pilot, *messages) -> str:
    """Wait until the toasts in view have these messages; returns all that they show."""
    await until(pilot, lambda: all(each in in_view(app) for each in messages), "it", within=20)
    return in_view(app)


@pytest.fixture
async def opened(workbench):
    app = workbench()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit")
        yield app, pilot


async def test_of_several_errors_the_first_is_whole_and_the_others_below_it(opened):
    app, pilot = opened
    errors = CAUSES[:5]
    tell(app, errors)
    await see(app, pilot, CAUSES[0][0], *(message for _, message in errors))
    # Whatever else is told stands above the errors, and hides none of them.
    tell(app, [("", f"written: file {index}") for index in range(6)], "information")
    await see(app, pilot, CAUSES[0][0], *(message for _, message in errors), "written: file 5")


@pytest.mark.parametrize("first", [CAUSES[0], ("Steer failed", LONG)], ids=["short", "long"])
async def test_no_number_of_errors_pushes_the_first_out_of_view(opened, first):
    app, pilot = opened
    tell(app, [first, *((f"Job {index} failed", LONG) for index in range(30))])
    rest = ["and 26 more"] if first is CAUSES[0] else []
    await see(app, pilot, f"{first[0]} {first[1][:60]}", *rest)


async def test_the_same_error_again_is_counted(opened):
    app, pilot = opened
    tell(app, [CAUSES[0], CAUSES[1], CAUSES[0], CAUSES[1], CAUSES[0]])
    seen = await see(app, pilot, "Steer failed, 3 times", "Not written, 2 times")
    assert seen.count(CAUSES[0][1]) == seen.count(CAUSES[1][1]) == 1


async def test_the_first_error_stays_as_long_as_the_last(opened):
    app, pilot = opened

    def pass_by(seconds: float) -> None:
        app._joined.raised_at -= seconds

    tell(app, CAUSES[:1])
    await see(app, pilot, CAUSES[0][1])
    pass_by(toasts.READING - 1)
    tell(app, CAUSES[1:2])
    await see(app, pilot, CAUSES[1][1])
    pass_by(toasts.READING - 1)
    tell(app, [("", "written")], "information")
    await see(app, pilot, CAUSES[0][1], CAUSES[1][1], "written")
    pass_by(2)
    tell(app, CAUSES[2:3])
    assert CAUSES[0][1] not in await see(app, pilot, CAUSES[2][1])


async def test_a_toast_that_is_clicked_away_is_not_shown_again(opened):
    app, pilot = opened
    tell(app, CAUSES[:2])
    await see(app, pilot, CAUSES[1][1])
    await pilot.click(Toast)
    await until(pilot, lambda: not app.screen.query(Toast), "the toast to go")
    tell(app, CAUSES[2:3])
    assert CAUSES[0][1] not in await see(app, pilot, CAUSES[2][1])


async def test_no_toast_names_an_option_of_the_command_line(opened):
    app, pilot = opened
    tell(app, [("No pair", "Give --device-map cpu.")])
    await see(app, pilot, "Give Device map cpu.")
