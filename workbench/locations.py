"""The files and folders of the workbench; nothing here is created or written."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import platformdirs

HOME_VARIABLE = "ADL_WORKBENCH_HOME"
_APPLICATION = "adl-workbench"


@dataclass(frozen=True)
class Locations:
    """The files and folders of one user; none of them need exist yet."""

    database: Path
    "The sessions, one SQLite file."
    cache: Path
    "What can be computed again."
    config_file: Path
    "The user's settings, TOML."
    organisms: Path
    "The user's own model organisms, one folder each."
    runtime: Path | None = None
    "A folder of this machine for sockets; None keeps them with what can be computed again."

    @property
    def arrays(self) -> Path:
        """The folder of cached activation arrays."""
        return self.cache / "arrays"

    @property
    def hashes(self) -> Path:
        """The folder of hashes of files, each under what the file system says of the file."""
        return self.cache / "hashes"

    @property
    def models(self) -> Path:
        """The folder of prepared models."""
        return self.cache / "models"

    @property
    def studies(self) -> Path:
        """The folder of mixing studies, each with the organisms it trained."""
        return self.organisms.parent / "studies"

    @property
    def style_bank(self) -> Path:
        """The user's own finetunings in the bank of style."""
        return self.organisms.parent / "style_bank.json"

    @property
    def leases(self) -> Path:
        """The folder that says which sessions are open now."""
        return self.cache / "open"

    @property
    def engines(self) -> Path:
        """The folder of the sockets of running engines."""
        return (self.runtime or self.cache) / "engines"

    @property
    def engine_logs(self) -> Path:
        """The folder with the output of engines that run by themselves."""
        return self.cache / "engine-logs"


def find_locations(package: Path | None = None) -> Locations:
    """Say where things are for this process.

    ``ADL_WORKBENCH_HOME`` holds everything if it is set. Otherwise the user's data, cache and
    config folders do (XDG on Linux), except that a checkout of the project keeps its sessions in
    its own ``sessions`` folder. ``package`` is the folder of the package `workbench`.
    """
    if home := os.environ.get(HOME_VARIABLE):
        folder = Path(home).expanduser().absolute()
        return Locations(
            database=folder / "sessions.db",
            cache=folder / "cache",
            config_file=folder / "config.toml",
            organisms=folder / "organisms",
        )
    checkout = (package or Path(__file__).resolve().parent).parent
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    data = platformdirs.user_data_path(_APPLICATION, appauthor=False)
    return Locations(
        database=(checkout / "sessions" if is_checkout(checkout) else data) / "sessions.db",
        cache=platformdirs.user_cache_path(_APPLICATION, appauthor=False),
        config_file=platformdirs.user_config_path(_APPLICATION, appauthor=False) / "config.toml",
        organisms=data / "organisms",
        runtime=Path(runtime) / _APPLICATION if runtime else None,
    )


def is_checkout(folder: Path) -> bool:
    """Tell whether the folder is a checkout of this project, with its ``sessions`` folder."""
    if not (folder / "sessions").is_dir():
        return False
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    section = project.get("project")
    return isinstance(section, dict) and section.get("name") == _APPLICATION
