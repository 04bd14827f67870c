"""The local stage's balancer, of the kind that its plan names. Both kinds leave the same beside the same socket."""

from __future__ import annotations

from pathlib import Path

from rollproof.core.decide import routing_table
from rollproof.core.errors import Temporary
from rollproof.core.platforms import refuse_elsewhere
from rollproof.core.timing import scale_settings, scale_timing
from rollproof.core.world import create_world
from rollproof.orchestrator.balancers import embedded, nginx
from rollproof.orchestrator.balancers.client import BalancerClient
from rollproof.orchestrator.balancers.nginx_config import SLOTS_MAX, Shape, shape_of
from rollproof.orchestrator.runtimes.port_pool import PORTS
from rollproof.orchestrator.stage_files import BalancerKind, StagePlan, balancer_socket, tasks_dir

_NGINX_PORTS = PORTS[:SLOTS_MAX]


def task_ports(plan: StagePlan) -> range:
    """What tasks may listen on. With nginx fewer: it keeps connections only to addresses it knows from the start."""
    return _NGINX_PORTS if plan.balancer is BalancerKind.NGINX else PORTS


async def start_balancer(plan: StagePlan) -> BalancerClient:
    """Raises UsageError (no usable nginx, one that does not play the platform, port in use), or Permanent; nothing is
    left running then."""
    control, access_log = balancer_socket(plan.state_dir), plan.run_dir / "access.log"
    key_file = plan.state_dir / "cookie.key"
    if plan.balancer is BalancerKind.EMBEDDED:
        tasks = tasks_dir(plan.state_dir)
        return await embedded.start_balancer(
            embedded.BalancerOptions(access_log, plan.host, plan.port, control, key_file, tasks)
        )
    refuse_elsewhere(plan.settings.platform, "nginx")
    ports = task_ports(plan)
    return await nginx.start_nginx(
        nginx.NginxOptions(
            access_log,
            control,
            plan.host,
            plan.port,
            key_file,
            slots=(f"127.0.0.1:{ports[0]}-{ports[-1]}",),
            shape=_first_shape(plan),
        )
    )


def _first_shape(plan: StagePlan) -> Shape:
    settings, timing = scale_settings(plan.settings, plan.speed), scale_timing(plan.timing, plan.speed)
    return shape_of(routing_table(create_world(settings, timing, plan.seed, 0.0), 0.0, 0))


async def balancer_again(plan: StagePlan) -> BalancerClient:
    """The one that still runs, or a new one on its port. Raises as `start_balancer`."""
    control = balancer_socket(plan.state_dir)
    try:
        if plan.balancer is BalancerKind.EMBEDDED:
            return await embedded.attach_balancer(control)
        return await nginx.attach_nginx(control)
    except Temporary:
        return await start_balancer(plan)


def is_balancer_running(plan: StagePlan) -> bool:
    control = balancer_socket(plan.state_dir)
    if plan.balancer is BalancerKind.EMBEDDED:
        return embedded.is_balancer_running(control)
    return nginx.is_nginx_running(control)


async def stop_balancer(state_dir: Path, *, grace_s: float) -> None:
    """End it, of whatever kind it is: there may be no plan that says so. Raises Permanent if it cannot be ended."""
    control = balancer_socket(state_dir)
    is_embedded = embedded.is_balancer_running(control)
    await (embedded.stop_balancer if is_embedded else nginx.stop_nginx)(control, grace_s=grace_s)
