import subprocess
import sys
from pathlib import Path

import pytest

from workbench.locations import find_locations, is_checkout


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ADL_WORKBENCH_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    return tmp_path


def make_checkout(folder: Path) -> Path:
    (folder / "sessions").mkdir(parents=True)
    (folder / "workbench").mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "adl-workbench"\n')
    return folder / "workbench"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have folders of their own")
def test_an_installed_package_uses_the_folders_of_the_user(home: Path) -> None:
    found = find_locations(home / "site-packages" / "workbench")
    assert found.database == home / "data" / "adl-workbench" / "sessions.db"
    assert found.cache == home / "cache" / "adl-workbench"
    assert found.arrays == found.cache / "arrays"
    assert found.models == found.cache / "models"
    assert found.config_file == home / "config" / "adl-workbench" / "config.toml"


def test_a_checkout_keeps_its_sessions(home: Path) -> None:
    package = make_checkout(home / "clone")
    assert find_locations(package).database == home / "clone" / "sessions" / "sessions.db"
    assert find_locations(package).cache == find_locations(home / "other" / "workbench").cache


def test_one_variable_overrides_everything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADL_WORKBENCH_HOME", "~/one place")
    found = find_locations(make_checkout(home / "clone"))
    assert found.database == home / "one place" / "sessions.db"
    assert found.cache == home / "one place" / "cache"
    assert found.config_file == home / "one place" / "config.toml"
    monkeypatch.setenv("ADL_WORKBENCH_HOME", "")
    assert find_locations(home / "clone" / "workbench").database.parent.name == "sessions"


@pytest.mark.parametrize("content", ["", "[project", "project = 3", '[project]\nname = "other"\n'])
def test_other_projects_are_no_checkouts(home: Path, content: str) -> None:
    make_checkout(home / "clone")
    assert is_checkout(home / "clone")
    (home / "clone" / "pyproject.toml").write_text(content)
    assert not is_checkout(home / "clone")


def test_a_checkout_without_its_sessions_folder_is_none(home: Path) -> None:
    make_checkout(home / "clone")
    (home / "clone" / "sessions").rmdir()
    assert not is_checkout(home / "clone")
    assert not is_checkout(home / "nowhere")


def test_nothing_is_written(home: Path) -> None:
    before = sorted(home.rglob("*"))
    code = "import workbench.locations as l, workbench.store.log; print(l.find_locations())"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert sorted(home.rglob("*")) == before
