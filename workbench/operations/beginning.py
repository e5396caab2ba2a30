"""Begin a session with its pair: one that cannot be loaded leaves no session behind."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.pair.protocol import ModelPair
from workbench.operations.pair import (
    LOAD,
    LoadModels,
    PairArguments,
    environment,
    load_models,
    loaded_summary,
)
from workbench.operations.running import Session
from workbench.store.events import Actor, EventBody, OperationFinished, OperationStarted, PairLoaded
from workbench.store.log import SessionLog
from workbench.store.rows import Entry


def begin_session(
    log: SessionLog,
    cache: ArrayCache,
    name: str,
    arguments: PairArguments,
    *,
    actor: Actor,
    before: Sequence[EventBody] = (),
    command: Sequence[str] = (),
    check: Callable[[ModelPair], object] = bool,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
    load: LoadModels | None = None,
) -> Session:
    """Load a pair, then start a session that records the loading as if it had run in it.

    The events ``before`` come first in it; ``check`` may refuse the loaded pair by raising; ``load``
    takes the place of `load_models`. The session records ``command`` as the command line, or else
    that of this process.
    Raises whatever keeps the pair from being loaded, and ``Stopped``; then nothing is recorded.
    """
    began = time.monotonic()
    pair = (load or load_models)(arguments, progress, should_stop)
    check(pair)
    operation_id = uuid.uuid4().hex
    bodies = (
        OperationStarted(operation=LOAD.name, arguments=arguments.model_dump(mode="json")),
        PairLoaded(pair=pair.provenance.as_dict()),
        OperationFinished(seconds=round(time.monotonic() - began, 3), summary=loaded_summary(pair)),
    )
    session_id = log.start_session(
        name,
        environment() | ({"command": list(command)} if command else {}),
        actor,
        then=[
            *map(Entry, before),
            *(Entry(body, actor, operation_id) for body in bodies),
        ],
    )
    progress("load", 1, 1)
    return Session(log, session_id, cache, pair)
