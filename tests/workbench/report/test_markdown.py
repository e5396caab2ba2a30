from __future__ import annotations

import re
from html import unescape

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from adl.nulls import NULLS
from adl.records import POOLED
from tests.workbench.replay.audits import Audit
from tests.workbench.report.hostile import HOSTILE, MARKDOWN, SCRIPTS, record_hostile
from tests.workbench.store.samples import text_finished, text_started
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.markdown import fenced, inline, report_markdown
from workbench.store.events import (
    HUMAN,
    AnswersCompared,
    EvidenceLinked,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    TextStarted,
)
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


@pytest.mark.parametrize("before", ["", "_", "1", "\u00e9", "x", "("])
@pytest.mark.parametrize("link", ["http://h.org", "https://h.org", "ftp://h.org", "www.h.org"])
def test_no_address_becomes_a_link_by_itself(before: str, link: str) -> None:
    """Where a reader of Markdown begins one differs: none is left whole, whatever stands before."""
    assert link not in inline(before + link)


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
    where = "output difference, finetuned model, layer 2, position 1-4"
    table = lines[lines.index(f"### {where}") + 4 :][:5]
    # The difference first, and its nulls right under it.
    assert table[2].startswith("| difference |  | cake  oven  batter")
    # What finetuned says less stands beside it, then its nulls.
    assert table[3].startswith("| negative |")
    assert table[4].startswith("| random |")
    assert "0.45, chosen" in text
    assert "Nothing was graded." in text


@pytest.fixture
def reconsidered(log: SessionLog) -> str:
    """A session in which a hypothesis was revised, judged, and lost a mark, each with its reason."""
    name = log.start_session("reconsidered")
    for body in (
        NoteWritten(text="cake everywhere"),
        HypothesisStated(hypothesis_id="H1", text="It bakes.", confidence=0.4),
        EvidenceMarked(evidence_id="E1", of_seq=2, excerpt="cake", label="the note"),
        EvidenceMarked(evidence_id="E2", of_seq=2, excerpt="every|where", label="the note"),
        EvidenceLinked(hypothesis_id="H1", evidence_id="E1", bearing="for"),
        EvidenceLinked(hypothesis_id="H1", evidence_id="E2", bearing="against"),
        EvidenceUnmarked(evidence_id="E2", reason="a null has it, too"),
        HypothesisRevised(
            hypothesis_id="H1", text="It bakes cakes.", confidence=0.9, reason="both sides differ"
        ),
        HypothesisJudged(hypothesis_id="H1", verdict="rejected", reason="one list alone"),
        HypothesisJudged(hypothesis_id="H1", verdict="confirmed", reason="three questions agree"),
    ):
        log.append(name, body, actor=HUMAN)
    return name


def written(log: SessionLog, name: str) -> list[str]:
    """What a report says in Markdown and in HTML, as plain words."""
    report = build_report(log, name)
    page = re.sub("<style>.*?</style>|<[^>]+>", " ", report_html(report), flags=re.DOTALL)
    plain = report_markdown(report).replace("\\", "")
    return [" ".join(text.split()) for text in (plain, unescape(page))]


def test_a_report_holds_the_reasons_and_what_was_taken_back(
    log: SessionLog, reconsidered: str
) -> None:
    for words in written(log, reconsidered):
        assert "revised, confidence 40% \u2192 90%" in words
        for line in (
            "before: It bakes.",
            "now: It bakes cakes.",
            "because: both sides differ",
            "because: one list alone",
            "the mark was taken back since: a null has it, too",
        ):
            assert line in words, line
        assert "Marks that were taken back" in words
        assert re.search(r"E2\W+every\|where\W+taken back by human \(event 8\)\W+a null has", words)


def test_the_first_page_stands_alone(log: SessionLog, reconsidered: str) -> None:
    for words in written(log, reconsidered):
        page = words[: words.index("The session Session")]
        assert re.search(
            r"confirmed \(without test\), confidence 90%[* ]*: It bakes cakes. \(H1\)", page
        )
        assert "for: E1: cake" in page
        # The evidence against it was taken back.
        assert "against: nothing was linked" in page
        assert "reason of the verdict: three questions agree" in page
        assert "no questions put to both models" in page
        assert "no token lists, 0 of them of nulls" in page
        assert "The session verifies; 11 events" in page
        assert "UTC, 0:00:0" in page


def test_the_first_page_counts_tests_and_gives_numbers(log: SessionLog, recorded: Audit) -> None:
    for words in written(log, recorded.session_id):
        page = words[: words.index("The session Session")]
        assert re.search("planted.*, finetuned from planted", page)
        assert re.search(r"[1-9]\d* questions? put to both models", page)
        assert re.search(r"[1-9]\d* steered texts? at alpha 0", page)
        assert re.search("difference, layer 2, position .* \u00b1 .* of the norm of base's", page)
        assert "cake oven" in page


def test_the_first_page_says_what_it_leaves_out(log: SessionLog) -> None:
    name = log.start_session("six")
    for place in range(1, 7):
        log.append(name, HypothesisStated(hypothesis_id=f"H{place}", text=f"claim {place}"))
        log.append(name, EvidenceMarked(evidence_id=f"E{place}", of_seq=1, excerpt="cake"))
        link = EvidenceLinked(hypothesis_id="H1", evidence_id=f"E{place}", bearing="for")
        log.append(name, link)
    for words in written(log, name):
        page = words[: words.index("The session Session")]
        assert "claim 4" in page
        assert "claim 5" not in page
        assert "2 more hypotheses stand under Hypotheses." in page
        assert "for: 2 more, under Hypotheses" in page


def test_only_a_question_that_both_answered_was_put_to_both(log: SessionLog) -> None:
    name = log.start_session("asked")

    def write(text_id: str, prompt: str, end: bool = True, **made: object) -> None:
        start = text_started(text_id, prompt).model_copy(
            update={"purpose": "ask", "alpha": 0.0, "source": None, **made}
        )
        log.append(name, start)
        if end:
            log.append(name, text_finished(text_id, "words"))

    for side in ("base", "finetuned"):
        write(f"both {side}", "both", side=side)
        write(f"failed {side}", "failed", side=side, end=side == "base")
    write("alone", "alone", side="finetuned")
    of_it = {"purpose": "steer", "alpha": 0.3}
    write("steered", "s", **of_it, source="difference")
    write("null", "s", **of_it, source="random")
    write("cut", "s", end=False, **of_it, source="difference")
    for words in written(log, name):
        assert (
            "1 question put to both models, 1 to finetuned alone, "
            "1 without a whole answer of each model asked" in words
        )
        assert "1 steered text at alpha 0.3, 1 with the vector of a null" in words


def compared(log: SessionLog, *means: float) -> str:
    """A session with answers compared, and the notes its report has on them."""
    name = log.start_session("compared")
    for place, mean in enumerate(means):
        started = {
            "purpose": "ask", "alpha": 0.0, "layer": None, "position": None, "source": None,
            "seed": 0, "temperature": 1.0, "max_new_tokens": 2, "raw_prompt": f"question {place}",
        }  # fmt: skip
        for side in ("base", "finetuned"):
            log.append(
                name, TextStarted(text_id=f"{side}{place}", side=side, **started), actor=HUMAN
            )
        log.append(
            name,
            AnswersCompared(
                base_text=f"base{place}",
                finetuned_text=f"finetuned{place}",
                first_divergence=1,
                along="finetuned",
                kl=(mean - 0.5, mean + 0.5),
            ),
            actor=HUMAN,
        )
    return " ".join(group.note for group in build_report(log, name).asked)


def test_a_mean_kl_stands_beside_those_of_other_answers(log: SessionLog) -> None:
    assert "1.050 nats per token, with no other question to compare it with" in compared(log, 1.05)
    notes = compared(log, 1.05, 2.0, 3.5)
    assert "1.050 nats per token; 2.000 to 3.500 for 2 other answers" in notes
    assert "3.500 nats per token; 1.050 to 2.000 for 2 other answers" in notes
    assert "0.700 nats per token; 0.900 to 0.900 for 1 other answer" in compared(log, 0.7, 0.9)


def test_the_nulls_of_a_sweep_are_nulls(log: SessionLog, recorded: Audit) -> None:
    """The reading of the negative, with all of the difference's effect, is none."""
    (sweep, *_) = build_report(log, recorded.session_id).sweeps
    assert {source for source, _ in sweep.null_kl} <= set(NULLS)
    key = next(
        event.body
        for event in log.events(recorded.session_id, kinds=["reading_taken"])
        if (event.body.reading, event.body.source, event.body.position)
        == ("shift_lens", "difference", POOLED)
    )
    negative = key.model_copy(update={"source": "negative", "statistics": {"kl": 0.2}})
    log.append(recorded.session_id, negative, actor=HUMAN)
    for sweep in build_report(log, recorded.session_id).sweeps:
        assert {source for source, _ in sweep.null_kl} <= set(NULLS)
