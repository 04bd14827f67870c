"""The server under rehearsal: what flags and templates make of it, and how a user's application is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollproof.core.errors import UsageError
from rollproof.orchestrator.runtimes.serve_app import load
from rollproof.subject import Subject, find_subject, sample_root, with_strategy


def command_of(subject: Subject) -> tuple[str, ...]:
    return subject.images[subject.settings.task_definition.image].command


class TestSample:
    def test_comes_with_its_templates_and_a_redis(self) -> None:
        subject = find_subject()
        assert subject.is_sample
        assert subject.needs_redis
        assert command_of(subject) == (sys.executable, "-m", "server")
        assert subject.settings.sources["service.desired_count"].startswith("aws/ecs.yaml:")
        assert subject.images[subject.settings.task_definition.image].working_directory == sample_root()

    def test_listens_on_loopback_only(self) -> None:
        assert find_subject().settings.task_definition.environment["HOST"] == "127.0.0.1"

    def test_a_redis_of_the_users_needs_none_of_ours(self) -> None:
        assert not find_subject(environment={"REDIS_URL": "redis://mine"}).needs_redis

    @pytest.mark.parametrize(
        ("strategy", "stateless", "needs_redis"),
        [
            ("stateless", "true", True),
            ("redis-state", "false", True),
            ("memory", "false", False),
            ("durable", "false", True),
            ("idempotent", "false", False),
        ],
    )
    def test_a_strategy_is_an_environment_that_says_where_it_came_from(
        self, strategy: str, stateless: str, needs_redis: bool
    ) -> None:
        subject = with_strategy(find_subject(), strategy)
        settings = subject.settings
        assert settings.task_definition.environment["MCP_STATELESS_HTTP"] == stateless
        assert settings.sources["task_definition.environment.MCP_STATELESS_HTTP"] == f"--strategy {strategy}"
        assert subject.needs_redis is needs_redis

    def test_strategies_are_the_samples_alone(self, tmp_path: Path) -> None:
        own = find_subject(command="serve", working_directory=tmp_path)
        with pytest.raises(UsageError, match="sample server"):
            with_strategy(own, "memory")
        with pytest.raises(UsageError, match="unknown strategy 'hope'"):
            with_strategy(find_subject(), "hope")


class TestOwnServer:
    def test_a_command_is_run_where_the_user_is(self, tmp_path: Path) -> None:
        subject = find_subject(command="node 'my server.js' --port $PORT", working_directory=tmp_path)
        assert command_of(subject) == ("node", "my server.js", "--port", "$PORT")
        assert subject.images[subject.settings.task_definition.image].working_directory == tmp_path
        assert not subject.is_sample
        assert not subject.needs_redis

    def test_an_app_is_served_by_us(self, tmp_path: Path) -> None:
        subject = find_subject(app="package.module:create_app", working_directory=tmp_path)
        assert command_of(subject)[-2:] == ("rollproof.orchestrator.runtimes.serve_app", "package.module:create_app")

    def test_without_a_template_it_is_given_time_to_start_and_a_lenient_check(self, tmp_path: Path) -> None:
        settings = find_subject(command="serve", working_directory=tmp_path).settings
        assert settings.service.health_check_grace_period_s == 60.0
        assert settings.target_group.health_check.matcher == "200-499"
        assert settings.target_group.stickiness.enabled
        assert "without a template" in settings.sources["service.health_check_grace_period_s"]

    @pytest.mark.parametrize(
        ("flags", "says"),
        [
            ({"app": "a:b", "command": "c"}, "exclude each other"),
            ({"app": "a"}, "is not module:factory"),
            ({"app": "a:"}, "is not module:factory"),
            ({"app": "my-module:app"}, "is not module:factory"),
            ({"command": "   "}, "--command is empty"),
            ({"command": "serve 'it"}, "No closing quotation"),
        ],
    )
    def test_what_cannot_be_started(self, flags: dict[str, str], says: str) -> None:
        with pytest.raises(UsageError, match=says):
            find_subject(**flags)  # type: ignore[arg-type]


SOURCE = """
async def app(scope, receive, send): ...
class Application:
    async def __call__(self, scope, receive, send): ...
instance = Application()
def create(): return app
def create_with_defaults(path="/mcp", **more): return app
class Mcp:
    def http_app(self): return app
mcp = Mcp()
def create_mcp(): return mcp
number = 7
def create_number(): return 7
"""


class TestLoad:
    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        (tmp_path / "loaded_module.py").write_text(SOURCE)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        yield
        sys.modules.pop("loaded_module", None)

    @pytest.mark.parametrize("name", ["app", "create", "create_with_defaults", "mcp", "create_mcp"])
    def test_finds_the_application(self, name: str) -> None:
        assert load(f"loaded_module:{name}").__name__ == "app"

    @pytest.mark.parametrize("name", ["instance", "Application.__call__"])
    def test_an_application_is_no_factory(self, name: str) -> None:
        assert type(load(f"loaded_module:{name}")).__name__ in ("Application", "function")

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("nowhere:app", "No module named 'nowhere'"),
            ("loaded_module:nothing", "no attribute 'nothing'"),
            ("loaded_module:number", "int is no ASGI application"),
            ("loaded_module:create_number", "int is no ASGI application"),
        ],
    )
    def test_says_in_one_line_what_is_wrong(self, name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            load(name)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
