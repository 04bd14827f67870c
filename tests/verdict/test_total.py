"""Any history gives a verdict: torn, half, shuffled, foreign. Never an exception, never a pass by accident."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollproof.report import render_junit, summary_json
from rollproof.verdict import Outcome, judge
from tests.verdict import stories

KINDS = ("setting", "service_event", "deployment", "task", "target", "node", "request", "call", "session", "cookie")
STORIES = {name: getattr(stories, name)().records for name in ("survived", "lost_at_drain", "crashed", "rolled_back")}

values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
NAMES = (
    "t at kind session call_number ok http_status rpc_error task_id state expected target_id known desired exit_code"
    " draining_until cut name value target node event started_t state_size rollout_state status id signal message"
    " request_creation_time"
)
fields = st.sampled_from(NAMES.split())


@pytest.mark.parametrize("story", STORIES)
def test_every_prefix_of_a_history_is_judged(story: str) -> None:
    records = sorted(STORIES[story], key=lambda record: record["t"])
    outcomes = [judge(records[:length]).outcome for length in range(0, len(records), 3)]
    assert outcomes[0] is Outcome.UNKNOWN
    assert len(outcomes) > 20


def test_a_rollout_passes_only_when_it_has_ended() -> None:
    records = sorted(STORIES["survived"], key=lambda record: record["t"])
    ended_at = next(r["t"] for r in records if r["kind"] == "deployment" and r["t"] > 100)
    torn = [record for record in records if record["t"] < ended_at]
    assert judge(torn).outcome is Outcome.UNKNOWN
    assert judge(records).outcome is Outcome.PASS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("story", STORIES)
def test_a_history_without_one_kind_is_judged(story: str, kind: str) -> None:
    verdict = judge(stories.without(STORIES[story], kind))
    assert verdict.why


def test_order_of_records_does_not_matter() -> None:
    assert judge(reversed(STORIES["lost_at_drain"])).reasons == judge(STORIES["lost_at_drain"]).reasons


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), fields, values), max_size=30), st.sampled_from(sorted(STORIES)))
def test_spoilt_fields_never_raise(spoilt: list[tuple[int, str, Any]], story: str) -> None:
    records = [dict(record) for record in STORIES[story]]
    for index, name, value in spoilt:
        records[index % len(records)][name] = value
    verdict = judge(records)
    json.dumps(summary_json(verdict), default=str)
    render_junit(verdict)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(fields, values, max_size=6) | values, max_size=12))
def test_foreign_records_prove_nothing(records: list[Any]) -> None:
    for record in records:
        if isinstance(record, dict):
            record.setdefault("kind", KINDS[len(record) % len(KINDS)])
    assert judge(records).outcome is not Outcome.PASS
