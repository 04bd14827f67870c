"""Which task am I? The ECS task metadata endpoint, version 4.

GET ${ECS_CONTAINER_METADATA_URI_V4}/task answers {"TaskARN": "arn:aws:ecs:...:task/cluster/<id>", ...}
(ECS developer guide, "Task metadata endpoint version 4"). Asked once, at start: an id does not change.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
from urllib.parse import urlsplit

from server.logs import log_event

TIMEOUT_S = 2.0


def find_task_id(metadata_uri: str | None) -> str:
    """The last part of the task's ARN; outside ECS, or where the endpoint fails, `<hostname>-<pid>`."""
    if metadata_uri is not None:
        try:
            return _task_id_from_endpoint(metadata_uri)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A server without its id still serves; it is only harder to follow.
            log_event("task_metadata_unavailable", level=logging.WARNING, error=f"{type(error).__name__}: {error}")
    return f"{socket.gethostname()}-{os.getpid()}"


def _task_id_from_endpoint(metadata_uri: str) -> str:
    url = urlsplit(metadata_uri)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"{url.path.rstrip('/')}/task")
        response = connection.getresponse()
        body = response.read(1 << 20)
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise ValueError(f"status {response.status}")
    document = json.loads(body)
    arn = document.get("TaskARN") if isinstance(document, dict) else None
    task_id = arn.rpartition("/")[2] if isinstance(arn, str) else ""
    if not task_id:
        raise ValueError("no TaskARN in the answer")
    return task_id
