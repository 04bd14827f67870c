"""What each stage can be asked for, before anything is started."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from rollproof.cli import stage
from rollproof.core.errors import UsageError
from rollproof.core.settings import Settings
from rollproof.docker_rehearsal import IN_CONTAINERS, order_of, programme_of, read_order, write_order
from rollproof.orchestrator.stage_files import BalancerKind
from rollproof.rehearsal import AS_PROCESSES, Rehearsal
from rollproof.subject import find_subject
from tests.cli.conftest import Rollproof


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["rehearse", "--image", "mine:1"], "--image: needs containers", "--stage docker"),
        (["up", "--image", "mine:1"], "--image: needs containers", "--stage docker"),
        (["rehearse", "--stage", "docker", "--app", "a:b"], "--app: runs a process", "--image NAME"),
        (["rehearse", "--stage", "docker", "--command", "c"], "--command: runs a process", "--image NAME"),
        (["rehearse", "--stage", "docker", "--redis-url", "redis://x"], "a Redis of its own", "REDIS_URL"),
        (["rehearse", "--stage", "docker", "--image", "a", "--strategy", "memory"], "sample server", "--env"),
        (["rehearse", "--stage", "docker"], "no docker command on PATH", "--stage local"),
        (["up", "--stage", "docker"], "no docker command on PATH", "--stage local"),
        (["status", "--stage", "docker"], "no docker command on PATH", "--stage local"),
        (["down", "--stage", "docker"], "no docker command on PATH", "--stage local"),
        (["rehearse", "--stage", "moon"], "'moon' is not one of", "docker"),
        (["up", "--stage", "sim"], "lasts only as long as a rehearsal", "rehearse --stage sim"),
        (["status", "--stage", "sim"], "lasts only as long as a rehearsal", "--stage local"),
        (["rehearse", "--stage", "sim", "--image", "mine:1"], "--image: needs containers", "--stage docker"),
        (["rehearse", "--stage", "sim", "--command", "c"], "--command: runs a program", "--stage local"),
        (["rehearse", "--stage", "sim", "--port", "8080"], "--port: the in-process stage listens on no port", "local"),
        (["rehearse", "--stage", "sim", "--speed", "5"], "--speed: virtual time costs nothing", "leave it out"),
        (["rehearse", "--stage", "sim", "--balancer", "nginx"], "--balancer: ", "--stage local"),
        (["rehearse", "--stage", "sim", "--redis-url", "redis://x"], "--redis-url: ", "unset REDIS_URL"),
        (["matrix", "--stage", "sim", "--speed", "5"], "--speed and --measure", "--stage local"),
    ],
)
def test_bad_input_is_said_before_anything_starts(
    rollproof: Rollproof, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str, hint: str
) -> None:
    monkeypatch.setenv("PATH", "")
    done = rollproof(*arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert hint in done.stderr


def test_the_words_for_the_client_are_those_for_us_less_the_stage() -> None:
    assert doctest.testmod(stage).failed == 0


def test_an_order_says_all_that_was_asked_for() -> None:
    rehearsal = Rehearsal(find_subject(), Settings(), balancer=BalancerKind.NGINX, strategy="memory", name="x")
    order = read_order(write_order(order_of(rehearsal, is_as_it_is=False)))
    assert order == order_of(rehearsal, is_as_it_is=False)
    assert order.programme is not None
    assert order.programme.is_same_play(programme_of(rehearsal))
    assert order_of(rehearsal, is_as_it_is=True).programme is None


def test_an_order_of_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match="not an order of this version"):
        read_order(b'{"disruption": "meteorite"}')


def test_what_is_no_good_is_no_good_on_either_stage() -> None:
    assert IN_CONTAINERS.keys() == AS_PROCESSES.keys()


def test_an_image_of_ones_own_starts_as_it_says(tmp_path: Path) -> None:
    subject = find_subject(image="mine:1", working_directory=tmp_path)
    assert not subject.is_sample
    assert [spec.command for spec in subject.images.values()] == [()]
