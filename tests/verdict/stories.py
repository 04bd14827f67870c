"""Histories, written as stories: short sentences in, the records of a run out.

The service has two tasks, ANNA and BERT, on two targets; a deployment replaces them by CARL and DORA at the
times of TIMES (AWS seconds after the trigger, which is at T0). `speed` divides them as a run does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ANNA, BERT, CARL, DORA = ("a1" * 16, "b2" * 16, "c3" * 16, "d4" * 16)
TARGETS = {ANNA: "127.0.0.1:4001", BERT: "127.0.0.1:4002", CARL: "127.0.0.1:4003", DORA: "127.0.0.1:4004"}
OLD_DEPLOYMENT, NEW_DEPLOYMENT = "ecs-svc/1000000000000000001", "ecs-svc/2000000000000000002"
T0 = 20.0
NOT_FOUND = {"code": -32600, "message": "Session not found"}
WRITE, READ = "set_session_value", "get_session_state"

TIMES = {
    "started": 14.0,
    "registered": 34.0,
    "healthy": 36.0,
    "running": 42.5,
    "decided": 84.0,
    "deregistered": 94.0,
    "draining": 94.5,
    "node-0": 105.0,
    "node-1": 108.0,
    "unused": 124.5,
    "sigterm": 130.0,
    "exited": 131.0,
    "stopped": 147.0,
    "completed": 150.0,
    "steady": 150.001,
}

SETTINGS = {
    "seed": 7,
    "command": "rollproof rehearse --strategy memory",
    "strategy": "memory",
    "service.desired_count": 2,
    "service.maximum_percent": 200,
    "target_group.deregistration_delay_s": 30.0,
    "target_group.health_check.interval_s": 10.0,
    "task_definition.stop_timeout_s": 30.0,
    "behaviour.nodes": 2,
    "behaviour.sticky_overrides_drain": False,
    "timing.scheduler_tick_s": 10.0,
    "timing.deployment_start_s": 12.0,
    "timing.pull_stop_s": 17.5,
    "timing.running_after_registration_s": 8.5,
    "timing.healthy_bake_s": 40.0,
    "timing.registration_s": 1.0,
    "timing.first_check_spread_s": 1.0,
    "timing.drain_visible_s": 0.7,
    "timing.drain_propagation_s": 12.0,
    "timing.drain_propagation_jitter_s": 5.0,
    "timing.deprovisioning_s": 16.0,
}
APPLICATION_TIME = ("task_definition.stop_timeout_s",)


class Tale:
    """Collects records; every method takes real seconds of the history."""

    def __init__(self, speed: float = 1.0) -> None:
        self.records: list[dict[str, Any]] = []
        self.speed = speed

    def add(self, kind: str, t: float, **fields: Any) -> Tale:
        self.records.append({"t": t, "kind": kind, **fields})
        return self

    def settings(self, **changed: Any) -> Tale:
        """All SETTINGS scaled to the speed, some of them changed ("__" stands for a dot)."""
        for name, value in {**SETTINGS, **{key.replace("__", "."): v for key, v in changed.items()}}.items():
            is_scaled = name.endswith("_s") and name not in APPLICATION_TIME
            self.add("setting", 0.0, name=name, value=value / self.speed if is_scaled else value, source="aws/ecs.yaml")
        return self.add("setting", 0.0, name="speed", value=self.speed)

    def when(self, step: str) -> float:
        """The point of a rollout's step in this tale."""
        return T0 + TIMES[step] / self.speed

    def running(self, *tasks: str, t: float = 1.0, deployment: str = OLD_DEPLOYMENT) -> Tale:
        """Tasks that are up before anything happens."""
        for task in tasks:
            self.task(task, t, "RUNNING", deployment=deployment)
            self.target(task, t, "healthy")
        return self

    def task(self, task: str, t: float, known: str, desired: str = "RUNNING", **fields: Any) -> Tale:
        target = TARGETS[task]
        return self.add(
            "task", t, task_id=task, known=known, desired=desired, target_id=target, address=target, **fields
        )

    def target(self, task: str, t: float, state: str, **fields: Any) -> Tale:
        return self.add("target", t, target_id=TARGETS[task], task_id=task, state=state, **fields)

    def node(self, task: str, t: float, node: str, state: str = "draining") -> Tale:
        return self.add("node", t, node=node, target_id=TARGETS[task], state=state)

    def event(self, t: float, message: str) -> Tale:
        return self.add("service_event", t, message=f"(service mcp) {message}")

    def mark(self, t: float, name: str) -> Tale:
        return self.add("mark", t, name=name)

    def deployment(self, t: float, identifier: str, status: str, rollout_state: str, **fields: Any) -> Tale:
        return self.add("deployment", t, id=identifier, status=status, rollout_state=rollout_state, **fields)

    def call(self, session: str, number: int, tool: str, t: float, task: str = "", **fields: Any) -> Tale:
        """A call answered 0.1 s after it was asked, unless `started_t` or `ok` say otherwise."""
        fields = {"ok": True, "http_status": 200, "started_t": t - 0.1, "latency_s": 0.1, **fields}
        return self.add("call", t, session=session, call_number=number, tool=tool, task_id=task or None, **fields)

    def not_found(self, session: str, number: int, tool: str, t: float, task: str = "") -> Tale:
        return self.call(session, number, tool, t, task, ok=False, http_status=404, rpc_error=NOT_FOUND)

    def request(self, task: str, t: float, status: int = 200, **fields: Any) -> Tale:
        fields = {"elb_status_code": str(status), "target_status_code": str(status), **fields}
        fields = {
            "request_processing_time": 0.0,
            "target_processing_time": 0.1,
            "response_processing_time": 0.0,
        } | fields
        return self.add("request", t, target=TARGETS[task], request="POST http://localhost:80/mcp HTTP/1.1", **fields)

    def cookie(self, session: str, t: float, task: str, previous: str) -> Tale:
        change = {"event": "session_cookie_changed", "cookie_name": "AWSALB", "old_digest": "x", "new_digest": "y"}
        return self.add("cookie", t, session=session, task_id=task, previous_task_id=previous, **change)

    # --- chapters ---------------------------------------------------------------------------------

    def warmed_up(self) -> Tale:
        self.deployment(0.5, OLD_DEPLOYMENT, "PRIMARY", "COMPLETED")
        return self.running(ANNA, BERT).mark(15.0, "warmed-up")

    def triggered(self) -> Tale:
        self.mark(T0, "deployment-triggered")
        self.deployment(T0, NEW_DEPLOYMENT, "PRIMARY", "IN_PROGRESS")
        return self.deployment(T0, OLD_DEPLOYMENT, "ACTIVE", "COMPLETED")

    def started(self, *tasks: str) -> Tale:
        names = " ".join(f"(task {task})" for task in tasks)
        self.event(self.when("started"), f"has started {len(tasks)} tasks: {names}.")
        for task in tasks:
            self.task(task, self.when("started"), "PROVISIONING", deployment=NEW_DEPLOYMENT)
            self.task(task, self.when("registered"), "ACTIVATING", deployment=NEW_DEPLOYMENT)
            self.target(task, self.when("registered"), "initial")
            self.target(task, self.when("healthy"), "healthy")
            self.task(task, self.when("running"), "RUNNING", deployment=NEW_DEPLOYMENT)
        return self

    def drained(self, *tasks: str, **moved: float) -> Tale:
        """The old tasks go, at TIMES; `moved` sets a step to other AWS seconds after the trigger."""

        def when(step: str) -> float:
            return T0 + moved.get(step, TIMES[step]) / self.speed

        self.event(when("deregistered"), f"has begun draining connections on {len(tasks)} tasks.")
        for task in tasks:
            self.task(task, when("decided"), "DEACTIVATING", "STOPPED")
            self.target(task, when("draining"), "draining", draining_until=when("unused"))
            self.node(task, when("node-0"), "node-0").node(task, when("node-1"), "node-1")
            self.target(task, when("unused"), "unused", previous="draining")
            self.task(task, when("sigterm"), "STOPPING", "STOPPED", signal="SIGTERM")
            self.task(task, when("exited"), "DEPROVISIONING", "STOPPED", exit_code=143)
            self.task(task, when("stopped"), "STOPPED", "STOPPED", stop_code="ServiceSchedulerInitiated")
        return self

    def completed(self) -> Tale:
        self.deployment(self.when("completed"), NEW_DEPLOYMENT, "PRIMARY", "COMPLETED")
        self.event(self.when("completed"), f"(deployment {NEW_DEPLOYMENT}) deployment completed.")
        return self.event(self.when("steady"), "has reached a steady state.").mark(self.when("steady"), "steady")

    def replaced(self) -> Tale:
        """A whole rollout, without calls."""
        return self.settings().warmed_up().triggered().started(CARL, DORA).drained(ANNA, BERT).completed()

    def talk(self, session: str, start: float, end: float, task: str, *, first: int = 1) -> Tale:
        """Write and read back every 5 s, all answered by one task, state complete."""
        number, t = first, start
        while t < end:
            state = {f"seq_{n}": f"call_{n}" for n in range(1, number + 1)}
            self.call(session, number, WRITE, t, task, state_size=number)
            self.call(session, number, READ, t + 1.0, task, state=state, expected=state, state_size=number)
            number, t = number + 1, t + 5.0
        return self


def survived() -> Tale:
    """Two sessions with their state outside the tasks: served by the old tasks, then by the new."""
    tale = Tale().replaced()
    for session, old, new in (("s1", ANNA, CARL), ("s2", BERT, DORA)):
        tale.talk(session, 5.0, 125.0, old).talk(session, 130.0, 180.0, new, first=25)
        tale.cookie(session, 6.0, old, old).cookie(session, 11.0, old, old).cookie(session, 130.0, new, old)
    return tale.request(ANNA, 50.1).request(CARL, 130.1).mark(181.0, "probe-ended")


def lost_at_drain() -> Tale:
    """State in memory: s1 is split between its write and its read, s2 is lost a little later."""
    tale = Tale().replaced().talk("s1", 5.0, 120.0, ANNA).talk("s2", 7.0, 125.0, BERT)
    tale.call("s1", 24, WRITE, 124.0, ANNA, state_size=24)
    tale.not_found("s1", 24, READ, 129.1).request(CARL, 129.1, 404)
    for number, t in enumerate((131.0, 136.0, 141.0), 25):
        tale.not_found("s1", number, WRITE, t).not_found("s2", number, WRITE, t + 1).request(DORA, t, 404)
    return tale.mark(160.0 + T0, "probe-ended")


def crashed() -> Tale:
    """No deployment: ANNA's process dies, her sessions get 502s until the target is unhealthy."""
    tale = Tale().settings().warmed_up().add("fault", 30.0, name="crash", target=ANNA)
    tale.task(ANNA, 30.0, "DEPROVISIONING", "STOPPED", exit_code=137, stop_code="EssentialContainerExited")
    tale.target(ANNA, 38.5, "unhealthy", reason="Target.FailedHealthChecks").target(ANNA, 46.0, "draining")
    tale.talk("s1", 5.0, 30.0, ANNA).talk("s2", 5.0, 80.0, BERT)
    for number, t in ((6, 30.2), (7, 35.0)):
        tale.call("s1", number, WRITE, t, ok=False, http_status=502, error="Bad Gateway", started_t=t - 0.1)
        tale.request(ANNA, t, 502, target_status_code="-", error_reason="-", target_processing_time=-1)
    tale.talk("s1", 40.0, 80.0, BERT, first=8)
    return tale.event(60.0, "has reached a steady state.").mark(81.0, "probe-ended")


def redis_restarted() -> Tale:
    """No task goes: Redis forgets everything, s1 meets that, s2 has called for the last time before it."""
    tale = Tale().settings(disruption="outage", disruption_name="redis-restart").warmed_up()
    tale.add("fault", 30.0, name="redis-restart", target="Redis 8")
    tale.add("mark", 30.4, name="redis-back", detail="away for 0.4 s; the 9 keys it held are lost (append-only: no)")
    tale.talk("s1", 5.0, 30.0, ANNA).talk("s2", 5.0, 25.0, BERT)
    tale.call("s1", 6, WRITE, 31.0, ANNA, state_size=1)
    defect = {"ok": False, "signature": "state-missing", "error": "5 acknowledged and gone: seq_1"}
    tale.call("s1", 6, READ, 32.0, ANNA, **defect).mark(31.0, "steady")
    return tale.mark(40.0, "probe-ended")


def rolled_back(asked: str = "") -> Tale:
    """New tasks never come up; the circuit breaker returns to the old deployment. Sessions go on."""
    tale = Tale().settings(**({"disruption": asked} if asked else {})).warmed_up().triggered()
    for n, t in enumerate((40.0, 60.0, 80.0), 1):
        tale.task(CARL, t, "PROVISIONING", deployment=NEW_DEPLOYMENT)
        tale.deployment(t + 5, NEW_DEPLOYMENT, "PRIMARY", "IN_PROGRESS", failed_tasks=n)
    tale.task(CARL, 86.0, "STOPPED", "STOPPED", exit_code=1, deployment=NEW_DEPLOYMENT)
    tale.deployment(90.0, NEW_DEPLOYMENT, "ACTIVE", "FAILED", failed_tasks=3)
    tale.event(90.0, f"(deployment {NEW_DEPLOYMENT}) deployment failed: tasks failed to start.")
    tale.event(90.001, f"rolling back to deployment {OLD_DEPLOYMENT}.")
    tale.deployment(90.002, OLD_DEPLOYMENT, "PRIMARY", "IN_PROGRESS")
    tale.deployment(95.0, OLD_DEPLOYMENT, "PRIMARY", "COMPLETED").event(95.001, "has reached a steady state.")
    return tale.talk("s1", 5.0, 110.0, ANNA).talk("s2", 6.0, 110.0, BERT).mark(112.0, "probe-ended")


def without(records: Iterable[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """The same history as a stage that does not write these kinds would leave it."""
    return [record for record in records if record["kind"] not in kinds]


def in_two_waves() -> Tale:
    """Stop first, 50/100: ANNA goes at the trigger, BERT when CARL, who came for her, is healthy. Nobody calls."""
    first = {
        "decided": 12.0, "deregistered": 22.0, "draining": 22.7, "node-0": 34.0, "node-1": 36.0, "unused": 52.7,
        "sigterm": 62.0, "exited": 63.0, "stopped": 79.0,
    }  # fmt: skip
    tale = Tale().settings(service__minimum_healthy_percent=50, service__maximum_percent=100).warmed_up().triggered()
    tale.drained(ANNA, **first)
    for task, at in ((CARL, 82.0), (DORA, 222.0)):
        tale.task(task, T0 + at, "PROVISIONING", deployment=NEW_DEPLOYMENT).target(task, T0 + at + 20.0, "initial")
    tale.drained(BERT, **{step: at + 140.0 for step, at in first.items()})
    return tale.deployment(T0 + 292.0, NEW_DEPLOYMENT, "PRIMARY", "COMPLETED")
