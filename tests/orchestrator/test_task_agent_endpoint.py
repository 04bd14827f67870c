"""Task protection replies, the rate limit, and the endpoint over real connections."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from rollproof.orchestrator.runtimes import task_protection
from rollproof.orchestrator.runtimes.metadata import ResourceSample, TaskCondition, TaskFacts
from rollproof.orchestrator.runtimes.task_endpoint import Request, TaskEndpoint, TokenBucket
from rollproof.orchestrator.runtimes.task_protection import Protection

ARN = "arn:aws:ecs:us-east-1:123456789012:task/c/abc"
NOW = 1665023356.0  # 2022-10-06T02:29:16Z
FACTS = TaskFacts(
    "abc", ARN, "arn:cluster", "svc", "az", "family", 1, "app", "arn:container", 8000, "abc-1234567890",
    "image", "sha256:0", 256, 512, NOW, {},
)  # fmt: skip


class TestProtection:
    @pytest.mark.fidelity("ECS-DEPLOY-50", "ECS-META-5")
    @pytest.mark.parametrize(
        ("body", "minutes"),
        [
            ('{"ProtectionEnabled":true,"ExpiresInMinutes":60}', 60),
            ('{"ProtectionEnabled":true}', 120),
            ('{"protectionEnabled":true,"expiresInMinutes":1}', 1),
            ('{"ProtectionEnabled":true,"ExpiresInMinutes":null}', 120),
            ('{"ProtectionEnabled":true,"ExpiresInMinutes":2880}', 2880),
        ],
    )
    def test_protection_is_granted(self, body: str, minutes: int) -> None:
        reply = task_protection.update(ARN, "svc", body.encode(), NOW - minutes * 60)
        assert reply.granted == Protection(True, minutes, NOW)
        shown = {"ExpirationDate": "2022-10-06T02:29:16Z", "ProtectionEnabled": True, "TaskArn": ARN}
        assert (reply.status, reply.body) == (200, {"protection": shown})

    def test_protection_is_given_back(self) -> None:
        reply = task_protection.update(ARN, "svc", b'{"ProtectionEnabled":false,"ExpiresInMinutes":0}', NOW)
        assert reply.granted == Protection()
        shown = {"ExpirationDate": None, "ProtectionEnabled": False, "TaskArn": ARN}
        assert reply.body == {"protection": shown}

    @pytest.mark.fidelity("ECS-DEPLOY-50", source="ECS-DG/task-scale-in-protection-endpoint", mark="doc")
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("", "failed to decode request"),
            ("[]", "failed to decode request"),
            ('{"ProtectionEnabled":"true"}', "failed to decode request"),
            ('{"ProtectionEnabled":true,"ExpiresInMinutes":1.5}', "failed to decode request"),
            ('{"ProtectionEnabled":true,"ExpiresInMinutes":true}', "failed to decode request"),
            ('{"ProtectionEnabled":true,"Other":1}', "failed to decode request"),
            ("{}", "does not contain 'ProtectionEnabled' field"),
            ('{"ProtectionEnabled":true,"ExpiresInMinutes":0}', "between 1 and 2880"),
            ('{"ProtectionEnabled":true,"ExpiresInMinutes":2881}', "between 1 and 2880"),
        ],
    )
    def test_what_cannot_be_granted_is_a_400(self, body: str, message: str) -> None:
        reply = task_protection.update(ARN, "svc", body.encode(), NOW)
        assert (reply.status, reply.granted) == (400, None)
        assert reply.body["error"]["Code"] == "InvalidParameterException"
        assert message in reply.body["error"]["Message"]

    @pytest.mark.fidelity("ECS-META-5", source="ECS-DG/task-scale-in-protection-endpoint; AGENT", mark="doc")
    @pytest.mark.parametrize("method", ["GET", "PUT"])
    def test_a_task_of_no_service_is_not_valid(self, method: str) -> None:
        if method == "GET":
            reply = task_protection.read(ARN, "", Protection(), NOW)
        else:
            reply = task_protection.update(ARN, "", b'{"ProtectionEnabled":true}', NOW)
        assert (reply.status, reply.granted) == (200, None)
        assert reply.body["failure"].keys() == {"Arn", "Detail", "Reason"}
        assert reply.body["failure"]["Reason"] == "TASK_NOT_VALID"

    def test_protection_expires_by_itself(self) -> None:
        protection = Protection(True, 1, NOW)
        assert task_protection.read(ARN, "svc", protection, NOW - 1).body["protection"]["ProtectionEnabled"] is True
        assert task_protection.read(ARN, "svc", protection, NOW).body["protection"]["ProtectionEnabled"] is False

    def test_a_faster_rehearsal_has_shorter_minutes(self) -> None:
        reply = task_protection.update(ARN, "svc", b'{"ProtectionEnabled":true,"ExpiresInMinutes":60}', NOW, 60.0)
        assert reply.granted == Protection(True, 60, NOW + 60)

    @pytest.mark.parametrize(
        ("expires_at", "speed", "left"),
        [
            (NOW + 3600, 1.0, Protection(True, 60, NOW + 3600)),
            (NOW + 61, 1.0, Protection(True, 2, NOW + 61)),
            (NOW + 60, 1.0, Protection(True, 1, NOW + 60)),
            (NOW + 30, 60.0, Protection(True, 30, NOW + 30)),
            (NOW, 1.0, Protection()),
            (None, 1.0, Protection()),
        ],
    )
    def test_what_is_left_of_a_protection(self, expires_at: float | None, speed: float, left: Protection) -> None:
        assert task_protection.remaining(True, 60, expires_at, NOW, speed) == left


@pytest.mark.fidelity("ECS-META-3", source="AGENT", mark="doc")
def test_the_rate_limit_allows_a_burst_of_60_and_40_a_second() -> None:
    bucket = TokenBucket(now=0.0)
    assert [bucket.take(0.0) for _ in range(61)] == [True] * 60 + [False]
    assert [bucket.take(0.5) for _ in range(21)] == [True] * 20 + [False]
    assert [bucket.take(100.0) for _ in range(61)].count(True) == 60


class Served:
    """A TaskEndpoint on its port, and what it was told."""

    def __init__(self) -> None:
        self.granted: list[Protection] = []
        self.sample: ResourceSample | None = ResourceSample(NOW, 1, 2, 3, 4, 5, 6)
        self.endpoint = TaskEndpoint(FACTS, TaskCondition, lambda: self.sample, self.granted.append)
        self.endpoint.start()

    def exchange(self, raw: bytes) -> tuple[int, bytes]:
        with socket.create_connection(("127.0.0.1", self.endpoint.port), timeout=5) as connection:
            connection.sendall(raw)
            received = b""
            while chunk := connection.recv(65_536):
                received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        if head.endswith(b"100 Continue"):
            head, _, body = body.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def get(self, path: str) -> tuple[int, Any]:
        status, body = self.exchange(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return status, json.loads(body)


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.endpoint.close()


class TestEndpoint:
    @pytest.mark.fidelity("ECS-META-1", source="ECS-DG/task-metadata-endpoint-v4", mark="doc")
    def test_the_injected_uris_lead_to_the_container_and_the_protection(self, served: Served) -> None:
        uris = served.endpoint.environment
        base = f"http://127.0.0.1:{served.endpoint.port}"
        status, container = served.get(uris["ECS_CONTAINER_METADATA_URI_V4"].removeprefix(base))
        assert (status, container["Name"]) == (200, "app")
        path = uris["ECS_AGENT_URI"].removeprefix(base) + "/task-protection/v1/state"
        assert served.get(path)[1]["protection"]["ProtectionEnabled"] is False

    @pytest.mark.fidelity("ECS-META-1", source="ECS-DG/task-metadata-endpoint-v4", mark="doc")
    @pytest.mark.parametrize(
        ("resource", "key"),
        [
            ("task", "TaskARN"),
            ("task/", "TaskARN"),
            ("taskWithTags", "TaskARN"),
            ("stats", "cpu_stats"),
            ("task/stats", "abc-1234567890"),
        ],
    )
    def test_resources(self, served: Served, resource: str, key: str) -> None:
        status, body = served.get(f"/v4/abc-1234567890/{resource}?x=1")
        assert status == 200
        assert key in body

    def test_the_second_stats_know_the_first(self, served: Served) -> None:
        assert served.get("/v4/abc-1234567890/stats")[1]["precpu_stats"] == {}
        assert served.get("/v4/abc-1234567890/stats")[1]["precpu_stats"]["cpu_usage"]["total_usage"] == 3

    @pytest.mark.fidelity("ECS-META-5", source="ECS-DG/task-scale-in-protection-endpoint; AGENT", mark="doc")
    def test_a_grant_is_told_and_kept(self, served: Served) -> None:
        body = b'{"ProtectionEnabled":true}'
        put = b"PUT /api/abc-1234567890/task-protection/v1/state HTTP/1.1\r\nContent-Length: %d\r\n%s\r\n%s"
        status, _ = served.exchange(put % (len(body), b"Expect: 100-continue\r\n", body))
        assert (status, [grant.enabled for grant in served.granted]) == (200, [True])
        assert served.get("/api/abc-1234567890/task-protection/v1/state")[1]["protection"]["ProtectionEnabled"] is True

    @pytest.mark.parametrize(
        ("raw", "status"),
        [
            (b"GET /v4/other HTTP/1.1\r\n\r\n", 404),
            (b"GET /v4/other/task HTTP/1.1\r\n\r\n", 404),
            (b"GET /v4/abc-1234567890/associations HTTP/1.1\r\n\r\n", 404),
            (b"GET /v3/abc-1234567890 HTTP/1.1\r\n\r\n", 404),
            (b"POST /v4/abc-1234567890 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 404),
            (b"GET /api/other/task-protection/v1/state HTTP/1.1\r\n\r\n", 404),
            (b"POST /api/abc-1234567890/task-protection/v1/state HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
            (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 400),
            (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ],
    )
    def test_anything_else_is_refused(self, served: Served, raw: bytes, status: int) -> None:
        assert served.exchange(raw)[0] == status

    def test_a_stalled_client_delays_no_other(self, served: Served) -> None:
        with socket.create_connection(("127.0.0.1", served.endpoint.port)) as stalled:
            stalled.sendall(b"GET /v4")
            assert served.get("/v4/abc-1234567890")[0] == 200

    @pytest.mark.fidelity("ECS-META-3", source="AGENT", mark="doc")
    def test_too_many_requests_are_answered_429(self, served: Served) -> None:
        answers = [served.endpoint.answer(Request("GET", "/v4/abc-1234567890", b"")).status for _ in range(100)]
        assert answers[:60] == [200] * 60
        assert 429 in answers
