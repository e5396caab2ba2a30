"""The tools that an agent of a mode has, and the results of their calls.

What a mode may see is decided here and nowhere else: a black-box agent has no tool that looks at a
reading, a difference, or a steered text, and none whose result says how far the models' numbers part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from pydantic import BaseModel

from adl.callbacks import ShouldStop
from adl.errors import AdlError, Stopped
from workbench.agent import evidence, short_ids
from workbench.agent.errors import ToolError
from workbench.agent.merged_tools import Sight, Step
from workbench.agent.overview import overview
from workbench.agent.quoting import LONGEST_TEXT, quoted
from workbench.agent.reporting import FullReportArguments
from workbench.agent.runners import Runner, RunnerGone
from workbench.agent.tools import (
    OLDER_REPORT_TOOL,
    OVERVIEW_TOOL,
    PROBES_TOOL,
    READING_TOOL,
    REPORT_TOOL,
    SAMPLES_TOOL,
    Probe,
    ProbeKind,
    ProbesArguments,
    ReadingArguments,
    SamplesArguments,
    Tool,
    operation_tools,
)
from workbench.blinding.aliases import Blinding
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.running import Arguments, Operation, Session, Summary
from workbench.store.agent_events import AgentMode
from workbench.store.events import Actor
from workbench.store.findings import Measure
from workbench.store.measures.amplified import TextsAmplified
from workbench.store.measures.completions import CompletionsFound
from workbench.store.measures.differing import DifferingText, TextsDiffer
from workbench.store.measures.scanning import PromptsScanned
from workbench.store.measures.tested import HypothesisTested
from workbench.store.measures.triggers import TriggersScanned
from workbench.store.state import Recorded, SessionState, TextState

PROBE_KINDS: tuple[ProbeKind, ...] = ("prefill", "persona", "diverse")


def tools_of(mode: AgentMode, *, older: bool = False) -> tuple[Tool, ...]:
    """Return the tools of an agent of this mode, the report last.

    ``older`` are those of audits by older rules.
    """
    if mode == "adl":
        views: tuple[Tool, ...] = (OVERVIEW_TOOL, READING_TOOL, SAMPLES_TOOL)
    else:
        views = (PROBES_TOOL, SAMPLES_TOOL) if mode == "scaffolded" else (SAMPLES_TOOL,)
    report = OLDER_REPORT_TOOL if older else REPORT_TOOL
    return (*views, *operation_tools(black_box=mode != "adl", older=older), report)


@dataclass(frozen=True)
class Doing:
    """The context of a tool call: its actor, the event it starts from, and its stop flag.

    An operation that finished after ``since`` with the same arguments is not done again: the process
    was killed between its end and its result's delivery to the agent.
    """

    actor: Actor
    since: int
    should_stop: ShouldStop


@dataclass(frozen=True)
class Done:
    """The result of a call, as the agent gets it, and the exception behind it if it failed."""

    text: str
    failure: Exception | None = None


class Toolbox:
    """The tools of one audit. Results are as the agent gets them, names hidden."""

    def __init__(
        self,
        session: Session,
        mode: AgentMode,
        blinding: Blinding,
        runner: Runner,
        *,
        older: bool = False,
    ) -> None:
        self.tools = tools_of(mode, older=older)
        self._older = older
        self._session = session
        self._mode = mode
        self._blinding = blinding
        self._runner = runner
        self._by_name = {tool.name: tool for tool in self.tools}

    def find(self, name: str) -> Tool:
        """The tool of that name. Raises ``ToolError`` that names those there are."""
        tool = self._by_name.get(name)
        if tool is None:
            raise ToolError(
                f"there is no tool {name[:60]!r}", f"There are: {', '.join(self._by_name)}."
            )
        return tool

    def parse(
        self, tool: Tool, arguments: Mapping[str, Any], *, is_last: bool = False
    ) -> BaseModel:
        """Valid arguments for the record, names revealed where no model gets to read them.

        ``is_last`` for the answer that is asked for at the end, which is taken whatever it rests on.
        """
        if not tool.reaches_models:
            quoted_fields = {name: arguments[name] for name in tool.as_shown & arguments.keys()}
            arguments = self._blinding.reveal_all(dict(arguments)) | quoted_fields
        parsed = tool.parse(arguments)
        if isinstance(parsed, ProbesArguments):
            _check_probes(parsed.probes)
        if self._mode != "adl" and isinstance(parsed, AskArguments) and parsed.alpha:
            raise ToolError("a black-box agent does not steer")
        if isinstance(parsed, FullReportArguments) and not is_last:
            if self._mode != "adl":
                short_ids.check_seen(parsed.ids)
            short_ids.check_ids(self._session.state, parsed.ids)
        return parsed

    def do(self, tool: Tool, arguments: BaseModel, doing: Doing) -> Done:
        """Do a call, and say what came of it: of one of several steps, what came before a failure, too.

        Raises what the first operation raises: ``AdlError``, ``Stopped``.
        """
        views: dict[str, Callable[[Any], str]] = {
            OVERVIEW_TOOL.name: lambda _none: self._overview(),
            READING_TOOL.name: self._reading,
            SAMPLES_TOOL.name: self._samples,
        }
        if tool.name in views:
            return Done(self._hidden(views[tool.name](arguments)))
        if isinstance(arguments, ProbesArguments):
            steps: Sequence[Step] = [(ASK, each) for each in _questions(arguments)]
        elif tool.merged is not None:
            has_lens = self._mode == "adl"
            sight = Sight(self._is_visible, self._as_asked, self._blinding, has_lens=has_lens)
            steps = tool.merged.steps(self._session.state, arguments, sight)
        else:
            assert tool.operation is not None
            assert isinstance(arguments, Arguments)
            steps = [self._gone_on(tool.operation, arguments, doing)]
        done: list[tuple[Operation[Any], Arguments, Summary]] = []
        failure: Exception | None = None
        for step in steps:
            try:
                done.append((*step, self._run(*step, doing)))
            except (Stopped, RunnerGone):
                raise
            except Exception as exc:
                if not done:
                    raise
                failure = exc
                break
        if all(operation.name == ASK.name for operation, _, _ in done):
            text = self._answers(self._session.state, [found for *_, found in done])
        else:
            text = "\n".join(self._told(*step) for step in done)
        return Done(self._hidden(text), failure)

    def overview(self) -> str:
        """The overview as the agent gets it, for the opening."""
        return self._hidden(self._overview())

    # --- views of the session -----------------------------------------------------------------

    def _overview(self) -> str:
        return overview(self._session.state, self._blinding.spare)

    def _reading(self, wanted: ReadingArguments) -> str:
        state = self._session.state
        layers = evidence.measured_layers(state)
        layer = wanted.layer if wanted.layer is not None else next(iter(layers), None)
        if layer is None or layer not in layers:
            measured = ", ".join(map(str, layers)) or "none"
            return f"layer {layer}: {evidence.NOT_COMPUTED}. Measured layers: {measured}."
        there = evidence.reading_lists(
            state, wanted.reading, layer, wanted.position, every_scale=wanted.scales
        )
        lists = [
            token_list
            for token_list in there
            if wanted.source in {None, token_list.body.source}
            and wanted.side in {None, token_list.body.side}
        ]
        if there and not lists:
            kinds = dict.fromkeys(f"{found.body.source} on {found.body.side}" for found in there)
            return (
                f"{wanted.reading} at layer {layer}, position {wanted.position}: none of these lists "
                f"is of that source and side. There are: {', '.join(kinds)}."
            )
        if not lists:
            missing = self._hidden(state.not_computed(wanted.reading, layer))
            # Not in the agent's words: an alias in their place would confirm a guess.
            read = dict.fromkeys(key.position for key in state.readings if key.layer == layer)
            where = f"position {wanted.position}" if wanted.position in read else "this position"
            others = f" Positions with lists: {', '.join(read)}." if read else ""
            return f"{wanted.reading} at layer {layer}, {where}: {missing}.{others}"
        return quoted(
            [evidence.list_data(state, found, wanted.top, by_seq=self._older) for found in lists]
        )

    def _samples(self, wanted: SamplesArguments) -> str:
        state = self._session.state
        has_lens = self._mode == "adl"
        measures = [name for name in wanted.text_ids if name[:1] == "M" and has_lens]
        shown_measures = [self._measure(short_ids.find_measure(state, name)) for name in measures]
        names = [name for name in wanted.text_ids if name not in measures]
        if measures and not names:
            return "\n".join(shown_measures)
        ids = {short_ids.find_text(state, name).start.body.text_id for name in names}
        found = evidence.find_texts(
            state,
            text_ids=ids,
            purpose=wanted.purpose,
            side=wanted.side,
            alpha=wanted.alpha,
        )
        found = [text for text in found if self._is_visible(text)]
        shown = found[wanted.first : wanted.first + wanted.count]
        if not shown:
            texts = self._no_texts(len(found))
            return "\n".join([*shown_measures, texts])
        data = [self._text(text) for text in shown]
        texts = f"{len(shown)} of {len(found)} texts\n" + quoted(data)
        return "\n".join([*shown_measures, texts])

    def _no_texts(self, n_fitting: int) -> str:
        """The texts that there are, where none is shown; ``n_fitting`` were left out by `first`."""
        if n_fitting:
            return f"0 of {n_fitting} texts: `first` leaves all of them out"
        bodies = [
            text.start.body for text in self._session.state.texts.values() if self._is_visible(text)
        ]
        if not bodies:
            return f"0 texts: {evidence.NOT_COMPUTED}"
        there: dict[str, Sequence[str]] = {
            "purpose": sorted({body.purpose for body in bodies}),
            "side": sorted({body.side for body in bodies}),
            "alpha": [f"{alpha:g}" for alpha in sorted({body.alpha for body in bodies})],
        }
        listed = "; ".join(f"{name} {', '.join(values)}" for name, values in there.items())
        return f"0 of {len(bodies)} texts are of that kind. There are: {listed}."

    def _is_visible(self, text: TextState) -> bool:
        """True for a text that an agent of this mode may see: a black box, unsteered answers alone."""
        body = text.start.body
        return self._mode == "adl" or (body.purpose == "ask" and not body.alpha)

    def _text(self, text: TextState) -> dict[str, Any]:
        data = evidence.text_data(self._session.state, text, LONGEST_TEXT, by_seq=self._older)
        if text.start.actor.kind == "agent":
            data |= {
                name: self._blinding.spare(data[name])
                for name in ("prompt", "prefill")
                if name in data
            }
        return data

    # --- operations ---------------------------------------------------------------------------

    def _gone_on(self, operation: Operation[Any], arguments: Arguments, doing: Doing) -> Step:
        """The step, or for a test that this call began before a cut, what goes on with it."""
        if isinstance(arguments, ExperimentArguments) and arguments.resume is None:
            state, asked = self._session.state, arguments.model_dump(mode="json")
            for found in state.experiments.values():
                begun = state.operations.get(found.sealed.operation_id or "")
                if found.result is not None or begun is None or begun.status == "finished":
                    continue
                if begun.started_seq >= doing.since and begun.arguments == asked:
                    going_on = ExperimentArguments(
                        hypothesis=found.hypothesis_id,
                        resume=found.id,
                        batch_size=arguments.batch_size,
                    )
                    return operation, going_on
        return operation, arguments

    def _run(self, operation: Operation[Any], arguments: Arguments, doing: Doing) -> Summary:
        state, asked = self._session.state, arguments.model_dump(mode="json")
        found_something = {found.operation_id for found in state.measures}
        for operation_id, known in reversed(list(state.operations.items())):
            if known.started_seq < doing.since:
                break
            same = (known.name, known.actor.kind) == (operation.name, "agent")
            # One that was killed between its finding and its end has done all that it does.
            over = known.status == "finished" or operation_id in found_something
            if same and over and known.arguments == asked:
                return known.summary
        return self._runner(operation, arguments, doing.actor, doing.should_stop).summary

    def _told(self, operation: Operation[Any], arguments: Arguments, summary: Summary) -> str:
        state = self._session.state
        if (finding := self._finding(operation, arguments)) is not None:
            return self._measure(finding)
        if operation.asks_models and "texts" in summary:
            return quoted([self._text(state.texts[text_id]) for text_id in summary["texts"]])
        return "done " + json.dumps(summary)

    def _measure(self, found: Recorded[Measure]) -> str:
        state = self._session.state
        named = {"id": short_ids.measure_id(state, found), "measure": found.body.label}
        return quoted([named, *evidence.finding_data(self._as_asked(found), state, LONGEST_TEXT)])

    def _as_asked(self, found: Recorded[Measure]) -> Measure:
        """A measure in which names that the agent wrote itself are spared."""
        body = found.body
        if self._blinding and found.actor.kind == "agent":
            spare = self._blinding.spare
            if isinstance(body, _ASKED_FOR):
                body = _asked_spared(body, spare)
            elif isinstance(body, TextsAmplified):
                body = body.model_copy(update={"prompts": tuple(map(spare, body.prompts))})
            elif isinstance(body, TextsDiffer):
                texts = (_prompt_spared(text, spare) for text in body.texts)
                body = body.model_copy(update={"texts": tuple(texts)})
        if self._blinding and isinstance(body, HypothesisTested):
            body = _without_wording(body, self._session.state)
        return body

    def _finding(self, operation: Operation[Any], arguments: Arguments) -> Recorded[Measure] | None:
        """The measure that an operation with these arguments recorded last."""
        state, asked = self._session.state, arguments.model_dump(mode="json")
        runs = {
            operation_id
            for operation_id, known in state.operations.items()
            if known.name == operation.name and known.arguments == asked
        }
        found = [known for known in state.measures if known.operation_id in runs]
        return found[-1] if found else None

    def _answers(self, state: SessionState, summaries: Sequence[Summary]) -> str:
        data: list[dict[str, Any]] = []
        for summary in summaries:
            ids = [text_id for side in summary["texts"].values() for text_id in side]
            data += [self._text(state.texts[text_id]) for text_id in ids]
            if self._mode == "adl":
                data += [
                    {
                        "compared": [
                            text_id if self._older else short_ids.text_id(state, text_id)
                            for text_id in (
                                comparison.body.base_text,
                                comparison.body.finetuned_text,
                            )
                        ],
                        "part_at_token": comparison.body.first_divergence,
                        "mean_kl": round(sum(comparison.body.kl) / len(comparison.body.kl), 3)
                        if comparison.body.kl
                        else evidence.NOT_COMPUTED,
                    }
                    for comparison in state.comparisons
                    if comparison.body.finetuned_text in ids
                ]
        return quoted(data)

    def _hidden(self, text: str) -> str:
        return self._blinding.hide_cut(text)


def _questions(arguments: ProbesArguments) -> list[AskArguments]:
    return [
        AskArguments(
            prompt=probe.prompt, system=probe.system, prefill=probe.prefill, max_new_tokens=80
        )
        for probe in arguments.probes
    ]


#: Findings that repeat what was asked for, and their fields that do, also of records within them.
_ASKED_FOR = (HypothesisTested, CompletionsFound, PromptsScanned, TriggersScanned)
_ASKED_FIELDS = frozenset({"judge", "prefix", "chat", "prompt", "word", "frames", "settings"})


def _asked_spared(value: Any, spare: Callable[[str], str], *, asked: bool = False) -> Any:
    """The finding with the names spared in what the agent itself asked for."""
    if isinstance(value, str):
        return spare(value) if asked else value
    if isinstance(value, BaseModel):
        return value.model_copy(
            update={
                name: _asked_spared(getattr(value, name), spare, asked=name in _ASKED_FIELDS)
                for name in type(value).model_fields
            }
        )
    if isinstance(value, Mapping):
        return {
            key: _asked_spared(item, spare, asked=asked or key in _ASKED_FIELDS)
            for key, item in value.items()
        }
    if isinstance(value, tuple | list):
        return type(value)(_asked_spared(item, spare, asked=asked) for item in value)
    return value


def _prompt_spared(found: DifferingText, spare: Callable[[str], str]) -> DifferingText:
    """A compared prompt with its names spared, also where tokens cut one; another text as it is."""
    if found.source != "prompts":
        return found
    whole = spare("".join(found.pieces))
    ends = accumulate(map(len, found.pieces), initial=0)
    pieces = tuple(whole[first:last] for first, last in pairwise(ends))
    return found.model_copy(update={"text": spare(found.text), "pieces": pieces})


def _without_wording(found: HypothesisTested, state: SessionState) -> HypothesisTested:
    """The result with the hypothesis by its id alone.

    Its words are recorded with names in place of aliases: which of them the agent wrote nobody knows.
    """
    sealed = state.experiments[found.experiment].sealed
    asked = state.operations[sealed.operation_id or ""].arguments
    quoted_there = found.test == "answers" and not (asked.get("phrases") or asked.get("regex"))
    is_rule = sealed.body.judge.kind == "rule"
    judge = f"phrases quoted in {found.hypothesis_id}" if is_rule and quoted_there else found.judge
    return found.model_copy(update={"hypothesis": found.hypothesis_id, "judge": judge})


def described(error: Exception) -> str:
    """A failure in words for the agent: what is wrong and the way out."""
    if isinstance(error, AdlError):
        return "failed: " + str(error)
    # Not foreseen, so nobody knows whose words are in it.
    return "failed: " + type(error).__name__ + "\n" + quoted([str(error)[:LONGEST_TEXT]])


def _check_probes(probes: Sequence[Probe]) -> None:
    missing = [kind for kind in PROBE_KINDS if all(probe.kind != kind for probe in probes)]
    if missing:
        raise ToolError(
            f"there is no probe of kind {missing[0]}",
            f"Give some of each: {', '.join(PROBE_KINDS)}.",
        )
    for number, probe in enumerate(probes, start=1):
        if probe.kind == "prefill" and not probe.prefill:
            raise ToolError(f"probe {number} is a prefill without one", "Give `prefill`.")
        if probe.kind == "persona" and not probe.system:
            raise ToolError(f"probe {number} is a persona without a system turn", "Give `system`.")
