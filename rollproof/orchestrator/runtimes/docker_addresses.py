"""Which address a task gets: ENI-like, its own, and not soon again. Pure.

A target's id is its address, and sticky cookies name it; an address that went straight to the next task would
make stale cookies good again. So addresses are handed out in turn, as the subnet's next, and the Engine's own
choices (`ip_range` of the network) are left to the Engine.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from rollproof.core.errors import Permanent

HINT = "give the network a subnet and, inside it, a smaller ip_range; see docker-compose.yml"


def task_addresses(network: Mapping[str, Any]) -> list[str]:
    """The addresses that tasks may have, in order, from GET /networks/{name}: the subnet without its `ip_range`.

    Raises Permanent for a network whose subnet the Engine chose itself: it refuses fixed addresses there.
    """
    name = network.get("Name", "?")
    configs = [c for c in (network.get("IPAM") or {}).get("Config") or [] if ":" not in c.get("Subnet", ":")]
    if not configs or not configs[0].get("IPRange"):
        raise Permanent(f"network {name} has no subnet of its own with an ip_range", hint=HINT)
    subnet = ipaddress.IPv4Network(configs[0]["Subnet"])
    dynamic = ipaddress.IPv4Network(configs[0]["IPRange"])
    gateway = configs[0].get("Gateway", "")
    found = [str(address) for address in subnet.hosts() if address not in dynamic and str(address) != gateway]
    if not found:
        raise Permanent(f"network {name} leaves no address for tasks outside {dynamic}", hint=HINT)
    return found


def next_address(pool: list[str], taken: Collection[str], last: str) -> str | None:
    """The first free address behind `last`, around the end; None if all are taken.

    >>> next_address(["10.0.0.1", "10.0.0.2", "10.0.0.3"], {"10.0.0.3"}, "10.0.0.2")
    '10.0.0.1'
    """
    begin = pool.index(last) + 1 if last in pool else 0
    return next((address for address in pool[begin:] + pool[:begin] if address not in taken), None)
