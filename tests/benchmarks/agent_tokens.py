"""What one audit by an agent takes in tokens, at 0, 5 and 50 model interactions.

Everything is computed that `agent run` computes, and a scripted endpoint stands in the agent's place: it
looks at three lists and at the steered texts, puts as many questions as it may, one at a time, keeps two
hypotheses and reports, with about 80 tokens of thought in each reply. Four characters count as a token,
so what an endpoint bills differs by some. Only sizes matter, so the pair is the planted one, whose lists
and texts are as long as a real pair's.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

from adl.artifacts import ArrayCache
from tests.planted import N_LAYERS, PlantedPair
from tests.workbench.agent.scripted import Asked, Reaction, Say, report, serving
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.loop import AuditPlan, start_audit
from workbench.agent.shown_evidence import compute, missing_evidence
from workbench.operations.difference import MeasureArguments
from workbench.operations.running import Session, run
from workbench.store.agent_events import AgentMode
from workbench.store.events import HUMAN, PairLoaded
from workbench.store.log import SessionLog

THOUGHT = "I think that this is worth a look, since base and finetuned part here. " * 5
LOOKS = [("show_reading", {"reading": name}) for name in ("consensus", "shift_lens", "patchscope")]
CASES: tuple[tuple[AgentMode, int], ...] = (
    ("adl", 0),
    ("adl", 5),
    ("adl", 50),
    ("black_box", 50),
)


def script(mode: AgentMode, interactions: int) -> list[Say]:
    """The replies of one audit."""
    calls = [*LOOKS, ("show_samples", {"purpose": "steer"})] if mode == "adl" else []
    calls += [
        ("ask", {"prompts": [f"Question {number}: {THOUGHT[:70]}"]})
        for number in range(interactions)
    ]
    calls += [("hypothesis", {"text": THOUGHT[:140], "confidence": 0.6})] * 2
    calls.append(report(THOUGHT * 3))
    return [Say(THOUGHT, [call], usage=None) for call in calls]


def computed(log: SessionLog, folder: Path) -> Session:
    """A session with what an agent is shown; few texts are measured over, which changes no size."""
    pair = PlantedPair()
    session = Session(log, log.start_session("tokens"), ArrayCache(folder), pair)
    session.record(PairLoaded(pair=pair.provenance.as_dict()))
    wanted = missing_evidence(session.state, N_LAYERS, MeasureArguments(n_texts=64))
    compute(wanted, partial(run, session, actor=HUMAN))
    return session


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, SessionLog.open(Path(name) / "s.db") as log:
        session = computed(log, Path(name))
        print("agent       interactions  replies  prompt tokens  reply tokens  longest prompt")
        for mode, interactions in CASES:
            replies = script(mode, interactions)

            def react(asked: Asked, replies: list[Say] = replies) -> Reaction | None:
                return replies[asked.n_replies]

            with serving(react) as server:
                endpoint = Endpoint(server.settings())
                budgets = Budgets(interactions, 200, None, None)
                plan = AuditPlan(model="scripted", mode=mode, budgets=budgets)
                state = start_audit(session, endpoint, plan)
                endpoint.close()
            prompts = [
                len(json.dumps([asked.messages, asked.body.get("tools", [])])) // 4
                for asked in server.asked
            ]
            written = sum(len(say.content) + len(json.dumps(say.calls[0])) for say in replies)
            print(
                f"{mode:<11} {interactions:>12}  {state.replies:>7}  {sum(prompts):>13,}  "
                f"{written // 4:>12,}  {max(prompts):>14,}",
                flush=True,
            )
    return 0
