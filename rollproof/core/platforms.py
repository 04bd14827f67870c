"""Platforms other than ECS behind a sticky ALB: profiles of the balancer and the runtime, as data.

A profile is a set of knobs, each with where its value comes from, and what is left out. It goes over the template
and under whatever is set by hand. Two need a routing of their own: Lambda (`exclusive`: an instance takes one request
at a time and is frozen between two) and AgentCore (`by_session_header`: an instance belongs to one Mcp-Session-Id).

Marks as everywhere: [doc] AWS documents it, [observed], [inferred] our reading. Keys of the sources:

    APPRUNNER-DG   docs.aws.amazon.com/apprunner/latest/dg: develop, manage-configure-healthcheck
    LAMBDA-DG      docs.aws.amazon.com/lambda/latest/dg: lambda-runtime-environment, lambda-concurrency,
                   configuration-timeout, configuration-response-streaming
    AGENTCORE-DG   docs.aws.amazon.com/bedrock-agentcore/latest/devguide: runtime-sessions, agent-runtime-versioning,
                   runtime-lifecycle-settings, runtime-mcp-protocol-contract

docs/platforms.md tells it in prose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.knob_table import KNOB_BY_NAME
from rollproof.core.knob_values import put_knob
from rollproof.core.settings import Algorithm, PlatformSettings, Routing, Settings
from rollproof.core.timing import Timing

FARGATE = "fargate"


@dataclass(frozen=True)
class Rule:
    """One knob of a profile: its value, and where that comes from, mark included."""

    value: Any
    source: str


@dataclass(frozen=True)
class Platform:
    """`knobs` by short name; `timing` in AWS's seconds; `sessions` that a rehearsal has unless a flag says otherwise.

    `left_out` is what the profile does not play; it goes into the report. `keeps_sessions`: something leads a client
    back to its instance; where nothing does, sessions in memory are lost before anything is deployed.
    """

    name: str
    knobs: Mapping[str, Rule] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    has_container_check: bool = True
    keeps_sessions: bool = True
    sessions: int = 20
    opens_streams: bool = True
    left_out: tuple[str, ...] = ()


_NO_STICKINESS = Rule(False, "ALB-UG/sticky-sessions: off is the default [doc]")
_START_FIRST = {
    "minimum_healthy_percent": Rule(100, "new instances are up before old ones go [inferred]"),
    "maximum_percent": Rule(200, "new instances are up before old ones go [inferred]"),
    "availability_zone_rebalancing": Rule("DISABLED", "what moves instances between zones is ECS's own [inferred]"),
}
_AT_ONCE = {"drain_propagation_s": 0.0, "drain_propagation_jitter_s": 0.0}
_OF_ALB_NODES = Rule(1, "no ALB with nodes of its own in front [inferred]")

_FARGATE_NO_STICKY = Platform(
    "fargate-no-sticky",
    {
        "stickiness_enabled": _NO_STICKINESS,
        "algorithm": Rule(Algorithm.ROUND_ROBIN, "ALB-UG/target-group-routing-algorithms: the default [doc]"),
    },
    keeps_sessions=False,
)

_APP_RUNNER = Platform(
    "app-runner",
    {
        **_START_FIRST,
        "stickiness_enabled": Rule(False, "APPRUNNER-DG/develop: no state beyond a single request [doc]"),
        "algorithm": Rule(Algorithm.ROUND_ROBIN, "any healthy instance; which one is not documented [inferred]"),
        "request_timeout_s": Rule(120.0, "APPRUNNER-DG/develop: 120 s in total, reading and writing included [doc]"),
        "health_check_interval_s": Rule(5.0, "APPRUNNER-DG/manage-configure-healthcheck: default 5 [doc]"),
        "health_check_timeout_s": Rule(2.0, "APPRUNNER-DG/manage-configure-healthcheck: default 2 [doc]"),
        "unhealthy_threshold": Rule(5, "APPRUNNER-DG/manage-configure-healthcheck: default 5 [doc]"),
        "healthy_threshold": Rule(2, "App Runner's default is 1 [doc]; a target group takes no less than 2"),
        "deregistration_delay_s": Rule(120.0, "as long as a request may last; not documented [inferred]"),
    },
    has_container_check=False,
    keeps_sessions=False,
    left_out=(
        "scaling by concurrency (up to 100 requests an instance by default): the desired count is fixed",
        "the default TCP health check: instances are asked over HTTP, at the template's path",
        "what an old instance is told, and when: a SIGTERM after 120 s is assumed",
    ),
)

_LAMBDA = Platform(
    "lambda",
    {
        **_START_FIRST,
        "routing": Rule(
            Routing.EXCLUSIVE, "LAMBDA-DG/lambda-concurrency: an environment has one request at a time [doc]"
        ),
        "nodes": _OF_ALB_NODES,
        "stickiness_enabled": Rule(False, "LAMBDA-DG/lambda-concurrency: any environment may get the next one [doc]"),
        "request_timeout_s": Rule(900.0, "LAMBDA-DG/configuration-timeout: 900 s at most (default 3) [doc]"),
        "desired_count": Rule(6, "environments kept ready, and the most there are: a reserved concurrency of 6"),
        "stop_signal": Rule(
            "SIGKILL", "LAMBDA-DG/lambda-runtime-environment: no extension, no time to shut down [doc]"
        ),
        "deregistration_delay_s": Rule(
            120.0, "requests in flight end on the old version [inferred]; long ones are cut"
        ),
        "health_check_interval_s": Rule(5.0, "there is none; looked at only until it listens [inferred]"),
        "health_check_timeout_s": Rule(2.0, "there is none; looked at only until it listens [inferred]"),
    },
    _AT_ONCE,
    has_container_check=False,
    keeps_sessions=False,
    sessions=4,
    opens_streams=False,
    left_out=(
        "cold starts and scaling: as many environments as the desired count are ready, and a request beyond them is "
        "answered 429, as with that reserved concurrency",
        "idle environments that are taken away at a time of Lambda's own choice",
        "BUFFERED responses (6 MB, progress at the end): responses are streamed, as with RESPONSE_STREAM",
        "what an extension, the Web Adapter among them, adds: 2 s with SIGTERM",
        "a function that times out is not started anew",
    ),
)

_AGENTCORE = Platform(
    "agentcore",
    {
        **_START_FIRST,
        "routing": Rule(
            Routing.BY_SESSION_HEADER, "AGENTCORE-DG/runtime-mcp-protocol-contract: microVM stickiness [doc]"
        ),
        "nodes": _OF_ALB_NODES,
        "stickiness_enabled": Rule(False, "AGENTCORE-DG/runtime-mcp-protocol-contract: by Mcp-Session-Id [doc]"),
        "session_idle_s": Rule(900.0, "AGENTCORE-DG/runtime-lifecycle-settings: 15 min by default [doc]"),
        "session_lifetime_s": Rule(28_800.0, "AGENTCORE-DG/runtime-lifecycle-settings: 8 h at most [doc]"),
        "desired_count": Rule(6, "instances kept ready, a session each: what this machine holds, not AgentCore"),
    },
    _AT_ONCE,
    has_container_check=False,
    sessions=4,
    left_out=(
        "an instance for any number of sessions: the desired count is the pool, a session beyond it is answered 429",
        "an instance ends with its session: here another session may get it, and an old version's stays until its 8 h",
        "the id that the platform makes goes to the client with the first response, and to the server from then on",
        "clients of 2026-07-28, which send no Mcp-Session-Id",
        "what a new version does to running sessions is not documented: they stay on their instance [inferred]",
    ),
)

PLATFORMS: Mapping[str, Platform] = {
    platform.name: platform for platform in (Platform(FARGATE), _FARGATE_NO_STICKY, _APP_RUNNER, _LAMBDA, _AGENTCORE)
}


def find_platform(name: str) -> Platform:
    """Raises UsageError, naming those that there are."""
    if name not in PLATFORMS:
        raise UsageError(f"unknown platform {name!r}", hint=f"one of {', '.join(PLATFORMS)}")
    return PLATFORMS[name]


def settings_on_platform(settings: Settings, name: str) -> Settings:
    """`settings` with the profile's knobs, each with its source. Raises UsageError for an unknown platform."""
    platform = find_platform(name)
    if not platform.has_container_check:
        settings = replace(settings, task_definition=replace(settings.task_definition, health_check=None))
    sources = dict(settings.sources)
    for knob_name, rule in platform.knobs.items():
        knob = KNOB_BY_NAME[knob_name]
        settings = put_knob(settings, knob, rule.value)
        sources[knob.path] = source_of(name, rule.source)
    return replace(settings, sources=sources)


def timing_on_platform(timing: Timing, name: str) -> Timing:
    return replace(timing, **find_platform(name).timing)


def source_of(name: str, why: str = "[inferred]") -> str:
    return f"platform {name}: {why}"


def instances_needed(settings: PlatformSettings, sessions: int, *, streams: bool, slow_sessions: int) -> int:
    """The fewest instances with which no request of the clients finds all of them taken; 0 where that cannot happen.

    Lambda: each session's call, its GET stream and its slow call have one each. AgentCore: each session, and the look
    at the server before the first of them.
    4 sessions of which 1 is slow, without streams, on Lambda: 4 + 1 = 5; on AgentCore: 4 + 1 = 5.
    """
    match settings.routing:
        case Routing.EXCLUSIVE:
            return sessions * (2 if streams else 1) + slow_sessions
        case Routing.BY_SESSION_HEADER:
            return sessions + 1
        case _:
            return 0


def refuse_elsewhere(settings: PlatformSettings, where: str) -> None:
    """Raises NotModelled for what only the embedded balancer of the local stage plays; `where` is another one."""
    if settings.routing is Routing.COOKIES and not settings.request_timeout_s:
        return
    what = f"a request timeout of {settings.request_timeout_s:g} s"
    if settings.routing is not Routing.COOKIES:
        what = f"routing {settings.routing}"
    raise NotModelled(
        f"{where} does not play {what}",
        hint="--stage local with --balancer embedded does; elsewhere --platform fargate and fargate-no-sticky work",
    )
