"""The parts of client/node that need no server: its own tests, its usage errors, its lock file."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.client.node import HOME, node


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([node(), *arguments], cwd=HOME, capture_output=True, text=True, timeout=30, check=False)


def run_tests(directory: str, *, packages: bool) -> None:
    node(packages=packages)
    done = run("--test", *(str(path) for path in sorted((HOME / directory).glob("*.test.mjs"))))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 0" not in done.stdout


def test_its_own_tests_pass() -> None:
    run_tests("test", packages=False)


def test_its_own_tests_of_what_needs_packages_pass() -> None:
    run_tests("test/packages", packages=True)


@pytest.mark.parametrize("arguments", [(), ("--endpoint", "ftp://x"), ("--endpoint", "http://x/mcp", "--sdk", "v9")])
def test_wrong_usage_exits_with_2_and_says_what_next(arguments: tuple[str, ...]) -> None:
    done = run("probe.mjs", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("probe: --")
    assert "hint: node probe.mjs --help" in done.stderr


def test_every_flag_is_in_the_help() -> None:
    done = run("probe.mjs", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    declared = [line for line in (HOME / "flags.mjs").read_text().splitlines() if "{ type:" in line]
    names = [line.strip().partition(":")[0].strip('"') for line in declared]
    assert len(names) >= 11
    assert [name for name in names if name != "help" and f"--{name}" not in done.stdout] == []


def test_the_lock_names_no_registry_and_pins_every_package() -> None:
    lock = json.loads((HOME / "package-lock.json").read_text())
    installed = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in installed.items() if "resolved" in package] == []
    assert [name for name, package in installed.items() if not package.get("integrity")] == []
    wanted = json.loads((HOME / "package.json").read_text())["dependencies"]
    assert {name: installed[f"node_modules/{name}"]["version"] for name in wanted} == wanted
