import subprocess
import sys
import time

from tests.workbench.store.samples import reading
from workbench.store.events import TextGrew
from workbench.store.log import SessionLog
from workbench.store.rows import Entry
from workbench.store.state import fold


def test_a_session_of_50_000_events_is_read_and_folded_within_2_seconds(log: SessionLog) -> None:
    session = log.start_session("long")
    grew = [Entry(TextGrew(pieces={"t": "word "})) for _ in range(9)]
    log.append_many(session, [*grew, Entry(reading("oven " * 20))] * 5_000)
    # Of the processor, and the best of three: another process may be at it.
    seconds = []
    for _ in range(3):
        start = time.process_time()
        state = fold(log.events(session))
        seconds.append(time.process_time() - start)
    assert state.seq == 50_001
    assert min(seconds) < 2


def test_the_store_loads_no_model_library_and_no_screen() -> None:
    code = (
        "import sys, workbench.store.log, workbench.store.state, workbench.locations; "
        "print(*({name.partition('.')[0] for name in sys.modules}"
        " & {'torch', 'transformers', 'nnsight', 'textual', 'openai', 'sqlite_utils'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""
