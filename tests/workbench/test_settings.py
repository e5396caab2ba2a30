from pathlib import Path

import pytest

from workbench.settings import DEFAULT_ENDPOINT, SettingsError, load_settings

VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ADL_WORKBENCH_AGENT_MODEL", "API_KEY")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "ADL_WORKBENCH_JUDGE_MODEL"):
        monkeypatch.delenv(name, raising=False)


def write_config(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text, encoding="utf-8")


def test_what_nobody_set():
    settings = load_settings()
    assert settings.base_url == DEFAULT_ENDPOINT
    assert settings.api_key is None
    with pytest.raises(SettingsError, match="ADL_WORKBENCH_AGENT_MODEL"):
        settings.require_model("agent")


def test_given_before_environment_before_file(
    workbench_home: Path, monkeypatch: pytest.MonkeyPatch
):
    write_config(
        workbench_home,
        'agent_model = "file"\njudge_model = "file-judge"\nbase_url = "http://file/v1"\n'
        'api_key = "sk-file"\nattempts = 3\n[prices.file]\nprompt = 1.0\ncompletion = 2.0\n',
    )
    settings = load_settings()
    assert settings.agent_model == "file"
    assert settings.base_url == "http://file/v1"
    assert settings.secrets() == ("sk-file",)
    assert settings.attempts == 3
    assert settings.cost("file", 1_000_000, 500_000) == 2.0
    assert settings.cost("another", 1, 1) is None

    monkeypatch.setenv("ADL_WORKBENCH_AGENT_MODEL", "environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://environment/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    settings = load_settings()
    assert settings.agent_model == "environment"
    assert settings.base_url == "http://environment/v1"
    assert settings.secrets() == ("sk-environment",)
    assert settings.judge_model == "file-judge"

    settings = load_settings(agent_model="flag", base_url="http://flag/v1", judge_model=None)
    assert settings.agent_model == "flag"
    assert settings.base_url == "http://flag/v1"
    assert settings.judge_model == "file-judge"


def test_a_variable_of_another_program_is_not_the_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "of something else")
    assert load_settings().api_key is None


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    settings = load_settings()
    assert settings.api_key is None
    assert settings.base_url == DEFAULT_ENDPOINT


def test_the_judge_is_the_agents_model_unless_set():
    assert load_settings(agent_model="one").require_model("judge") == "one"
    assert load_settings(agent_model="one", judge_model="two").require_model("judge") == "two"


def test_the_key_is_not_shown():
    settings = load_settings(api_key="sk-secret", base_url="http://me:hunter2@host:1/v1?token=x")
    assert settings.address == "http://host:1/v1"
    assert set(settings.secrets()) == {"sk-secret", "hunter2"}
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "sk-secret" not in shown


@pytest.mark.parametrize(
    "text",
    ['api_key = "sk-secret', 'api_key = ["sk-secret"]\n', 'timeout = "sk-secret"\n'],
)
def test_an_error_names_the_setting_and_not_its_value(workbench_home: Path, text: str):
    write_config(workbench_home, text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "sk-secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "config.toml" in str(caught.value)
