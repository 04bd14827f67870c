"""Which settings a reader must know of: what was changed for this run, and what AWS does not document.

A rehearsal takes its settings from the templates that deploy. Whatever a flag or a file changed is a what-if.
Apart from that, some behaviours of AWS were only observed, or are inferred; the run stands on them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rollproof.core.timing import Timing
from rollproof.verdict.model import Knob
from rollproof.verdict.records import History

OVERRIDES = ("flag", "--", "override", "what-if", "command line", "set ", "rollproof.toml", "platform ")
"""How the `source` of a setting begins when it does not come from a template or a default."""

BEHAVIOURS = {
    "behaviour.sticky_overrides_drain": ("inferred", "ALB-UG/sticky-sessions says no; one experiment read it as yes"),
    "behaviour.stop_task_drains": ("inferred", "WN-2023-02-13; how long it waits is not documented"),
    "behaviour.spot_drains": ("observed", "WN-2023-02-13 says so; CR#2673 (2025) reports SIGTERM without it"),
    "behaviour.nodes": ("inferred", "the number of load balancer nodes is AWS's own"),
}
"""Named settings for what documents and observation leave open, with the reason."""

FELT_BY_SESSIONS = ("drain_propagation_s", "drain_propagation_jitter_s", "healthy_bake_s")
"""Undocumented timings that decide when a session moves; the others only decide how long a rollout takes."""


def what_ifs(history: History) -> tuple[Knob, ...]:
    """Settings that differ from the template, with what the template says where the record tells."""
    found = []
    for name, record in history.sources.items():
        source = str(record.get("source") or "")
        if source.lower().startswith(OVERRIDES):
            found.append(Knob(name, record.get("value"), source, template_value=record.get("template_value")))
    return tuple(found)


def behaviours(history: History) -> tuple[Knob, ...]:
    """The undocumented behaviours that this run's records name, with their values as used (real seconds)."""
    notes: dict[str, tuple[str, str]] = dict(BEHAVIOURS)
    for timing in fields(Timing):
        mark, source = str(timing.metadata.get("mark", "")), str(timing.metadata.get("source", ""))
        if mark in ("observed", "inferred") and timing.name in FELT_BY_SESSIONS:
            notes[f"timing.{timing.name}"] = (mark, source)
    return tuple(
        Knob(name, _value(history, name), source, mark)
        for name, (mark, source) in notes.items()
        if name in history.settings
    )


def _value(history: History, name: str) -> Any:
    return history.settings[name]
