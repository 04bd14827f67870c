"""MCP clients that call through a rollout and record every answer. See `Probe`.

answer, sse, cookies, checker, plan, judge, dialect, draft, replies, activity, summary           pure
wire, client, answering, opening, stream, activities, session, discovery, probe, run, ...       the shell around them
"""

from rollproof.probe.options import Activity, CookieMode, Era, Increments, ProbeOptions, SessionIds
from rollproof.probe.probe import Probe
from rollproof.probe.records import Progress
from rollproof.probe.run import SystemClock, run_probe
from rollproof.probe.summary import summary

__all__ = [
    "Activity",
    "CookieMode",
    "Era",
    "Increments",
    "Probe",
    "ProbeOptions",
    "Progress",
    "SessionIds",
    "SystemClock",
    "run_probe",
    "summary",
]
