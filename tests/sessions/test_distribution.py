"""`pip install ./rollproof/sessions`: what a server gets that needs nothing else of rollproof."""

from __future__ import annotations

import os
import zipfile
from email import message_from_bytes
from pathlib import Path

from hatchling.build import build_wheel

SESSIONS = Path(__file__).parents[2] / "rollproof" / "sessions"


def test_the_distribution_holds_the_sessions_alone_and_needs_fastmcp_and_redis_alone(tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(SESSIONS)
    try:
        wheel = zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path)))
    finally:
        os.chdir(before)
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == {f"rollproof/sessions/{path.name}" for path in SESSIONS.glob("*.py")} | {
        "rollproof/sessions/py.typed"
    }
    (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    needs = message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist") or []
    assert {need.split("<")[0].split(">")[0] for need in needs} == {"fastmcp", "mcp", "redis"}
