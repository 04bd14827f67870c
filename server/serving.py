"""The server around the application: uvicorn, as it is deployed."""

from __future__ import annotations

import os

import uvicorn

from server.app import create_app
from server.logs import configure_logging
from server.settings import Settings, redact
from server.shutdown import Drain, GracefulServer
from server.task_metadata import find_task_id

BACKLOG = 2048


def create_uvicorn_server(
    settings: Settings | None = None, *, task_id: str | None = None, host: str | None = None, port: int | None = None
) -> GracefulServer:
    """Ready to `serve`, configured from the environment where nothing else is given. Raises SettingsError.

    `host` and `port` are where it is told to listen, or where the socket that `serve` gets does.
    """
    settings = Settings.from_environment(os.environ) if settings is None else settings
    configure_logging(settings.log_level)  # only now: fastmcp sets up handlers of its own when it is imported
    task_id = find_task_id(settings.metadata_uri) if task_id is None else task_id
    host, port = host or settings.host, settings.port if port is None else port
    drain = Drain()
    config = uvicorn.Config(
        create_app(settings, task_id=task_id, drain=drain),
        host=host,
        port=port,
        loop="auto",  # uvloop and httptools where they are installed
        http="auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )
    announcement = {
        "version": settings.app_version,
        "host": host,
        "port": port,
        "pid": os.getpid(),
        "session_store": "memory" if settings.redis_url is None else redact(settings.redis_url),
        "sessions": settings.sessions,
        "stateless_http": settings.stateless_http,
        "json_response": settings.json_response,
    }
    return GracefulServer(config, drain, task_id, announcement)
