"""Look at everything the workbench needs, and say what to do about what is not there."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import typer

from adl.errors import AdlError, install_extra
from adl.pair.self_checks import OUTPUTS, check_line, hint
from adl.paths import expanded
from workbench.cli import show
from workbench.cli.options import CheckPair, Database, Json, options_from, pair_arguments
from workbench.cli.output import EXIT_FAILURE, print_json
from workbench.cli.running import database_path
from workbench.faults import without_secrets
from workbench.locations import find_locations
from workbench.operations.pair import DEMO_ORGANISM, PairArguments, pair_kind, resolve_pair
from workbench.store.log import SessionLog

PACKAGES = ("adl-workbench", "torch", "transformers", "nnsight", "peft", "textual", "sqlite-utils")
SMALLEST = (80, 24)
ENDPOINT_TIMEOUT = 5.0
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
    hint: str = ""


@options_from(named=pair_arguments)
def doctor(
    named: PairArguments,
    pair: CheckPair = False,
    database: Database = None,
    json: Json = False,
) -> None:
    """Check versions, devices, model cache, database, endpoint and terminal.

    Also checks a model pair, if one is named; --pair alone checks the demo pair.
    """
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
    chosen = [named.organism, named.base, named.adapter, named.finetuned]
    if pair and not any(chosen):
        named = named.model_copy(update={"organism": DEMO_ORGANISM})
    if pair or any(chosen):
        findings += _pair(named)
    # What is printed here is what people put into a report of a bug.
    findings = [
        replace(each, found=without_secrets(each.found), hint=without_secrets(each.hint))
        for each in findings
    ]
    if json:
        print_json([vars(finding) for finding in findings])
    else:
        rows = [(f.what, f.state, f.found, f.hint) for f in findings]
        show.table(("what", "state", "found", "hint"), rows)
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
        how = f"Run: make install, or {install_extra('models')}"
        return Finding("packages", "problem", f"missing: {', '.join(missing)}", how)
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
    home = expanded(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    refused = _refused(home)
    if refused:
        # Enough for models that are there already: clusters share such a cache.
        return Finding("model cache", "note", f"{home}: {refused}", "Set HF_HOME to download.")
    free = shutil.disk_usage(_existing(home)).free / 2**30
    offline = ", offline" if os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"} else ""
    return Finding("model cache", "ok", f"{home} ({free:.0f} GiB free{offline})")


def _default_model() -> Finding:
    models = find_locations().models
    if any(models.glob("SmolLM2-*")):
        return Finding("default model", "ok", f"prepared in {models}")
    return Finding("default model", "note", "not prepared yet", "The first --demo prepares it.")


def _existing(folder: Path) -> Path:
    """The nearest that is there: the folder itself or one above it."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _refused(folder: Path) -> str:
    """Return the reason why ``folder``, which need not exist yet, cannot be written; empty if it can.

    Tried with a file without a name, since permissions alone do not tell: the file system may be
    read-only or full, and root is refused nothing until it writes.
    """
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)) as file:
            file.write(b"\0")
            file.flush()
    except OSError as exc:
        return f"cannot be written ({exc.strerror or exc})"
    return ""


def _database(path: Path) -> Finding:
    hint = "Name another file, or set ADL_WORKBENCH_HOME to a folder that is writable."
    refused = _refused(path.parent)
    if not path.exists():
        if refused:
            return Finding("database", "problem", f"{path}: {refused}", hint)
        return Finding("database", "ok", f"{path} (made by the first session)")
    try:
        with SessionLog.open(path, read_only=True) as log:
            sessions = len(log.sessions())
    except AdlError as exc:
        return Finding("database", "problem", exc.message, exc.hint)
    if refused:
        return Finding("database", "problem", f"{path}: {refused}", hint)
    return Finding("database", "ok", f"{path} ({sessions} sessions)")


def _endpoint() -> Finding:
    # Settings and the HTTP library are imported only here: both take a moment.
    from workbench.settings import DEFAULT_ENDPOINT, SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as exc:
        return Finding("endpoint", "note", exc.message, exc.hint)
    key = "" if settings.api_key is None else settings.api_key.get_secret_value()
    if not key and settings.base_url == DEFAULT_ENDPOINT:
        return Finding(
            "endpoint", "note", "none set", "Set OPENAI_API_KEY or OPENAI_BASE_URL for the agent."
        )
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        return Finding(
            "endpoint",
            "note",
            "OPENAI_API_KEY has a space, line end or other character that no key has",
            "Copy the key again.",
        )
    import httpx

    parts = urlsplit(settings.base_url)
    url = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/models"))
    # A password in the address, or a key in its query, is as secret as the key, and errors quote both.
    shown = f"{settings.address.rstrip('/')}/models"
    try:
        answer = httpx.get(
            url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=ENDPOINT_TIMEOUT,
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
        reason = type(exc).__name__ if shown != url else str(exc) or type(exc).__name__
        return Finding("endpoint", "note", f"{shown}: {reason}", "Check OPENAI_BASE_URL.")
    if answer.status_code in {401, 403}:
        return Finding("endpoint", "note", f"{shown} refuses the key", "Check OPENAI_API_KEY.")
    return Finding("endpoint", "ok", f"{shown} answered {answer.status_code}")


def _pair(arguments: PairArguments) -> list[Finding]:
    """Load the pair, and what its self-checks found; nothing is recorded."""
    try:
        # torch is imported by nothing else of this command.
        provenance = pair_kind(arguments).load(resolve_pair(arguments)).provenance
    except AdlError as exc:
        return [Finding("pair", "problem", exc.message, exc.hint)]
    found = [
        Finding(
            f"pair: {check.name}",
            "ok" if check.outcome != "failed" else "problem" if OUTPUTS in check.off else "note",
            check_line(check),
            hint(check),
        )
        for check in provenance.checks
    ]
    checked = {f"{check.name}: {check_line(check)}" for check in provenance.checks}
    notes = [line for line in provenance.mismatches if line not in checked]
    return found + [Finding("pair", "note", line) for line in notes]


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
