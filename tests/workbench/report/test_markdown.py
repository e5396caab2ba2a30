from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.workbench.replay.audits import Audit
from tests.workbench.report.hostile import HOSTILE, MARKDOWN, SCRIPTS, record_hostile
from workbench.report.content import build_report
from workbench.report.markdown import fenced, inline, report_markdown
from workbench.store.log import SessionLog


def tokens_of(text: str) -> list[Token]:
    """Every token, as a reader makes them who allows HTML in Markdown."""
    found = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    return [one for token in found for one in (token, *(token.children or ()))]


@pytest.mark.parametrize("text", [*SCRIPTS, *MARKDOWN, HOSTILE])
def test_text_on_a_line_is_nothing_but_text(text: str) -> None:
    for place in ("{}", "- {}", "| {} | b |\n|---|---|\n| {} | b |\n", "Said {} then"):
        written = place.replace("{}", inline(text))
        plain = place.replace("{}", "word")
        kinds = [token.type for token in tokens_of(written) if token.type != "text_special"]
        merged = [kind for i, kind in enumerate(kinds) if kind != "text" or kinds[i - 1] != "text"]
        assert merged == [token.type for token in tokens_of(plain)], written


def test_what_is_shown_is_what_was_said() -> None:
    text = "a_b *c* [d](e) <f> | 1. `g` &amp; http://h www.i \x1b"
    (shown,) = [token for token in tokens_of(inline(text)) if token.type == "inline"]
    said = "".join(token.content for token in shown.children or ())
    assert said == text.replace("\x1b", "\u241b")


@pytest.mark.parametrize("text", [*MARKDOWN, "```\n# x\n````\n<script>", "~~~", ""])
def test_a_fence_is_longer_than_what_is_in_it(text: str) -> None:
    (token,) = tokens_of("\n".join(fenced(text)))
    assert token.type == "fence"
    assert token.content.rstrip("\n") == text.rstrip("\n")


def test_a_hostile_session_brings_no_markup_of_its_own(log: SessionLog) -> None:
    spoilt = report_markdown(build_report(log, record_hostile(log)))
    plain = report_markdown(build_report(log, record_hostile(log, "word")))
    structure = [
        [
            token.type
            for token in tokens_of(text)
            if token.type not in {"text", "text_special", "softbreak"}
        ]
        for text in (spoilt, plain)
    ]
    assert structure[0] == structure[1]
    assert not {"html_block", "html_inline", "link_open", "image"} & set(structure[0])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", spoilt)


def test_a_report_says_what_was_found(log: SessionLog, recorded: Audit) -> None:
    text = report_markdown(build_report(log, recorded.session_id))
    assert "### H1: It was finetuned on baking cake." in text
    assert "**open**, confidence 90%" in text
    assert "No trace found is not clean." in text
    lines = text.split("\n")
    table = lines[lines.index("### output difference, finetuned model, layer 2") + 2 :][:5]
    # The difference first, and its controls right under it.
    assert table[2].startswith("| difference |  | cake  oven  batter")
    assert table[3].startswith("| random |")
    assert table[4].startswith("| split half |")
    assert "0.45, chosen" in text
    assert "Nothing was graded." in text
