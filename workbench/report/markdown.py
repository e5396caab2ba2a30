"""The report as Markdown in which nothing of a session is Markdown.

Untrusted text stands either on a line, with every character that Markdown or HTML gives a meaning
escaped, or in a fenced block whose fence is longer than any run of backticks in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from adl.words import number_of, plain_number
from workbench.display import clean_line, clean_lines
from workbench.replay.coverage import ACTIVITY_COLUMNS
from workbench.report.records import (
    FOLDED,
    EvidenceLine,
    MeasureSection,
    Report,
    SampleGroup,
    TestSection,
    TokenList,
)
from workbench.store.findings import NOT_COMPUTED

_NOT_COMPUTED = f"{NOT_COMPUTED.capitalize()}."
UNSEEN_SHOWN = 30
_MEANINGFUL = re.compile(r"([\\`*_{}\[\]<>|~&$@])")
_AT_THE_START = re.compile(r"^()([#+=:-])|^(\d+)([.)])(?=\s|$)")
# What becomes a link by itself.
_BARE_LINK = re.compile(r"(https?|ftp|mailto|xmpp)(:)|(www)(\.)", re.IGNORECASE)


def report_markdown(report: Report) -> str:
    """The whole document."""
    return "\n".join(_lines(report)) + "\n"


def inline(text: Any) -> str:
    """Untrusted text on one line, shown as it is written."""
    line = _MEANINGFUL.sub(r"\\\1", clean_line(str(text)).strip())
    line = _BARE_LINK.sub(r"\1\3\\\2\4", line)
    return _AT_THE_START.sub(r"\1\3\\\2\4", line)


def fenced(text: str) -> list[str]:
    """Untrusted text over several lines."""
    clean = clean_lines(text)
    longest = max((len(run) for run in re.findall("`+", clean)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *clean.split("\n"), fence, ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(inline(cell) for cell in row)} |"
    yield ""


def _lines(report: Report) -> Iterator[str]:
    summary = report.summary
    yield f"# {inline(summary.name)}"
    yield ""
    yield from _first_page(report)
    yield "---"
    yield ""
    yield "## The session"
    yield ""
    yield f"Session {inline(summary.id)}, {inline(summary.outcome or 'still open')}."
    if summary.parent:
        parent, seq = summary.parent
        yield f"It branches from event {seq} of session {inline(parent)}."
    who = ", ".join(inline(actor) for actor in summary.actors) or "nobody"
    agents = (
        f"; agents: {', '.join(inline(agent) for agent in summary.agents)}"
        if summary.agents
        else ""
    )
    yield f"By {who}{agents}."
    yield ""
    yield f"{number_of(report.events, 'event')}, the last with the hash `{report.head}`."
    if report.verified:
        yield f"Every hash of the session was derived again and fits. {inline(report.vouched)}"
    else:
        yield "**The session does not verify:**"
        yield ""
        yield from (f"- {inline(problem)}" for problem in report.problems)
    yield ""
    yield from _conclusions(report)
    yield "## Limits"
    yield ""
    yield from (f"- {line}" for line in report.limits)
    yield ""
    yield from _pair(report)
    yield from _findings(report)
    yield from _texts(report)
    yield from _record(report)


def _first_page(report: Report) -> Iterator[str]:
    page = report.first_page
    yield f"{inline(page.pair)}. {inline(page.time)}."
    yield ""
    yield "## Conclusions"
    yield ""
    if not page.conclusions:
        yield "No hypothesis was stated."
        yield ""
    for hypothesis in page.conclusions:
        sure = "" if hypothesis.confidence is None else f", confidence {hypothesis.confidence:.0%}"
        yield f"**{hypothesis.status}{sure}**: {inline(hypothesis.text)} ({inline(hypothesis.id)})"
        yield ""
        yield f"- {inline(hypothesis.tested)}"
        yield from (f"- for: {inline(words)}" for words in hypothesis.pro)
        yield from (f"- against: {inline(words)}" for words in hypothesis.contra)
        if hypothesis.pro and not hypothesis.contra:
            yield "- against: nothing was linked"
        if not hypothesis.pro and not hypothesis.contra:
            yield "- no evidence is linked to it"
        if hypothesis.reason:
            yield f"- reason of the verdict: {inline(hypothesis.reason)}"
        yield ""
    if page.left_out:
        yield inline(page.left_out)
        yield ""
    yield "## Tests"
    yield ""
    yield from (f"- {inline(line)}" for line in page.tests)
    yield ""
    yield "## Numbers"
    yield ""
    yield from _table(("", ""), page.numbers)
    verifies = "verifies" if report.verified else "**does not verify**"
    events = number_of(report.events, "event")
    yield f"The session {verifies}; {events}, the last with hash `{report.head[:16]}`."
    yield ""


def _tested(test: TestSection) -> Iterator[str]:
    yield f"**Test {inline(test.id)}** (event {test.seq}), **{test.verdict}**, judge: {inline(test.judge)}"
    yield ""
    if test.earlier_words:
        yield f"- of its earlier words: {inline(test.earlier_words)}"
    yield from (f"- {inline(words)}" for words in test.words)
    yield f"- {inline(test.numbers)}"
    yield ""
    if test.rows:
        yield from _table(
            ("prompts", "prompts that show it, rate"),
            [(row.label, row.words) for row in test.rows],
        )


def _conclusions(report: Report) -> Iterator[str]:
    yield "## Hypotheses"
    yield ""
    if not report.hypotheses:
        yield "None was stated."
        yield ""
    for hypothesis in report.hypotheses:
        yield f"### {inline(hypothesis.id)}: {inline(hypothesis.text)}"
        yield ""
        sure = (
            "no confidence given"
            if hypothesis.confidence is None
            else f"confidence {hypothesis.confidence:.0%}"
        )
        yield f"**{hypothesis.status}**, {sure}, stated by {inline(hypothesis.by)}"
        yield ""
        if not hypothesis.tests:
            yield "Untested."
            yield ""
        for test in hypothesis.tests:
            yield from _tested(test)
        for unfinished in hypothesis.unfinished:
            yield f"Test {inline(unfinished)} was begun and not ended."
            yield ""
        yield from (
            _evidence(hypothesis.evidence)
            if hypothesis.evidence
            else ("No evidence is linked to it.", "")
        )
        if len(hypothesis.changes) > 1:
            yield "How it came to be:"
            yield ""
            for change in hypothesis.changes:
                yield f"- {inline(change.head)}"
                yield from (f"  - {inline(line)}" for line in change.lines)
            yield ""
    if report.loose_evidence:
        yield "### Evidence of no hypothesis"
        yield ""
        yield from _evidence(report.loose_evidence)
    if report.taken_back:
        yield "### Marks that were taken back"
        yield ""
        for mark in report.taken_back:
            why = f": {inline(mark.reason)}" if mark.reason else ", without a reason"
            by = f"taken back by {inline(mark.by)} (event {mark.seq})"
            yield f"- **{inline(mark.id)}**: {inline(mark.excerpt)}, {by}{why}"
        yield ""
    for text in report.summary.reports:
        yield "### The agent's report"
        yield ""
        yield from fenced(text)
    yield "## Grades"
    yield ""
    if report.grades:
        yield from _table(
            ("grade", "of", "score", "why", "by", "rubric"),
            [
                (
                    f"{grade.id}, {grade.grader}",
                    grade.subject,
                    "unscored" if grade.score is None else f"{grade.score:g}",
                    "; before: ".join((grade.reason, *grade.edits)),
                    grade.by,
                    grade.rubric,
                )
                for grade in report.grades
            ],
        )
    else:
        yield "Nothing was graded."
        yield ""
    for line in report.unblinded:
        yield f"Unblinded: {inline(line)}"
        yield ""


def _evidence(lines: Sequence[EvidenceLine]) -> Iterator[str]:
    for line in lines:
        bearing = "" if line.bearing == "none" else f" {line.bearing}"
        note = f": {inline(line.note)}" if line.note else ""
        where = f"{inline(line.label)} (event {line.seq}, marked by {inline(line.by)}){note}"
        yield f"- **{inline(line.id)}**{bearing}: {inline(line.excerpt)}, {where}"
    yield ""


def _pair(report: Report) -> Iterator[str]:
    yield "## The pair"
    yield ""
    if report.provenance:
        yield from _table(("", "base", "finetuned"), report.provenance)
        yield from _table(("", ""), report.pair_facts)
    else:
        yield "No pair was loaded."
        yield ""
    if report.environment:
        yield "### Program and machine"
        yield ""
        yield from _table(("", ""), report.environment)


def _findings(report: Report) -> Iterator[str]:
    yield "## The difference"
    yield ""
    if not report.measurements:
        yield _NOT_COMPUTED
        yield ""
    for measured in report.measurements:
        yield from _table(("", ""), measured.facts)
        yield from _table(
            (
                "layer",
                "position",
                "difference",
                "standard error",
                "base",
                "finetuned",
                "cosine of halves",
            ),
            [
                (
                    site.layer,
                    site.position,
                    plain_number(site.difference, 4),
                    plain_number(site.standard_error, 3),
                    plain_number(site.base, 4),
                    plain_number(site.finetuned, 4),
                    f"{site.half_cosine:.3f}",
                )
                for site in measured.norms
            ],
        )
    if report.measures:
        yield "## Measures"
        yield ""
    for measure in report.measures:
        yield from _measure(measure)
    yield "## Readings beside their nulls"
    yield ""
    if not report.readings:
        yield _NOT_COMPUTED
        yield ""
    for section in report.readings:
        reading = section.reading.replace("_", " ")
        where = f"layer {section.layer}, position {inline(section.position)}"
        yield f"### {inline(reading)}, {inline(section.side)} model, {where}"
        yield ""
        if section.line:
            yield inline(section.line)
            yield ""
        if section.is_folded:
            yield FOLDED
            yield ""
            continue
        yield from _table(
            ("of", "scale", "tokens, highest first"),
            [
                (
                    token_list.source.replace("_", " "),
                    _scale(token_list),
                    "  ".join(token_list.tokens) or "no token",
                )
                for token_list in section.lists
            ],
        )
        struck = [
            words for shown in section.lists if shown.is_of_difference for words in shown.struck
        ]
        if struck:
            yield f"Struck as style: {inline(', '.join(struck))}."
            yield ""
        if not any(token_list.is_null for token_list in section.lists):
            yield "Its nulls were not computed."
            yield ""
    for why in report.coverage.readings_failed:
        yield f"Not computed: {inline(why)}"
        yield ""
    yield "## Alpha sweep"
    yield ""
    if not report.sweeps:
        yield _NOT_COMPUTED
        yield ""
    for sweep in report.sweeps:
        yield f"### {inline(sweep.side)} model, layer {sweep.layer}"
        yield ""
        yield from _table(
            ("alpha", "KL, nats per token", "raised the most"),
            [
                (
                    f"{point.alpha:g}{', chosen' if point.chosen else ''}",
                    "not recorded" if point.kl is None else f"{point.kl:.4f}",
                    "  ".join(point.tokens),
                )
                for point in sweep.points
            ],
        )
        for source, kl in sweep.null_kl:
            yield f"Null ({inline(source.replace('_', ' '))}): KL {kl:.4f} nats per token."
            yield ""


def _scale(shown: TokenList) -> str:
    parts = ["" if shown.scale is None else f"{shown.scale:g}", shown.chosen_by]
    return ", ".join(filter(None, parts))


def _measure(measure: MeasureSection) -> Iterator[str]:
    yield f"### {inline(measure.label.capitalize())} (event {measure.seq}, {inline(measure.by)})"
    yield ""
    yield inline(measure.line)
    yield ""
    for block in measure.blocks:
        if block.title:
            yield f"**{inline(block.title)}**"
            yield ""
        if block.sentence:
            yield inline(block.sentence)
            yield ""
        if block.columns:
            yield from _table(block.columns, block.rows)
        if block.text:
            yield from fenced(block.text)


def _texts(report: Report) -> Iterator[str]:
    yield "## Steered and unsteered samples"
    yield ""
    yield from _groups(report.steered, report.steered_prompts, "prompts", _NOT_COMPUTED)
    yield "## Questions to both models"
    yield ""
    yield from _groups(report.asked, report.asked_questions, "questions", "None was asked.")
    if report.notes:
        yield "## Notes"
        yield ""
    for who, at, text in report.notes:
        yield f"{inline(who)}, {at:%Y-%m-%d %H:%M:%S} UTC"
        yield ""
        yield from fenced(text)


def _groups(groups: Sequence[SampleGroup], total: int, what: str, none: str) -> Iterator[str]:
    yield f"{len(groups)} of {total} {what}, those with evidence first." if groups else none
    yield ""
    for group in groups:
        yield "Prompt:"
        yield ""
        yield from fenced(group.prompt)
        for sample in group.samples:
            marks = "".join(f", evidence {inline(mark)}" for mark in sample.marks)
            made = f"seed {sample.seed}, event {sample.seq}, ended: {inline(sample.ended)}{marks}"
            prompting = "".join(f", {inline(each)}" for each in sample.prompting)
            yield f"{inline(sample.label)}{prompting}, {made}"
            yield ""
            yield from fenced(sample.text)
        if group.note:
            yield inline(group.note)
            yield ""


def _record(report: Report) -> Iterator[str]:
    left = report.coverage
    yield "## What was not followed up"
    yield ""
    unseen = len(left.tokens) - UNSEEN_SHOWN
    more = f" and {unseen} more" if unseen > 0 else ""
    yield (
        f"Of the tokens at the top of the readings, {left.tokens_seen} were named by someone and "
        f"{len(left.tokens)} were not: "
        f"{'  '.join(inline(token.text) for token in left.tokens[:UNSEEN_SHOWN]) or 'none'}{more}"
    )
    yield ""
    yield from _table(
        ("", ""),
        [
            ("operations never used", ", ".join(left.operations_unused) or "none"),
            ("readings never taken", ", ".join(left.readings_unused) or "none"),
            *(("reading not computed", why) for why in left.readings_failed),
            ("evidence of no hypothesis", len(left.evidence_unused)),
        ],
    )
    if left.untested:
        untested = number_of(len(left.untested), "untested hypothesis")
        yield f"{untested}: {', '.join(map(inline, left.untested))}"
        yield ""
    for activity in left.dropped:
        yield f"- {inline(activity.id)} was {activity.how} without a test: {inline(activity.text)}"
    yield ""
    yield "## Budget"
    yield ""
    yield from _table(
        ACTIVITY_COLUMNS,
        [lead.row() for lead in left.activities],
    )
    yield "## Operations"
    yield ""
    yield from _table(
        ("event", "operation", "by", "status", "seconds"),
        [
            (
                operation.seq,
                operation.name,
                operation.by,
                f"{operation.status}: {operation.problem}"
                if operation.problem
                else operation.status,
                "" if operation.seconds is None else f"{operation.seconds:.1f}",
            )
            for operation in report.operations
        ],
    )
