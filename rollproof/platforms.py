"""A platform's profile (core/platforms.py) and the clients that are to call there: how many, and can it be played?

What the command line, the matrix and `rehearse` ask before anything is started.
"""

from __future__ import annotations

from dataclasses import replace

from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.platforms import find_platform, instances_needed
from rollproof.core.settings import Routing, Settings
from rollproof.probe import Era, ProbeOptions

ROLLING = "rolling"


def probe_on_platform(probe: ProbeOptions, name: str) -> ProbeOptions:
    """No more sessions, and no more streams, than the platform's profile has. Raises UsageError for an unknown one."""
    platform = find_platform(name)
    return replace(
        probe,
        sessions=min(probe.sessions, platform.sessions),
        open_streams=probe.open_streams and platform.opens_streams,
    )


def check_platform(name: str, settings: Settings, probe: ProbeOptions, disruption: str = ROLLING) -> None:
    """Raises NotModelled for what the profile does not play, UsageError for more sessions than it has instances for.

    `disruption` is one of rehearsal.Disruption.
    """
    routing, desired_count = settings.platform.routing, settings.service.desired_count
    if not find_platform(name).has_container_check and disruption != ROLLING:
        raise NotModelled(
            f"--disruption {disruption} is not played on platform {name}",
            hint="--disruption rolling, or --platform fargate",
        )
    if routing is Routing.BY_SESSION_HEADER and probe.era is not Era.LEGACY:
        raise NotModelled(
            f"clients of era {probe.era} send no Mcp-Session-Id, by which platform {name} routes", hint="--era legacy"
        )
    slow = -(-probe.sessions // probe.slow_every) if probe.slow_every else 0
    needed = instances_needed(settings.platform, probe.sessions, streams=probe.open_streams, slow_sessions=slow)
    if needed > desired_count:
        streams = ", or --no-streams" if probe.open_streams and routing is Routing.EXCLUSIVE else ""
        raise UsageError(
            f"{probe.sessions} sessions need {needed} instances on platform {name}; desired_count is {desired_count}",
            hint=f"--set desired_count={needed}, or fewer --sessions{streams}",
        )
