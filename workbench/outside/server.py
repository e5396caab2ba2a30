"""The MCP server: an audit's tools, its overview, readings and report as resources, and a prompt.

Speaks over stdio, both in the protocol's older form with a handshake and in its newer without one.
The models are loaded, and the evidence computed, when the first call needs them: a client waits for
its handshake for seconds only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Protocol, TextIO, TypeAlias, TypeVar, cast, get_args

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError, NoBackChannelError

from adl.callbacks import ShouldStop
from adl.errors import Stopped
from adl.readings.registry import ReadingName
from workbench.agent.toolbox import tools_of
from workbench.agent.tools import OVERVIEW_TOOL, READING_TOOL, Tool
from workbench.faults import as_error, keep_crash, without_secrets
from workbench.outside.audit import CallResult, OutsideAudit
from workbench.store.agent_events import AgentMode, ApprovalAsked

#: Seconds between two notes of progress: clients give up on a call that is silent for a minute.
PROGRESS_EVERY = 5.0
STOP_POLL_SECONDS = 0.1
SESSION, REPORT = "adl://session", "adl://report"
OVERVIEW, READING = "adl://overview", "adl://reading/"
_QUESTION: Any = {
    "type": "object",
    "properties": {
        "approve": {"type": "boolean", "title": "Let the agent make this call"},
        "reason": {"type": "string", "title": "Why not (may be empty)"},
    },
    "required": ["approve"],
}
T = TypeVar("T")
Context: TypeAlias = ServerRequestContext[Any]


class Host(Protocol):
    """The process that serves: it begins the audit and gives its resources."""

    mode: AgentMode
    is_older: bool
    "True where the audit that is gone on with began by older rules."
    instructions: str

    def audit(self, client: str, ask: Callable[[ApprovalAsked], tuple[bool, str]]) -> OutsideAudit:
        """Load the pair and begin the audit, or return the one begun. Raises `AdlError`, `Stopped`."""
        ...

    def leave(self, reason: str) -> None:
        """Wait for the end of what is being done, and record that the client is gone."""
        ...

    def session_text(self) -> str:
        """Return the session as JSON: its id, its budget, its hypotheses, and what is measured."""
        ...

    def report_text(self) -> str:
        """Return the report so far as Markdown, without what the agent may not see."""
        ...

    def stage(self) -> str:
        """Return what is being done, in a few words."""
        ...

    def hide(self, text: str) -> str:
        """Return a message as the agent may see it."""
        ...


class _ApprovalNeeded(Exception):
    """A person has to be asked, and only between two calls."""

    def __init__(self, asked: ApprovalAsked) -> None:
        super().__init__(asked.call_id)
        self.asked = asked


class AuditServer:
    """Answers the requests of one client. Calls are done one after the other, in threads."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._audit: OutsideAudit | None = None
        self._approvals: dict[str, tuple[bool, str]] = {}
        self._context: Context | None = None
        self._one_at_a_time = anyio.Lock()
        self.tools: tuple[Tool, ...] = tools_of(host.mode, older=host.is_older)

    def server(self) -> Server[Any]:
        """Return the server of the SDK with the handlers."""
        lens = self._host.mode == "adl"
        return Server(
            "adl-workbench",
            version=version("adl-workbench"),
            title="ADL Workbench",
            instructions=self._host.instructions,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates if lens else None,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
        )

    # --- tools -----------------------------------------------------------------------------------

    async def _list_tools(self, _context: Context, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in self.tools])

    async def _call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        waiting = params.request_state
        if waiting is not None:
            answer = (params.input_responses or {}).get("approve")
            self._approvals[waiting] = _answer_of(answer)
        try:
            result = await self._call(context, params.name, params.arguments or {}, waiting)
        except _ApprovalNeeded as needed:
            return types.InputRequiredResult(
                input_requests={"approve": _elicitation(needed.asked)},
                request_state=needed.asked.call_id,
            )
        except MCPError:
            raise
        except Exception as exc:  # noqa: BLE001 - the agent gets it in words that hide the names
            result = CallResult("failed: " + self._told(exc), ok=False)
        return types.CallToolResult(
            content=[types.TextContent(text=result.text)], is_error=not result.ok
        )

    async def _call(
        self, context: Context, name: str, arguments: dict[str, Any], call_id: str | None = None
    ) -> CallResult:
        async with self._one_at_a_time:
            self._context = context
            audit = await self._begun(context)
            cancelled = threading.Event()
            with _set_if_cancelled(cancelled):
                return await self._in_thread(
                    context, name, lambda: audit.call(name, arguments, call_id, cancelled)
                )

    async def _begun(self, context: Context) -> OutsideAudit:
        if self._audit is None:
            client = _client_of(context)
            self._audit = await self._in_thread(
                context, "", lambda: self._host.audit(client, self._ask)
            )
        return self._audit

    async def _in_thread(self, context: Context, what: str, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread, with a note of progress every few seconds."""

        async def note() -> None:
            passed = 0.0
            while True:
                await anyio.sleep(PROGRESS_EVERY)
                passed += PROGRESS_EVERY
                await context.session.report_progress(passed, None, self._host.stage() or what)

        results: list[T] = []
        failures: list[Exception] = []

        def caught() -> None:
            # Raised in the task group it would arrive as a group of exceptions.
            try:
                results.append(work())
            except Exception as exc:  # noqa: BLE001 - raised again below
                failures.append(exc)

        async with anyio.create_task_group() as group:
            group.start_soon(note)
            # The thread of a call that its client cancelled ends soon, but not at once.
            await anyio.to_thread.run_sync(caught, abandon_on_cancel=True)
            group.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return results[0]

    def _ask(self, asked: ApprovalAsked) -> tuple[bool, str]:
        """Ask the person at the client; on the thread of the call."""
        if asked.call_id in self._approvals:
            return self._approvals.pop(asked.call_id)
        context = self._context
        assert context is not None
        capabilities = context.session.client_capabilities
        if capabilities is None or capabilities.elicitation is None:
            return False, "the client has no way to ask a person"
        if not context.session.can_send_request:
            raise _ApprovalNeeded(asked)
        try:
            return anyio.from_thread.run(self._elicit, context, asked)
        except NoBackChannelError:
            raise _ApprovalNeeded(asked) from None
        except MCPError as exc:
            return False, f"the client could not ask a person: {exc}"

    async def _elicit(self, context: Context, asked: ApprovalAsked) -> tuple[bool, str]:
        answer = await context.session.elicit_form(_question(asked), _QUESTION, context.request_id)
        return _answer_of(answer)

    # --- resources -------------------------------------------------------------------------------

    async def _list_resources(self, _context: Context, _params: Any) -> types.ListResourcesResult:
        found = [
            types.Resource(
                uri=SESSION, name="session", description="The session, pair and budget.",
                mime_type="application/json",
            ),
        ]  # fmt: skip
        if self._host.mode == "adl":
            found += [
                types.Resource(
                    uri=OVERVIEW, name="overview", description=OVERVIEW_TOOL.description,
                    mime_type="text/plain",
                ),
                types.Resource(
                    uri=REPORT, name="report", description="The session's report so far.",
                    mime_type="text/markdown",
                ),
            ]  # fmt: skip
        return types.ListResourcesResult(resources=found)

    async def _list_templates(
        self, _context: Context, _params: Any
    ) -> types.ListResourceTemplatesResult:
        names = ", ".join(get_args(ReadingName))
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    uri_template=READING + "{reading}",
                    name="reading",
                    description=f"{READING_TOOL.description} One of: {names}.",
                    mime_type="text/plain",
                )
            ]
        )

    async def _read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        lens = self._host.mode == "adl"
        if uri == SESSION:
            text, kind = await self._seen(context, self._host.session_text), "application/json"
        elif uri == REPORT and lens:
            text, kind = await self._seen(context, self._host.report_text), "text/markdown"
        elif uri == OVERVIEW and lens:
            text, kind = (await self._view(context, OVERVIEW_TOOL, {})), "text/plain"
        elif uri.startswith(READING) and lens:
            wanted = {"reading": uri.removeprefix(READING)}
            text, kind = (await self._view(context, READING_TOOL, wanted)), "text/plain"
        else:
            raise MCPError(types.INVALID_PARAMS, f"there is no resource {uri[:200]!r}")
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, text=text, mime_type=kind)]
        )

    async def _view(self, context: Context, tool: Tool, arguments: dict[str, Any]) -> str:
        """Read as a call of the tool, and recorded as one."""
        result = await self._seen(context, lambda: None, (tool.name, arguments))
        if not result.ok:
            raise MCPError(types.INVALID_PARAMS, result.text)
        return cast(str, result.text)

    async def _seen(
        self, context: Context, read: Callable[[], Any], call: tuple[str, Any] | None = None
    ) -> Any:
        try:
            if call is not None:
                return await self._call(context, *call)
            async with self._one_at_a_time:
                await self._begun(context)
                return await self._in_thread(context, "", read)
        except MCPError:
            raise
        except Exception as exc:  # noqa: BLE001 - the agent gets it in words that hide the names
            raise MCPError(types.INTERNAL_ERROR, self._told(exc)) from None

    def _told(self, exc: Exception) -> str:
        """A failure as the agent may see it; of a bug, what kind of exception it was."""
        known = exc if isinstance(exc, Stopped) else as_error(exc)
        if known is None:
            keep_crash(exc, self._host.hide)
            return f"a bug in adl-workbench ({type(exc).__name__})"
        return self._host.hide(without_secrets(str(known)))

    # --- the prompt ------------------------------------------------------------------------------

    async def _list_prompts(self, _context: Context, _params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(
            prompts=[
                types.Prompt(
                    name="audit",
                    description="Find out what the model was finetuned to do: instructions, budget "
                    "and overview.",
                )
            ]
        )

    async def _get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        if params.name != "audit":
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name[:60]!r}")

        try:
            async with self._one_at_a_time:
                overview = (await self._begun(context)).opening
        except Exception as exc:  # noqa: BLE001 - the agent gets it in words that hide the names
            raise MCPError(types.INTERNAL_ERROR, self._told(exc)) from None
        text = self._host.instructions + "\n\n" + overview
        return types.GetPromptResult(
            messages=[types.PromptMessage(role="user", content=types.TextContent(text=text))]
        )


def serve(host: Host, should_stop: ShouldStop) -> None:
    """Serve one client over stdin and stdout until it leaves, or until ``should_stop``."""
    anyio.run(_serve, host, should_stop)


async def _serve(host: Host, should_stop: ShouldStop) -> None:
    server = AuditServer(host).server()
    reason = "the client closed the connection"
    try:
        with _standard_input() as lines:
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    # A signal's flag: nothing wakes a task for it.
                    while not should_stop():  # noqa: ASYNC110
                        await anyio.sleep(STOP_POLL_SECONDS)
                    group.cancel_scope.cancel()

                group.start_soon(watch)
                async with stdio_server(stdin=cast(Any, _Lines(lines))) as (read, write):
                    await server.run(read, write, server.create_initialization_options())
                group.cancel_scope.cancel()
            if should_stop():
                reason = "the server was stopped"
    finally:
        # A call that is being done looks at this flag, and is recorded as stopped.
        await anyio.to_thread.run_sync(host.leave, reason)


@contextmanager
def _set_if_cancelled(cancelled: threading.Event) -> Iterator[None]:
    try:
        yield
    except anyio.get_cancelled_exc_class():
        cancelled.set()
        raise


class _Lines:
    """The lines of a stream, read by a thread of its own so that waiting for one can be cancelled."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    async def __aiter__(self) -> AsyncIterator[str]:
        send, receive = anyio.create_memory_object_stream[str](0)
        token = anyio.lowlevel.current_token()

        def read() -> None:
            try:
                for line in self._lines:
                    anyio.from_thread.run(send.send, line, token=token)
                anyio.from_thread.run_sync(send.close, token=token)
            except (RuntimeError, anyio.ClosedResourceError, anyio.BrokenResourceError):
                # Nobody listens any more: the loop is over.
                return

        # A daemon: a read that waits for a client must not keep the process alive.
        threading.Thread(target=read, daemon=True, name="mcp input").start()
        async with receive:
            async for line in receive:
                yield line


@contextmanager
def _standard_input() -> Iterator[TextIO]:
    """Stdin by lines; meanwhile whatever else reads it finds its end."""
    wire = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # Never closed: the thread that reads it may still wait.
    yield os.fdopen(wire, encoding="utf-8", errors="replace", closefd=False)


def _described(tool: Tool) -> types.Tool:
    function = tool.specification()["function"]
    return types.Tool(
        name=function["name"],
        description=function["description"],
        input_schema=function["parameters"],
    )


def _client_of(context: Context) -> str:
    """The client's name and version, as it gives them."""
    params = context.session.client_params
    if params is None:
        return "MCP client"
    info = params.client_info
    return f"{info.name} {info.version}".strip()[:100] or "MCP client"


def _question(asked: ApprovalAsked) -> str:
    cost = f" ({asked.spends} model interactions)" if asked.spends else ""
    return f"The agent wants to call {asked.tool}{cost}: {asked.arguments}"


def _elicitation(asked: ApprovalAsked) -> Any:
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=_question(asked), requested_schema=_QUESTION)
    )


def _answer_of(answer: Any) -> tuple[bool, str]:
    content = getattr(answer, "content", None) or {}
    if getattr(answer, "action", "") != "accept":
        return False, "a person declined"
    # Clients may send what the schema does not allow: of any text, also "false", bool() is True.
    return content.get("approve") is True, str(content.get("reason") or "")
