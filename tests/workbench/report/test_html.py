from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.workbench.replay.audits import Audit
from tests.workbench.report.hostile import HOSTILE, record_hostile
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.plots import Series, line_plot
from workbench.store.log import SessionLog

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome", "chrome")
#: All that the template has a use for. No script, frame, image, form, link or object is among them.
ELEMENTS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "h2",
    "h3",
    "p",
    "b",
    "code",
    "pre",
    "span",
    "section",
    "ul",
    "li",
    "br",
    "table",
    "tr",
    "th",
    "td",
    "figure",
    "details",
    "summary",
    "svg",
    "text",
    "line",
    "rect",
    "circle",
    "polyline",
}
ATTRIBUTES = {
    "meta": {"charset", "http-equiv", "content", "name"},
    "html": {"lang"},
    "th": {"scope", "class"},
    "svg": {"viewbox", "width", "height", "fill", "role", "aria-label"},
    "text": {"x", "y", "text-anchor", "font-size", "font-weight", "transform"},
    "line": {"x1", "y1", "x2", "y2", "stroke", "stroke-opacity"},
    "rect": {"x", "y", "width", "height", "fill"},
    "circle": {"cx", "cy", "r", "fill"},
    "polyline": {"points", "fill", "stroke", "stroke-width"},
}


class Page(HTMLParser):
    """What a page is made of, as a parser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.comments: list[str] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def hostile(log: SessionLog) -> str:
    return report_html(build_report(log, record_hostile(log)))


def page_of(log: SessionLog, session: str) -> Page:
    return Page(report_html(build_report(log, session)))


def test_a_page_is_made_of_nothing_that_can_act(hostile: str) -> None:
    page = Page(hostile)
    assert page.open == []
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for tag, attributes in page.elements:
        assert set(attributes) <= ATTRIBUTES.get(tag, {"class"}), tag
    assert page.comments == []


def test_hostile_text_brings_no_element_of_its_own(log: SessionLog, hostile: str) -> None:
    """The same session with plain words has the very same elements and attributes."""
    plain = page_of(log, record_hostile(log, "a plain word"))
    spoilt = Page(hostile)
    assert [tag for tag, _ in spoilt.elements] == [tag for tag, _ in plain.elements]
    for (tag, theirs), (_, ours) in zip(spoilt.elements, plain.elements, strict=True):
        differing = {name for name in ours if theirs[name] != ours[name]}
        assert differing <= {"aria-label"}, tag


def test_what_would_drive_a_terminal_is_shown_as_a_mark(hostile: str) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", hostile)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\U000e0000-\U000e007f]", hostile)
    words = Page(hostile).words
    assert "\u241b]52;c;" in words
    assert "\u27e8U+202E\u27e9evil" in words
    assert "<script>document.title='owned'</script>" in words
    assert "{{ 7*7 }}" in words


def test_the_policy_allows_the_one_style_sheet_and_nothing_else(hostile: str) -> None:
    page = Page(hostile)
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    # It comes before anything that it must hold for.
    assert [tag for tag, _ in page.elements][:4] == ["html", "head", "meta", "meta"]
    assert "url(" not in hostile.partition("</style>")[0]


def test_a_report_says_what_was_found(log: SessionLog, recorded: Audit) -> None:
    page = page_of(log, recorded.session_id)
    words = " ".join(page.words.split())
    assert "H1: It was finetuned on baking cake." in words
    assert "confidence 90%" in words
    assert "No evidence is linked to it." in words
    assert "No trace found is not clean." in words
    assert "The difference was measured over no more than 24 texts." in words
    assert log.verify(recorded.session_id).heads[recorded.session_id][1] in words
    assert "Every hash of the session was derived again and fits." in words
    assert "planted-finetuned" in words
    assert "Nothing was graded." in words
    assert "sponge, he flour" in words or "sponge" in words
    assert "chosen" in words
    plots = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert "Norms at layer 2" in plots
    assert "Change of predictions of finetuned by alpha, layer 2" in plots


def test_an_empty_session_says_that_nothing_was_computed(log: SessionLog) -> None:
    words = " ".join(page_of(log, log.start_session("empty")).words.split())
    assert words.count("Not computed.") == 4
    assert "No difference was measured in this session." in words
    assert "No pair was loaded." in words
    assert "still open" in words


def test_grades_and_their_edits(hostile: str) -> None:
    words = " ".join(Page(hostile).words.split())
    assert "G2, report" in words
    assert "before: unscored by" in words
    assert "Unblinded: event" in words
    assert "Someone had seen the real names or the ground truth" in words


def test_plots_leave_out_what_has_no_place_and_escape_words() -> None:
    plot = line_plot(
        "<b>",
        "x",
        "y",
        ["a", "b", "\x1b"],
        [Series("<i>", (1.0, 0.0, None)), Series("z", (2.0,) * 3)],
    )
    page = Page(plot)
    circles = [attributes for tag, attributes in page.elements if tag == "circle"]
    assert len(circles) == 1 + 3
    assert "b" not in {tag for tag, _ in page.elements}
    assert "\x1b" not in plot
    for value in (0.0, float("inf"), float("nan")):
        assert line_plot("t", "x", "y", ["a"], [Series("s", (value,))]) == ""
    odd = [Series("s", (float("inf"), float("nan"), 1.0))]
    circles = [tag for tag, _ in Page(line_plot("t", "x", "y", ["a"] * 3, odd)).elements]
    assert circles.count("circle") == 1


@pytest.mark.slow
def test_in_a_real_browser_nothing_of_it_runs(hostile: str, tmp_path: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert browser, "no browser is here: apt-get install chromium-headless-shell"

    def dumped(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        done = subprocess.run(
            [*command, f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / name).as_uri()],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # What the browser made of it, once every script that could run has run.
    tree = dumped("report.html", hostile)
    title = re.search("<title>(.*?)</title>", tree, re.DOTALL)
    assert title
    assert title[1] != "owned"
    assert "document.title='owned'" in Page(hostile).words
    assert not re.search("<(script|img|iframe|link|form|a|object)[ >]", tree)
    # The same test would notice: with the text as it is and no policy, scripts do run.
    naked = re.sub("<meta http-equiv.*?>", "", hostile, count=1)
    naked = naked.replace("</body>", f"{HOSTILE}</body>")
    assert "<title>owned</title>" in dumped("naked.html", naked)
    # And the policy alone holds too, should the escaping ever fail.
    guarded = hostile.replace("</body>", f"{HOSTILE}</body>")
    assert "<title>owned</title>" not in dumped("guarded.html", guarded)
