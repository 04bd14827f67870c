"""The socket proxy: every call that the docker runtime makes passes, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rollproof.core.settings import ContainerHealthCheck, TaskDefinition
from rollproof.orchestrator.runtimes.docker_container import ComposeProject, DockerImage, container_config, encoded
from rollproof.orchestrator.runtimes.docker_container import label_filters as filters_of
from rollproof.testing.runtime_contract import make_spec

sys.path.insert(0, str(Path(__file__).parents[2] / "compose" / "socket-proxy"))
import proxy as gate
import rules

SCOPE = rules.Scope("demo", "server", "demo_default", ("rollproof-server:latest",))
PROJECT = ComposeProject("demo", "demo_default")
TASK = "0123456789abcdef0123456789abcdef"
NAME = "demo-server-0123456789ab"
FILTERS = quote(encoded(filters_of(PROJECT)))
Json = dict[str, Any]


def body(change: Callable[[Json], object] = lambda _: None) -> bytes:
    """What the runtime really sends, changed."""
    check = ContainerHealthCheck(("CMD", "true"))
    spec = make_spec(TASK, TaskDefinition(command=("python",), health_check=check), Path("/logs"))
    image = DockerImage("rollproof-server:latest")
    config = deepcopy(container_config(spec, PROJECT, image, "10.0.0.7:8000", {"AWS_REGION": "us-east-1"}, 2))
    change(config)
    return json.dumps(config).encode()


def judge(method: str, target: str, content: bytes = b"") -> str:
    """ "" if it passes, else why not."""
    try:
        rules.allowed_body(SCOPE, method, target, content)
    except rules.Forbidden as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/version"),
        ("GET", "/v1.45/_ping"),
        ("GET", f"/v1.45/events?filters={FILTERS}"),
        ("GET", f"/v1.45/containers/json?limit=-1&all=1&size=0&trunc_cmd=0&filters={FILTERS}"),
        ("GET", f"/v1.45/containers/{NAME}/json"),
        ("GET", f"/v1.45/containers/{NAME}/logs?stderr=1&stdout=1&timestamps=0&follow=1&tail=all"),
        ("GET", f"/v1.45/containers/{NAME}/stats?stream=False&one-shot=True"),
        ("POST", f"/v1.45/containers/{NAME}/start"),
        ("POST", f"/v1.45/containers/{NAME}/kill?signal=SIGTERM"),
        ("DELETE", f"/v1.45/containers/{NAME}?v=True&link=False&force=True"),
        ("GET", "/v1.45/networks/demo_default"),
        ("GET", "/v1.45/images/rollproof-server:latest/json"),
    ],
)
def test_every_call_of_the_runtime_passes(method: str, target: str) -> None:
    assert judge(method, target) == ""


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1.45/info"),
        ("GET", "/v1.45/containers/json?all=1"),
        ("GET", "/v1.45/containers/json?all=1&filters=" + quote('{"label": ["com.docker.compose.project=demo"]}')),
        ("GET", f"/v1.45/containers/json?filters={FILTERS}&filters=%7B%7D"),
        ("GET", "/v1.45/containers/json?filters=" + quote('{"label": {"com.docker.compose.project=demo": true}}')),
        ("GET", "/v1.45/events"),
        ("GET", "/v1.45/containers/demo-redis-1/json"),
        ("GET", "/v1.45/containers/0123456789ab/json"),
        ("GET", f"/v1.45/containers/{NAME}/archive?path=/etc"),
        ("GET", f"/v1.45/containers/{NAME}/export"),
        ("GET", f"/v1.45/containers/other-{NAME}/json"),
        ("GET", f"/v1.45/containers/..%2f{NAME}/json"),
        ("GET", f"/v1.45/containers/x/../{NAME}/json"),
        ("GET", f"//containers/{NAME}/json"),
        ("POST", f"/v1.45/containers/{NAME}/exec"),
        ("POST", f"/v1.45/containers/{NAME}/attach?stream=1"),
        ("POST", f"/v1.45/containers/{NAME}/update"),
        ("POST", f"/v1.45/containers/{NAME}/kill"),
        ("POST", f"/v1.45/containers/{NAME}/kill?signal=9;reboot"),
        ("POST", f"/v1.45/containers/{NAME}/rename?name=demo-redis-1"),
        ("POST", "/v1.45/containers/create"),
        ("POST", "/v1.45/containers/create?name=demo-redis-2"),
        ("POST", f"/v1.45/containers/create?name={NAME}&platform=linux"),
        ("POST", "/v1.45/images/create?fromImage=alpine"),
        ("POST", "/v1.45/networks/create"),
        ("POST", "/v1.45/volumes/create"),
        ("POST", "/v1.45/build"),
        ("POST", "/v1.45/session"),
        ("POST", "/v1.45/swarm/init"),
        ("DELETE", "/v1.45/containers/demo-orchestrator-1"),
        ("DELETE", f"/v1.45/containers/{NAME}?link=1"),
        ("DELETE", "/v1.45/networks/demo_default"),
        ("GET", "/v1.45/networks/other_default"),
        ("GET", "/v1.45/images/alpine/json"),
        ("HEAD", "/v1.45/containers/json"),
    ],
)
def test_any_other_call_is_refused(method: str, target: str) -> None:
    assert judge(method, target, body() if "create?name" in target else b"") != ""


def test_the_container_that_the_runtime_creates_passes() -> None:
    passed = rules.allowed_body(SCOPE, "POST", f"/v1.45/containers/create?name={NAME}", body())
    assert json.loads(passed) == json.loads(body())


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["HostConfig"].update(Privileged=True),
        lambda c: c["HostConfig"].update(privileged=True),
        lambda c: c["HostConfig"].update(Binds=["/:/host"]),
        lambda c: c["HostConfig"].update(Mounts=[{"Type": "bind", "Source": "/", "Target": "/host"}]),
        lambda c: c["HostConfig"].update(VolumesFrom=["demo-redis-1"]),
        lambda c: c["HostConfig"].update(NetworkMode="host"),
        lambda c: c["HostConfig"].update(NetworkMode="container:demo-redis-1"),
        lambda c: c["HostConfig"].update(PidMode="host"),
        lambda c: c["HostConfig"].update(IpcMode="host"),
        lambda c: c["HostConfig"].update(UsernsMode="host"),
        lambda c: c["HostConfig"].update(CapAdd=["SYS_ADMIN"]),
        lambda c: c["HostConfig"].update(CapDrop=[]),
        lambda c: c["HostConfig"].update(Devices=[{"PathOnHost": "/dev/sda"}]),
        lambda c: c["HostConfig"].update(SecurityOpt=["seccomp=unconfined"]),
        lambda c: c["HostConfig"].update(SecurityOpt=["no-new-privileges:true", "apparmor=unconfined"]),
        lambda c: c["HostConfig"].update(ReadonlyRootfs=False),
        lambda c: c["HostConfig"].update(ReadonlyRootfs=1),
        lambda c: c["HostConfig"].update(Tmpfs={"/etc": ""}),
        lambda c: c["HostConfig"].update(Memory=0),
        lambda c: c["HostConfig"].update(MemorySwap=-1),
        lambda c: c["HostConfig"].update(PortBindings={"8000/tcp": [{"HostPort": "80"}]}),
        lambda c: c["HostConfig"].update(Runtime="other"),
        lambda c: c["HostConfig"].update(LogConfig={"Type": "syslog", "Config": {}}),
        lambda c: c["HostConfig"].pop("Memory"),
        lambda c: c["HostConfig"].pop("CapDrop"),
        lambda c: c.pop("HostConfig"),
        lambda c: c.update(hostconfig={"Privileged": True}),
        lambda c: c.update(HostConfig=None),
        lambda c: c.update(Image="alpine"),
        lambda c: c.update(User="0"),
        lambda c: c.update(User="root"),
        lambda c: c.update(User="10001:0"),
        lambda c: c.update(User=""),
        lambda c: c.pop("User"),
        lambda c: c.update(Entrypoint=["sh"]),
        lambda c: c.update(Volumes={"/x": {}}),
        lambda c: c.update(Env="X=1"),
        lambda c: c["Labels"].update({"com.docker.compose.project": "other"}),
        lambda c: c["Labels"].update({"com.docker.compose.service": "redis"}),
        lambda c: c.pop("Labels"),
        lambda c: c["NetworkingConfig"]["EndpointsConfig"].update(other={}),
        lambda c: c["NetworkingConfig"]["EndpointsConfig"]["demo_default"].update(Aliases=["redis"]),
        lambda c: c.update(NetworkingConfig={}),
        lambda c: c.pop("NetworkingConfig"),
    ],
)
def test_a_container_with_anything_more_is_refused(change: Callable[[Json], object]) -> None:
    assert judge("POST", f"/v1.45/containers/create?name={NAME}", body(change)).startswith("create")


def test_a_key_given_twice_is_refused() -> None:
    """The Engine would merge both; whoever reads only the last sees nothing wrong."""
    twice = body().replace(b'"HostConfig": {', b'"HostConfig": {"Privileged": true}, "HostConfig": {', 1)
    assert judge("POST", f"/v1.45/containers/create?name={NAME}", twice) == "JSON with a key given twice"


class FakeEngine:
    """Answers every request with 200 and `says`; remembers what came."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.says = b"[]"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0)
        self.requests.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + self.says)
        writer.close()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    engine = FakeEngine()
    server = await asyncio.start_unix_server(engine.serve, tmp_path / "engine.sock")
    yield engine
    server.close()


@pytest.fixture
async def proxy(tmp_path: Path, engine: FakeEngine) -> AsyncIterator[gate.Proxy]:
    proxy = gate.Proxy(SCOPE, str(tmp_path / "engine.sock"))
    server = await asyncio.start_unix_server(proxy.serve, tmp_path / "gate.sock", limit=gate.HEAD_LIMIT)
    yield proxy
    server.close()


async def send(tmp_path: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "gate.sock")
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def test_an_allowed_call_reaches_the_engine(tmp_path: Path, engine: FakeEngine, proxy: gate.Proxy) -> None:
    answer = await send(tmp_path, b"GET /version HTTP/1.1\r\nHost: x\r\nX-Registry-Auth: secret\r\n\r\n")
    assert answer.endswith(b"[]")
    assert engine.requests == [b"GET /version HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"]


async def test_a_forbidden_call_is_refused_and_logged(
    tmp_path: Path, engine: FakeEngine, proxy: gate.Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await send(tmp_path, b"POST /v1.45/containers/demo-redis-1/exec HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b'{"message": "refused by the socket proxy: not on the list of calls"}' in answer
    assert engine.requests == []
    assert capsys.readouterr().out == ("refused POST /v1.45/containers/demo-redis-1/exec: not on the list of calls\n")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /version HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /version HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 5\r\n\r\n",
        b"GET /version HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
        b"GET /version HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
        b"GET /version HTTP/1.0\r\n\r\n",
        b"GET  /version HTTP/1.1\r\n\r\n",
        b"GET /version HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"GET /v\xc3\xa9rsion HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_not_plain_http_is_refused(
    tmp_path: Path, engine: FakeEngine, proxy: gate.Proxy, request_: bytes
) -> None:
    assert (await send(tmp_path, request_)).startswith(b"HTTP/1.1 400 ")
    assert engine.requests == []


async def test_a_second_request_behind_the_first_is_not_passed_on(
    tmp_path: Path, engine: FakeEngine, proxy: gate.Proxy
) -> None:
    hidden = b"POST /v1.45/containers/x/exec HTTP/1.1\r\nHost: x\r\n\r\n"
    await send(tmp_path, b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n" + hidden)
    assert all(b"exec" not in request for request in engine.requests)


async def test_an_engine_that_is_down_is_said(tmp_path: Path) -> None:
    lonely = gate.Proxy(SCOPE, str(tmp_path / "nobody.sock"))
    server = await asyncio.start_unix_server(lonely.serve, tmp_path / "gate.sock")
    assert (await send(tmp_path, b"GET /version HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
    server.close()


async def test_tasks_without_an_orchestrator_are_removed_at_the_end(
    tmp_path: Path, engine: FakeEngine, proxy: gate.Proxy
) -> None:
    engine.says = json.dumps([{"Names": [f"/{NAME}"]}]).encode()
    assert await proxy.remove_tasks() == 1
    assert engine.requests[1].startswith(f"DELETE /containers/{NAME}?force=1&v=1 HTTP/1.0".encode())
