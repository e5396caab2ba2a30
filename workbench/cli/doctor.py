"""Look at everything the workbench needs, and say what to do about what is not there."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import typer

from adl.errors import AdlError
from workbench.cli import show
from workbench.cli.options import Database, Json
from workbench.cli.running import EXIT_FAILURE, database_path, print_json
from workbench.locations import find_locations
from workbench.store.log import SessionLog

PACKAGES = ("adl-workbench", "torch", "transformers", "nnsight", "peft", "textual", "sqlite-utils")
SMALLEST = (80, 24)
ENDPOINT_TIMEOUT = 5.0
DEFAULT_ENDPOINT = "https://api.openai.com/v1"
DEVICE_TIMEOUT = 120

# In a process of its own: a broken accelerator driver can end the process that asks it.
DEVICES = """
import torch
names = ["cpu (%d threads)" % torch.get_num_threads()]
names += ["cuda:%d %s, %.0f GiB" % (i, torch.cuda.get_device_name(i),
          torch.cuda.get_device_properties(i).total_memory / 2**30)
          for i in range(torch.cuda.device_count())]
names += ["mps"] if torch.backends.mps.is_available() else []
print("; ".join(names))
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. A ``problem`` keeps the workbench from its work; a ``note`` does not."""

    what: str
    state: Literal["ok", "note", "problem"]
    found: str
    way_out: str = ""


def doctor(database: Database = None, json: Json = False) -> None:
    """Check versions, devices, model cache, database, endpoint and terminal."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _packages,
        _devices,
        _model_cache,
        _default_model,
        lambda: _database(database_path(database)),
        _endpoint,
        _terminal,
    )
    findings = [check() for check in checks]
    if json:
        print_json([vars(finding) for finding in findings])
    else:
        rows = [(f.what, f.state, f.found, f.way_out) for f in findings]
        show.table(("what", "state", "found", "way out"), rows)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


def _python() -> Finding:
    return Finding("Python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _packages() -> Finding:
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding("packages", "problem", f"missing: {', '.join(missing)}", "Run: make install")
    return Finding("packages", "ok", ", ".join(found))


def _devices() -> Finding:
    try:
        done = subprocess.run(
            [sys.executable, "-c", DEVICES],
            capture_output=True,
            text=True,
            timeout=DEVICE_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("devices", "problem", "torch did not answer", "Check the GPU's driver.")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding("devices", "problem", last, "Reinstall PyTorch for this machine.")
    return Finding("devices", "ok", done.stdout.strip())


def _model_cache() -> Finding:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free / 2**30
    offline = ", offline" if os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"} else ""
    return Finding("model cache", "ok", f"{home} ({free:.0f} GiB free{offline})")


def _default_model() -> Finding:
    models = find_locations().models
    if any(models.glob("SmolLM2-*")):
        return Finding("default model", "ok", f"prepared in {models}")
    return Finding("default model", "note", "not prepared yet", "The first --demo prepares it.")


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding("database", "ok", f"{path} (made by the first session)")
    try:
        with SessionLog.open(path, read_only=True) as log:
            sessions = len(log.sessions())
    except AdlError as exc:
        return Finding("database", "problem", exc.message, exc.way_out)
    if not os.access(path.parent, os.W_OK):
        return Finding(
            "database", "problem", f"{path} cannot be written", "Set ADL_WORKBENCH_HOME."
        )
    return Finding("database", "ok", f"{path} ({sessions} sessions)")


def _endpoint() -> Finding:
    base = os.environ.get("OPENAI_BASE_URL", "").rstrip("/")
    key = os.environ.get("OPENAI_API_KEY", "")
    if not base and not key:
        return Finding(
            "endpoint", "note", "none set", "Set OPENAI_API_KEY or OPENAI_BASE_URL for the agent."
        )
    import httpx  # only where there is an endpoint to ask

    url = f"{base or DEFAULT_ENDPOINT}/models"
    try:
        answer = httpx.get(
            url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=ENDPOINT_TIMEOUT,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return Finding("endpoint", "note", f"{url}: {exc}", "Check OPENAI_BASE_URL.")
    if answer.status_code in {401, 403}:
        return Finding("endpoint", "note", f"{url} refuses the key", "Check OPENAI_API_KEY.")
    return Finding("endpoint", "ok", f"{url} answered {answer.status_code}")


def _terminal() -> Finding:
    columns, lines = shutil.get_terminal_size()
    encoding = locale.getpreferredencoding(False)
    found = f"{os.environ.get('TERM', 'no TERM')}, {columns}x{lines}, {encoding}"
    if not sys.stdout.isatty():
        return Finding("terminal", "note", f"{found}, stdout is not one")
    if columns < SMALLEST[0] or lines < SMALLEST[1]:
        return Finding("terminal", "note", found, "The workbench wants 80x24 or more.")
    if encoding.lower().replace("-", "") != "utf8":
        return Finding("terminal", "note", found, "Set a UTF-8 locale for the full picture.")
    return Finding("terminal", "ok", found)
