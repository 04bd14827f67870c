"""What the agent beside nginx is started with: its command line, and what that needs checked or made."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rollproof.core.errors import UsageError
from rollproof.orchestrator.balancers.nginx_config import Shape, shape_from_json

KEY_SIZE = 32
BACKLOG = 4096


@dataclass(frozen=True)
class AgentOptions:
    """The command line."""

    host: str
    port: int
    control: str
    access_log: Path
    key_file: Path | None
    state: Path
    assets: Path
    binary: str = ""
    workers: int = 1
    slots: tuple[str, ...] = ()
    engine: str = ""
    cut: str = "auto"
    shape: Shape = field(default_factory=Shape)


def parse(arguments: list[str] | None) -> AgentOptions | str:
    """The command line; the control address alone for a health check. Raises UsageError."""
    parser = argparse.ArgumentParser(prog="python -m rollproof.orchestrator.balancers.nginx_agent")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--control", required=True, metavar="SOCKET or HOST:PORT")
    parser.add_argument("--check", action="store_true", help="ask the one that runs whether it is healthy, and exit")
    parser.add_argument("--access-log", type=Path, metavar="FILE")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="32 bytes; made if it does not exist")
    parser.add_argument("--state", type=Path, metavar="DIRECTORY", help="for nginx's own files")
    parser.add_argument("--assets", type=Path, metavar="DIRECTORY", help="nginx.conf and alb.js")
    parser.add_argument("--nginx", default="", metavar="PROGRAM")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--slot", action="append", default=[], metavar="ADDRESS", help="a target's, known in advance")
    parser.add_argument("--js-engine", choices=("", "njs", "qjs"), default="")
    parser.add_argument("--cut", choices=("auto", "chunk"), default="auto", help="chunk: never touch sockets")
    parser.add_argument("--shape", default="{}", metavar="JSON", help="the first table's attributes: saves a reload")
    given = parser.parse_args(arguments)
    if given.check:
        return str(given.control)
    if given.access_log is None or given.state is None:
        raise UsageError("--access-log and --state are needed")
    host, _, port = given.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {given.listen} is not HOST:PORT")
    return AgentOptions(
        host=host.strip("[]"),
        port=int(port),
        control=given.control,
        access_log=given.access_log.absolute(),
        key_file=given.key_file,
        state=given.state.absolute(),
        assets=(given.assets or find_assets()).absolute(),
        binary=given.nginx,
        workers=given.workers,
        slots=tuple(given.slot),
        engine=given.js_engine,
        cut=given.cut,
        shape=shape_from_json(given.shape),
    )


def state_beside(control: Path) -> Path:
    """The directory of nginx's own files where the agent has a control socket."""
    return control.absolute().with_name(control.name + ".d")


def inner_socket(state: Path) -> Path:
    """nginx's own, for its agent."""
    return state / "n.sock"


def listen_on(host: str, port: int) -> socket.socket:
    """A bound, listening socket, for nginx to inherit. Raises UsageError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(
            False
        )  # nginx takes an inherited socket as it is; a worker that comes second would wait in accept
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} on {host} is already in use", hint="stop that program, or choose another port"
            ) from error
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


def load_key(path: Path | None) -> bytes:
    """The cookie key of `path`: 32 bytes, made there with mode 0600 if there is none. Raises UsageError."""
    if path is None:
        return os.urandom(KEY_SIZE)
    try:
        with (
            suppress(FileExistsError),
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new,
        ):
            new.write(os.urandom(KEY_SIZE))
        mode, key = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read or write the cookie key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise UsageError(f"others may read the cookie key {path}", hint=f"chmod 600 {path}")
    if len(key) != KEY_SIZE:
        raise UsageError(
            f"the cookie key {path} has {len(key)} bytes, not {KEY_SIZE}", hint="delete it: a new one is made"
        )
    return key


def find_assets() -> Path:
    """The directory with nginx.conf and alb.js: this checkout's, the installed package's, or the image's."""
    package = Path(__file__).resolve().parents[2]
    for root in (package.parent / "lb", package / "sample" / "lb"):
        if (root / "alb.js").is_file():
            return root
    raise UsageError("nginx's configuration (lb/) is not part of this installation", hint="use the embedded balancer")
