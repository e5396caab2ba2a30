"""A session in which every text is hostile: names, prompts, tokens, answers, notes, errors."""

from __future__ import annotations

import numpy as np

from adl.records import ActivationDifference
from tests.workbench.store.samples import AGENT
from workbench.store.agent_events import (
    AgentStarted,
    AuditUnblinded,
    GradeGiven,
    ReportSubmitted,
)
from workbench.store.arrays import ArrayRef
from workbench.store.events import (
    Actor,
    AnswersCompared,
    DifferenceMeasured,
    EvidenceLinked,
    EvidenceMarked,
    HypothesisStated,
    NoteWritten,
    OperationFailed,
    OperationStarted,
    PairLoaded,
    ReadingTaken,
    ReadToken,
    SessionClosed,
    TextFinished,
    TextStarted,
)
from workbench.store.log import SessionLog

#: Each sets the page's title if it runs.
SCRIPTS = (
    "<script>document.title='owned'</script>",
    "</style><script>document.title='owned'</script>",
    "</title><script>document.title='owned'</script>",
    "</pre></td></table><img src=x onerror=\"document.title='owned'\">",
    '"><svg onload="document.title=\'owned\'">',
    "' onmouseover='document.title=1' x='",
    "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
    "<a href=\"javascript:document.title='owned'\">x</a>",
    '<meta http-equiv=refresh content="0;url=data:text/html,<script>1</script>">',
    "<link rel=stylesheet href=http://203.0.113.9/x.css>",
    "<img src=http://203.0.113.9/pixel>",
    "<form action=http://203.0.113.9/><input name=a>",
    "{{ 7*7 }}{% for x in ().__class__.__bases__ %}{% endfor %}{{ report.__class__ }}",
    "<!--",
    "-->",
    "]]>",
    "&lt;script&gt;",
    "&#60;script&#62;",
)
TERMINAL = (
    "\x1b]52;c;aGFja2Vk\x07",
    "\x1b[2J\x1b[31m",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "\u200bhidden",
    "\r\x08\x7f\x00",
    "\U000e0041",
)
MARKDOWN = (
    "[x](javascript:alert(1))",
    "![x](http://203.0.113.9/pixel)",
    "<b>bold</b>",
    "# heading",
    "```",
    "````",
    "~~~",
    "| a | b |",
    "http://203.0.113.9/",
    "www.example.com",
    "_www.example.com",
    "\u00e9http://203.0.113.9/",
    "1https://203.0.113.9/",
    "a@example.com",
    "\n\n# heading\n\n- list\n\n<script>1</script>\n",
    "[r]: http://203.0.113.9/",
    "&copy; *x* _y_",
    "1. one",
    "---",
    "===",
    "    indented",
    "> quote",
    "$x$",
    "<http://203.0.113.9/>",
)
HOSTILE = " ".join((*SCRIPTS, *TERMINAL, *MARKDOWN))


def arrays(layers: int = 1, positions: int = 2, width: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = dict.fromkeys(ActivationDifference.ARRAYS[:4], (layers, positions, width))
    shapes |= dict.fromkeys(ActivationDifference.ARRAYS[4:], (layers, positions))
    shapes["cosine"] = (layers, positions, positions)
    return {name: rng.random(shape, dtype=np.float32) for name, shape in shapes.items()}


def record_hostile(log: SessionLog, text: str = HOSTILE) -> str:
    """A session of a little of everything, with ``text`` wherever a text may stand."""
    person, agent = Actor(kind="human", name=text), Actor(kind="agent", name=text)
    session = log.start_session(text, {"command": [text], text: text}, person)
    side = {"checkpoint": text, "adapter": text, "architecture": text}
    log.append(
        session, PairLoaded(pair={"base": side, "finetuned": side, "versions": {text: text}})
    )
    log.append(
        session,
        OperationStarted(operation=text, arguments={text: text}),
        actor=person,
        operation_id="op",
    )
    measured = arrays()
    log.append(
        session,
        DifferenceMeasured(
            key="k" * 64,
            corpus={text: text},
            layers=(2,),
            positions=(text, "1"),
            n_texts=1,
            n_skipped=0,
            from_cache=False,
            residual_norm={text: 1.0},
            arrays={name: ArrayRef.of(array) for name, array in measured.items()},
        ),
        arrays=list(measured.values()),
    )
    tokens = tuple(ReadToken(id=i, text=one, score=0.0) for i, one in enumerate((text, " oven")))
    for source in ("difference", "random"):
        for scale in (0.1, 0.2):
            log.append(
                session,
                ReadingTaken(
                    reading="shift_lens",
                    source=source,
                    side="finetuned",
                    layer=2,
                    position="1-4",
                    scale=scale,
                    chosen_by=text,
                    statistics={"kl": scale},
                    tokens=tokens,
                ),
            )
    log.append(
        session,
        ReadingTaken(reading=text, source=text, side=text, layer=2, position="1-4", tokens=tokens),
    )
    for name, purpose in (("t1", "steer"), ("t2", "ask")):
        log.append(
            session,
            TextStarted(
                text_id=name,
                purpose=purpose,
                side=text,
                alpha=0.3,
                layer=2,
                position=text,
                source=text,
                seed=0,
                temperature=1.0,
                max_new_tokens=5,
                messages=({"role": text, "content": text},),
                prefill=text,
            ),
            operation_id="op",
        )
        log.append(session, TextFinished(text_id=name, text=text, token_ids=(1,), ended="length"))
    log.append(
        session,
        AnswersCompared(
            base_text="t1", finetuned_text="t2", first_divergence=0, along="t2", kl=(0.5,)
        ),
    )
    log.append(session, HypothesisStated(hypothesis_id="H1", text=text), actor=agent)
    for name in ("E1", "E2"):
        log.append(
            session,
            EvidenceMarked(
                evidence_id=name, of_seq=4, excerpt=text, label=text, note=text, text_id="t1"
            ),
            actor=person,
        )
    log.append(session, EvidenceLinked(hypothesis_id="H1", evidence_id="E1", bearing="for"))
    log.append(session, NoteWritten(text=text), actor=person)
    log.append(
        session,
        AgentStarted(run_id="r", mode="adl", model=text, endpoint=text, budgets={}),
        actor=AGENT,
    )
    log.append(session, ReportSubmitted(run_id="r", summary=text, description=text))
    grade = GradeGiven(
        grade_id="G1",
        grader="report",
        subject=text,
        score=None,
        reason=text,
        rubric=text,
        rubric_version=text,
        model=text,
    )
    log.append(session, grade)
    log.append(session, grade.model_copy(update={"grade_id": "G2", "replaces": "G1", "score": 2.0}))
    log.append(session, AuditUnblinded(reason=text), actor=person)
    log.append(session, OperationFailed(error=text, message=text, seconds=1.0), operation_id="op")
    log.append(session, SessionClosed(outcome="failed", reason=text))
    return session
