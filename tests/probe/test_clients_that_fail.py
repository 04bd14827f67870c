"""What faults do to a probe's clients: one dies and comes back as another, one loses its cookies."""

from __future__ import annotations

from tests.probe.fake_mcp import FakeMcp
from tests.probe.running import play


async def test_a_client_that_dies_says_no_goodbye_and_the_others_go_on() -> None:
    mcp = FakeMcp()
    async with play(mcp, sessions=3, delay_s=0.005) as run, run.under_way():
        await run.probe.warmed_up(5.0)
        assert run.probe.names == ("s1", "s2", "s3")
        await run.probe.crash("s2")
        ended = len(run.calls(session="s2"))
        assert run.probe.names == ("s1", "s3")
        others = len(run.calls(session="s3"))
        await run.until(lambda: len(run.calls(session="s3")) > others + 4)
        assert len(run.calls(session="s2")) == ended
    assert run.records("session", session="s2", event="closed") == []
    assert [r["event"] for r in run.records("session", session="s2")][-1] == "crashed"
    assert run.records("session", session="s3", event="closed")
    assert len(mcp.deleted) == 1 + 2  # the discovery's session, and those of the two that ended well


async def test_it_comes_back_as_a_new_client_under_a_new_name_each_time() -> None:
    async with play(FakeMcp(), sessions=2, delay_s=0.005) as run, run.under_way():
        await run.probe.warmed_up(5.0)
        for before, after in (("s2", "s2-2"), ("s2-2", "s2-3")):
            await run.probe.crash(before)
            run.probe.reopen(before)
            await run.until(lambda name=after: len(run.calls(session=name)) > 3)  # type: ignore[misc]
    assert not [call for call in run.calls() if not call["ok"]]
    assert run.probe.names == ()
    opened = {r["session"] for r in run.records("session", event="opened")}
    assert opened == {"s1", "s2", "s2-2", "s2-3"}


async def test_a_client_that_has_lost_its_cookies_keeps_its_session_id() -> None:
    async with play(FakeMcp(), sessions=1, delay_s=0.005) as run, run.under_way():
        await run.probe.warmed_up(5.0)
        run.probe.lose_cookies("s1")
        calls = len(run.calls())
        await run.until(lambda: len(run.calls()) > calls + 4)
    assert not [call for call in run.calls() if not call["ok"]]
    assert len(run.records("session", event="opened")) == 1
