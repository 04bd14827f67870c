"""lb/Dockerfile copies few files and installs no package: the agent must get on with them and the standard library."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AGENT = "rollproof.orchestrator.balancers.nginx_agent"


def copied(dockerfile: Path, into: Path) -> None:
    """What its COPY lines copy."""
    text = dockerfile.read_text().replace("\\\n", " ")
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        *sources, target = line.split()
        (into / target).mkdir(parents=True, exist_ok=True)
        for source in (found for pattern in sources for found in ROOT.glob(pattern)):
            if source.is_dir():
                shutil.copytree(source, into / target, dirs_exist_ok=True)
            else:
                shutil.copy(source, into / target)


def test_the_agent_starts_with_what_the_image_has(tmp_path: Path) -> None:
    copied(ROOT / "lb" / "Dockerfile", tmp_path)
    assert (tmp_path / "lb" / "alb.js").is_file()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from {AGENT} import main; sys.exit(main(['--check']))"
    bare = [sys.executable, "-I", "-S", "-c", code]  # no site-packages, nothing of this checkout
    done = subprocess.run(bare, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "the following arguments are required: --control" in done.stderr
