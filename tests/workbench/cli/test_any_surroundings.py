"""Whatever a command finds around it: settings, environment, folders and streams that are not right."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.forks import Ended
from tests.workbench.cli.conftest import PLANTED, ROOT, environment
from tests.workbench.cli.forked import ForkedCli
from workbench.cli.output import EXIT_FAILURE, EXIT_USAGE
from workbench.faults import REPORT_BUG
from workbench.locations import HOME_VARIABLE

AGENT = ["agent", "run", "--demo", "--texts", "4"]


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> ForkedCli:
    return ForkedCli(tmp_path_factory.mktemp("home"))


def assert_refused(ended: Ended, code: int, *named: str) -> None:
    said = ended.err.replace("\n", " ")
    assert ended.code == code, said
    assert "Traceback" not in said
    assert REPORT_BUG not in said
    for part in named:
        assert part in said


# --- settings -------------------------------------------------------------------------------------

CONFIGS = {
    "a table for a value": (b"[agent_model]\nx = 1\n", "agent_model"),
    "a value for a table": (b"prices = 3\n", "prices"),
    "a list for a value": (b'base_url = ["http://x"]\n', "base_url"),
    "a table in a price": (b"[prices.m]\nprompt = {}\ncompletion = 1.0\n", "prices: m.prompt"),
    "a price too few": (b"[prices.m]\nprompt = 1.0\n", "prices: m.completion"),
    "a wrong type": (b'attempts = "many"\n', "attempts"),
    "a date": (b"timeout = 1979-05-27\n", "timeout"),
    "too large": (b"attempts = 9223372036854775808\n", "attempts"),
    "not finite": (b"timeout = inf\n", "timeout"),
    "not a number": (b"backoff = nan\n", "backoff"),
    "negative": (b"context = -1\n", "context"),
    "no choice": (b'tools = "hammer"\n', "tools"),
    "no URL": (b'base_url = "http://["\n', "base_url"),
    "no port": (b'base_url = "http://host:99999/v1"\n', "base_url"),
    "no web": (b'base_url = "ftp://host/v1"\n', "base_url"),
    "no host": (b'base_url = "https:///v1"\n', "base_url"),
    "unknown": (b'agent_modle = "x"\n', "agent_model"),
    "unknown table": (b"[endpoint]\nurl = 1\n", "endpoint"),
    "twice": (b'agent_model = "x"\nagent_model = "y"\n', "not TOML"),
    "no UTF-8": (b'agent_model = "caf\xe9"\n', "not TOML"),
    "NUL": (b'agent_model = "\0"\n', "not TOML"),
    "nested": (b"x = " + b"[" * 100_000, "not TOML"),
    "binary": (bytes(range(256)), "not TOML"),
}


@pytest.mark.parametrize(("text", "named"), CONFIGS.values(), ids=CONFIGS)
def test_settings_that_cannot_be_used_are_named(forked: ForkedCli, tmp_path: Path, text, named):
    (tmp_path / "config.toml").write_bytes(text)
    ended = forked(AGENT, env={HOME_VARIABLE: str(tmp_path)})
    assert_refused(ended, EXIT_USAGE, named, "config.toml")


def test_a_folder_in_place_of_the_settings_is_named(forked: ForkedCli, tmp_path: Path):
    (tmp_path / "config.toml").mkdir()
    ended = forked(AGENT, env={HOME_VARIABLE: str(tmp_path)})
    assert_refused(ended, EXIT_USAGE, "config.toml")


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("OPENAI_BASE_URL", "http://[", "base_url"),
        ("OPENAI_BASE_URL", "http://a b/", "base_url"),
        ("OPENAI_BASE_URL", "http://host:x/", "base_url"),
        ("OPENAI_BASE_URL", "nonsense", "base_url"),
        ("OPENAI_BASE_URL", "http://\udcff/", "base_url"),
        ("ADL_WORKBENCH_TIMEOUT", "inf", "timeout"),
        ("ADL_WORKBENCH_TIMEOUT", "1e300", "timeout"),
        ("ADL_WORKBENCH_ATTEMPTS", str(2**63), "attempts"),
        ("ADL_WORKBENCH_ATTEMPTS", "-1", "attempts"),
        ("ADL_WORKBENCH_STREAM", "perhaps", "stream"),
        ("ADL_WORKBENCH_PRICES", "{", "prices"),
        ("ADL_WORKBENCH_PRICES", "[1]", "prices"),
        ("ADL_WORKBENCH_PRICES", "[" * 50_000, "nested"),
    ],
)
def test_variables_that_cannot_be_used_are_named(forked: ForkedCli, variable, value, named):
    ended = forked(AGENT, env={variable: value})
    assert_refused(ended, EXIT_USAGE, named)


# --- folders --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_deleted_folder_stops_nothing_that_does_not_need_it(forked: ForkedCli, tmp_path: Path):
    script = f'mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", PLANTED[0], "-c", IN_PLACE, "organisms", "list"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stderr
    assert "cake_bake" in done.stdout


IN_PLACE = "from tests.planted_cli import main; main()"


@pytest.mark.parametrize("home", ["~nobody-here/x", "/dev/null", "/proc/nowhere", "/" + "x" * 300])
def test_a_home_that_cannot_be_is_named(forked: ForkedCli, home):
    ended = forked(["diff", "--demo", "--texts", "4"], env={HOME_VARIABLE: home})
    assert ended.code in {EXIT_FAILURE, EXIT_USAGE}
    assert_refused(ended, ended.code)
    assert home[:20] in ended.err.replace("\n", "") or HOME_VARIABLE in ended.err


@pytest.mark.parametrize(
    "changed",
    [
        {"HOME": None},
        {"HOME": "/nowhere"},
        {"HOME": "", "XDG_CACHE_HOME": "relative"},
        {"TERM": None},
        {"TERM": "nonsense", "COLUMNS": "-5"},
        {"COLUMNS": "x", "LINES": "0"},
        {"LC_ALL": "nonesuch.UTF-9"},
        {"TZ": "Nowhere/Nothing"},
    ],
    ids=str,
)
def test_an_odd_environment_stops_nothing(forked: ForkedCli, changed):
    ended = forked(["ask", "--demo", "Hi", "--tokens", "2"], env=changed)
    assert_refused(ended, 0)
    assert ended.out


# --- organisms and documents ------------------------------------------------------------------------

ORGANISMS = {
    "no YAML": "{",
    "a list": "- x\n",
    "a text": "x\n",
    "nothing": "",
    "an alias bomb": "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
    "a number for a name": "id: 3\nfamily: SDF\n",
    "nested": "[" * 5_000,
    "a tag": "!!python/object/apply:os.system ['true']\n",
    "control": "id: \x07\n",
}


@pytest.mark.parametrize("text", ORGANISMS.values(), ids=ORGANISMS)
@pytest.mark.parametrize("command", [["organisms", "list"], ["organisms", "show", "mine"]])
def test_an_organism_that_is_not_one_is_named(forked: ForkedCli, tmp_path: Path, text, command):
    folder = tmp_path / "organisms" / "mine"
    folder.mkdir(parents=True)
    (folder / "organism.yaml").write_text(text)
    ended = forked(command, env={HOME_VARIABLE: str(tmp_path)})
    assert_refused(ended, 0 if command[1] == "list" else EXIT_USAGE)
    assert "mine" in ended.err


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b'{"text": 3}\n', b'{"text": ', b"[" * 50_000, b"\xff\xfe", b'{"other": "x"}\n'],
    ids=["empty", "blank", "a number", "cut off", "nested", "UTF-16", "no text"],
)
@pytest.mark.parametrize("option", ["--prompts", "--corpus"])
def test_a_file_of_texts_that_is_not_one_is_named(
    forked: ForkedCli, tmp_path: Path, content, option
):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    command = ["steer" if option == "--prompts" else "diff", "--demo", option, str(path)]
    before = forked(["diff", "--demo", "--texts", "4", "--name", "texts"])
    assert before.code == 0
    if option == "--prompts":
        command += ["--session", "last"]
    ended = forked(command)
    assert_refused(ended, EXIT_USAGE, str(path))


# --- streams --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["organisms", "list"], ["organisms", "list", "--json"]])
@pytest.mark.parametrize(
    ("redirection", "named"),
    [("> /dev/full", "No space left"), (">&-", "output cannot be written")],
)
def test_output_that_cannot_be_written_is_named(arguments, redirection, named):
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *PLANTED, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == EXIT_FAILURE
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.slow
def test_every_stream_closed_stops_no_recording(tmp_path: Path):
    """No file of the session gets the number of a stream, to be written to as if it were it."""
    home = tmp_path / "home"
    arguments = [*PLANTED, "ask", "--demo", "Hi", "--tokens", "2", "--json"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *arguments],
        check=False,
        cwd=ROOT,
        env=environment(**{HOME_VARIABLE: str(home)}),
    )
    assert done.returncode == EXIT_FAILURE
    listed = subprocess.run(
        [*PLANTED, "sessions", "verify", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(**{HOME_VARIABLE: str(home)}),
    )
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)


@pytest.mark.slow
def test_a_bug_is_reported_with_its_trace_in_a_file(tmp_path: Path):
    """Something that nobody foresaw, in a process of its own."""
    work = (
        "import workbench.cli.organisms as commands, workbench.cli as cli;"
        "commands.known_organisms = lambda: {}['nothing'];"
        "cli.main()"
    )
    done = subprocess.run(
        [PLANTED[0], "-c", work, "organisms", "list"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(**{HOME_VARIABLE: str(tmp_path), "OPENAI_API_KEY": "sk-canary"}),
    )
    said = done.stderr.replace("\n", "")
    assert done.returncode == EXIT_FAILURE
    assert "Traceback" not in said
    assert REPORT_BUG in said
    (kept,) = (tmp_path / "cache" / "crashes").iterdir()
    assert str(kept) in said
    assert "KeyError: 'nothing'" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
