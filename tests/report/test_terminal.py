"""The terminal report as text: whole stories, two widths, colour only on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from rollproof.report import render_terminal
from rollproof.verdict import judge
from tests.verdict import stories
from tests.verdict.stories import ANNA, CARL, READ, T0, WRITE, Tale

GOLDEN = Path(__file__).parent / "golden"


def render(tale: Tale, width: int = 100, *, verbose: bool = False, next_line: str = "", terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    render_terminal(judge(tale.records), console=console, verbose=verbose, next_line=next_line)
    return file.getvalue()


def lost_fast() -> Tale:
    """The loss again, at speed 10 and with a what-if: what a laptop would show."""
    tale = Tale(speed=10).replaced().talk("s1", 5.0, 31.0, ANNA)
    tale.add("setting", 0.0, name="service.desired_count", value=2, source="--set desired_count=2", template_value=4)
    tale.call("s1", 9, WRITE, 32.0, ANNA).not_found("s1", 9, READ, 33.5, CARL).not_found("s1", 10, WRITE, 36.0, CARL)
    return tale.mark(60.0, "probe-ended")


@pytest.mark.parametrize("story", ["survived", "lost_at_drain", "crashed"])
def test_a_whole_report_is_as_it_was_approved(story: str) -> None:
    """The expected texts stand in golden/; a change of wording is a change of these files."""
    assert render(getattr(stories, story)()) == (GOLDEN / f"{story}.txt").read_text(encoding="utf-8")


def test_a_whole_report_of_a_fast_run_is_as_it_was_approved() -> None:
    assert render(lost_fast()) == (GOLDEN / "lost_fast.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("story", ["survived", "lost_at_drain", "crashed", "rolled_back"])
def test_no_line_is_wider_than_the_console_or_ends_in_blanks(story: str, width: int) -> None:
    lines = render(getattr(stories, story)(), width, verbose=True).splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_pipe_gets_no_colour_codes_and_a_terminal_does() -> None:
    plain, coloured = render(stories.lost_at_drain()), render(stories.lost_at_drain(), terminal=True)
    assert "\x1b" not in plain
    assert coloured.startswith("\x1b[1;31mFAIL\x1b[0m")
    assert plain.isascii()


def test_a_servers_words_are_text_and_not_markup() -> None:
    tale = stories.survived().call("s1", 90, READ, 179.0, ok=False, http_status=500, error="[bold]no[/bold] [link=x]")
    assert "500 / [bold]no[/bold] [link=x]" in render(tale, 140)


def test_many_lost_sessions_are_listed_up_to_five() -> None:
    tale = Tale().replaced()
    for number in range(13):
        tale.call(f"s{number:02d}", 1, WRITE, 100.0, ANNA).not_found(f"s{number:02d}", 1, READ, 130.0)
    assert "and 8 more lost, in summary.json" in render(tale)
    assert render(tale).count("  lost  s") == 5
    assert render(tale, verbose=True).count("  lost  s") == 13


def test_verbose_tells_every_session_check_and_task() -> None:
    told = render(stories.survived(), 120, verbose=True)
    assert "survived  s1  68 calls answered, 1 move between tasks" in told
    assert "SIGTERM only after the full deregistration delay: 2 tasks signalled, each after its" in told
    assert "target draining     127.0.0.1:4001   78.0..129.4        94.5" in told


def test_a_broken_rule_is_told_in_full() -> None:
    told = render(stories.survived().request(ANNA, T0 + 140.0))
    assert "BROKEN" in told
    assert "a request reached target 127.0.0.1:4001 31.9 s after that" in " ".join(told.split())


def test_gaps_behind_a_failure_and_unusable_records_are_told() -> None:
    tale = stories.lost_at_drain()
    tale.records = [record for record in tale.records if record["kind"] != "deployment"]
    tale.records.append({"kind": "mark"})
    told = render(tale)
    assert "also: the rollout had not ended when the history ends" in told
    assert "note: 1 record of the history could not be used" in told


def test_nothing_at_all_is_still_a_report() -> None:
    assert render(Tale(), 80).splitlines() == [
        "UNKNOWN",
        "no session called: there was nothing to lose",
        "also: the history shows no deployment and no fault: nothing was done to the",
        "service",
        "",
        "Safety",
        "  not seen  SIGTERM only after the full deregistration delay",
        "  not seen  No new request reaches a target that every node knows to drain",
        "  not seen  SIGKILL only after the stop timeout",
        "",
        "next: rollproof rehearse  # warms sessions up before it deploys",
    ]


@pytest.mark.parametrize(
    ("settings", "story", "advice"),
    [
        (
            {"strategy": "memory"},
            "lost",
            "rollproof rehearse --strategy stateless  # the same server without a session in a task",
        ),
        (
            {"strategy": "memory", "stage": "docker"},
            "lost",
            "rollproof rehearse --stage docker --strategy stateless  # the same server",
        ),
        ({"stage": "docker"}, "nothing", "rollproof status --stage docker  # did the service"),
        (
            {"stage": "docker", "command": "docker compose run --rm client rehearse"},
            "uncrossed",
            "docker compose run --rm client rehearse  # again, calling until",
        ),
        (
            {"strategy": "own", "command": "rollproof rehearse --app m:f"},
            "lost",
            "rollproof rehearse --app m:f  # again, once",
        ),
        ({}, "nothing", "rollproof status  # did the service take the deployment"),
        (
            {"command": "rollproof rehearse --calls 3"},
            "uncrossed",
            "rollproof rehearse --calls 3  # again, calling until",
        ),
        ({"speed": 10}, "survived", "rollproof rehearse --speed 1  # the same at AWS's own pace"),
        ({}, "survived", "rollproof rehearse --set behaviour.sticky_overrides_drain=true  # the other"),
        ({"behaviour__sticky_overrides_drain": True}, "survived", "rollproof rehearse --strategy memory  # what this"),
        (
            {"strategy": "memory", "platform": "app-runner"},
            "lost",
            "rollproof rehearse --platform app-runner --strategy stateless  # the same server",
        ),
        ({"platform": "agentcore"}, "survived", "rollproof rehearse --platform agentcore --strategy memory  # what"),
        (
            {"strategy": "own", "platform": "lambda", "command": "rollproof rehearse --platform lambda --app m:f"},
            "lost",
            "rollproof rehearse --platform lambda --app m:f  # again, once",
        ),
    ],
)
def test_the_next_command_fits_the_verdict(settings: dict[str, object], story: str, advice: str) -> None:
    stories_by_name: dict[str, Callable[[], Tale]] = {
        "lost": stories.lost_at_drain,
        "survived": stories.survived,
        "nothing": lambda: Tale().settings().warmed_up().mark(T0, "deployment-triggered").talk("s1", 5.0, 60.0, ANNA),
        "uncrossed": lambda: Tale().replaced().talk("s1", 5.0, 60.0, ANNA),
    }
    tale = stories_by_name[story]()
    for name, value in settings.items():
        tale.add("setting", 0.1, name=name.replace("__", "."), value=value)
    assert f"next: {advice}" in " ".join(render(tale, 140).split("\n\n")[-1].split("\n"))


def test_a_caller_may_say_what_comes_next() -> None:
    assert render(stories.survived(), next_line="rollproof down").endswith("next: rollproof down\n")


def test_steps_and_cliffs_without_expectation_leave_their_cells_empty() -> None:
    tale = stories.survived()
    tale.records = [record for record in tale.records if not str(record.get("name", "")).startswith("timing.")]
    lines = [line.split() for line in render(tale).splitlines()]
    assert ["tasks", "started", "triggered", "14.0", "unjudged"] in lines
    assert ["target", "draining", "2", "replaced", "94.5"] in lines


def test_a_seed_without_a_command_replays_the_default() -> None:
    tale = stories.survived().add("setting", 0.1, name="command", value="")
    assert "rollproof rehearse  # seed 7" in render(tale)


def test_tasks_of_several_waves_are_shown_wave_by_wave() -> None:
    rows = [line.split() for line in render(stories.in_two_waves()).splitlines() if "replaced, wave" in line]
    draining = [row for row in rows if row[:2] == ["target", "draining"]]
    assert [row[5] for row in draining] == ["1", "2"]
    assert draining[0][-2:] == ["12.0..33.4", "22.7"]
    assert draining[1][-1] == "162.7"
