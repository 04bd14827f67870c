"""Every AWS timing that is not a setting, in one place, with its source; and the one factor that scales a run.

Marks: [doc] AWS documents it, [observed] logs and experiments, [inferred] our reading. The figures are
AWS's seconds. `scale` divides all of them, and all durations of `Settings`, by the run's speed, except
what bounds the *application's own* work: a server needs as long as it needs to answer its last calls after
SIGTERM, and its streams carry a heartbeat every 15 s whatever we pretend about the clock. Dividing those
would invent failures that AWS would not show. `APPLICATION_TIME` names them. For the same reason the timeout of
a health check and the grace period are divided only down to a floor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from rollproof.core.settings import Settings


def _timing(default: float, source: str, mark: str) -> float:
    return field(default=default, metadata={"source": source, "mark": mark})


@dataclass(frozen=True)
class Timing:
    """Seconds. The source keys are those of docs/fidelity.md."""

    # The service scheduler
    scheduler_tick_s: float = _timing(10.0, "O1-O7: most reactions land on a ~10 s tick", "observed")
    deployment_start_s: float = _timing(12.0, "O7: has started 14.4 s after UpdateService; O1-O7 10..15 s", "observed")
    healthy_bake_s: float = _timing(40.0, "API-ECS minimumHealthyPercent; O1,O4-O7 behind an ALB too", "observed")
    failure_report_s: float = _timing(5.0, "O2: crash to deregistered 10.9 s, a tick included", "observed")
    throttle_base_s: float = _timing(10.0, "ECS-DG/service-throttle-logic: growing delay; its start", "inferred")
    throttle_max_s: float = _timing(900.0, "ECS-DG/service-throttle-logic: up to 15 min", "doc")
    stopped_task_retention_s: float = _timing(3600.0, "stopped tasks stay describable about an hour", "observed")
    event_repeat_s: float = _timing(21_600.0, "ECS-DG/service-event-messages: repeats every 6 h", "doc")

    # A Fargate task on its way up and down
    eni_attach_s: float = _timing(4.5, "ECS-DG/ecs_cwe_events, O12: 4.1 / 5.0 s", "observed")
    pull_start_s: float = _timing(13.0, "ECS-DG/ecs_cwe_events, O12: 17.7 / 12.9 s after createdAt", "observed")
    pull_stop_s: float = _timing(17.5, "ECS-DG/ecs_cwe_events, O12: 20.7 / 17.4 s after createdAt", "observed")
    running_after_registration_s: float = _timing(8.5, "O3: registered 18:10:50.8, startedAt 18:10:59.1", "observed")
    running_after_pull_s: float = _timing(2.5, "O12: pull stop to RUNNING 3.0 / 2.1 s, no load balancer", "observed")
    spot_warning_s: float = _timing(120.0, "ECS-DG/fargate-capacity-providers: a two-minute warning", "doc")
    deprovisioning_s: float = _timing(16.0, "O10: DEPROVISIONING to STOPPED 16 s", "observed")

    # The target group
    registration_s: float = _timing(1.6, "O2: healthy 1.6..3.4 s after registered", "observed")
    first_check_spread_s: float = _timing(1.0, "O3: first checks within the second of registration", "observed")
    drain_visible_s: float = _timing(0.7, "O2: draining shown 0.1..1.4 s after the event", "observed")
    drain_propagation_s: float = _timing(12.0, "LBC#2366 17 s, LBC#1719 ~10 s, LBC#905 >= 15 s; no doc", "observed")
    drain_propagation_jitter_s: float = _timing(5.0, "nodes differ; the spread of the same reports", "inferred")


APPLICATION_TIME = (
    "stop_timeout_s", "idle_timeout_s", "client_keep_alive_s", "connect_timeout_s", "request_timeout_s"
)  # fmt: skip
"""Settings that `scale` leaves alone, for the reason in the module's docstring."""

_HEALTH_CHECK_TIMEOUT_FLOOR_S = 1.0
"""A scaled health check still gives a healthy server on a busy laptop a second to answer."""

_GRACE_PERIOD_FLOOR_S = 30.0
"""A scaled grace period still gives a server that long to import and start, and then to pass five health checks in a
row: compressed, they find it starting and count it unhealthy, which AWS's own pace would not. One of 0 stays 0."""


def scale_timing(timing: Timing, speed: float) -> Timing:
    """All timings divided by `speed`. At speed 10 a tick of 10 s is one second."""
    return replace(timing, **{f.name: getattr(timing, f.name) / speed for f in fields(timing)})


def scale_settings(settings: Settings, speed: float) -> Settings:
    """The durations of `settings` divided by `speed`, APPLICATION_TIME excepted.

    At speed 10 a deregistration delay of 300 s lasts 30 s; a stop timeout of 30 s stays 30 s.
    """
    if speed == 1:
        return settings
    service = settings.service
    group, check = settings.target_group, settings.target_group.health_check
    container = settings.task_definition.health_check
    return replace(
        settings,
        service=replace(
            service,
            health_check_grace_period_s=_scaled(service.health_check_grace_period_s, speed, _GRACE_PERIOD_FLOOR_S),
        ),
        task_definition=replace(
            settings.task_definition,
            health_check=container
            and replace(
                container,
                interval_s=container.interval_s / speed,
                timeout_s=_scaled(container.timeout_s, speed, _HEALTH_CHECK_TIMEOUT_FLOOR_S),
                start_period_s=container.start_period_s / speed,
            ),
        ),
        target_group=replace(
            group,
            deregistration_delay_s=group.deregistration_delay_s / speed,
            slow_start_s=group.slow_start_s / speed,
            stickiness=replace(group.stickiness, duration_s=group.stickiness.duration_s / speed),
            health_check=replace(
                check,
                interval_s=check.interval_s / speed,
                timeout_s=_scaled(check.timeout_s, speed, _HEALTH_CHECK_TIMEOUT_FLOOR_S),
            ),
        ),
        platform=replace(
            settings.platform,
            session_idle_s=settings.platform.session_idle_s / speed,
            session_lifetime_s=settings.platform.session_lifetime_s / speed,
        ),
    )


def _scaled(seconds: float, speed: float, floor_s: float) -> float:
    """`seconds / speed`, but no less than `floor_s`, and never more than `seconds`: 60 s at 10 with floor 10 is 10."""
    return max(seconds / speed, min(seconds, floor_s))
