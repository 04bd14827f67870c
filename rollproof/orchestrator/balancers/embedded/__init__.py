"""The embedded balancer: an ALB's data plane in one process, without root, without Docker.

client_side   reads requests, strictly           target_side  reads responses, strictly
exchange      relays one of each                  node         an ALB node: view, turn, pools
plane         the table in force, routing, cut     control      what the control interface does
affinity      which session has which instance
heads, framing, forwarding, pages, cookies, log_line   the rules of HTTP and of an ALB, without I/O
server        all of it in an event loop           process      all of it in a process of its own
"""

from rollproof.orchestrator.balancers.embedded.process import (
    EmbeddedBalancerClient,
    attach_balancer,
    is_balancer_running,
    start_balancer,
    stop_balancer,
)
from rollproof.orchestrator.balancers.embedded.server import BalancerOptions, EmbeddedBalancer, serve

__all__ = [
    "BalancerOptions",
    "EmbeddedBalancer",
    "EmbeddedBalancerClient",
    "attach_balancer",
    "is_balancer_running",
    "serve",
    "start_balancer",
    "stop_balancer",
]
