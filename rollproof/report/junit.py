"""`junit.xml`: what a CI server shows. One test case for the rehearsal, one a session, an activity and
a safety check.

The rehearsal's own case exists so that an unknown verdict is never a green suite: it is an error there, as a
test that could not run is.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from rollproof.verdict import ActivityState, ActivityVerdict, Check, Outcome, SessionOutcome, SessionVerdict, Verdict
from rollproof.verdict.activities import failures_text, outcomes_of

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write, e.g. a terminal escape in a server's error message."""


def render_junit(verdict: Verdict) -> str:
    """One document of one suite."""
    suite = ET.Element("testsuite", name="rollproof")
    _rehearsal(suite, verdict)
    for session in verdict.sessions:
        _session(suite, session)
    for activity in verdict.activities:
        _activity(suite, activity)
    for check in verdict.checks:
        _check(suite, check)
    for outcome, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(outcome, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _rehearsal(suite: ET.Element, verdict: Verdict) -> None:
    case = _case(suite, "rollproof.verdict", "rehearsal")
    if verdict.outcome is Outcome.FAIL:
        _add(case, "failure", verdict.why, "\n".join(verdict.reasons))
    if verdict.outcome is Outcome.UNKNOWN:
        _add(case, "error", f"nothing was proved: {verdict.why}", "\n".join(verdict.reasons))


def _session(suite: ET.Element, session: SessionVerdict) -> None:
    case = _case(suite, "rollproof.sessions", session.session)
    case.set("time", f"{max(session.last_call_at - session.first_call_at, 0.0):.3f}")
    first = session.first_failure
    if session.outcome is SessionOutcome.LOST:
        _add(case, "failure", first.signature if first else "lost", session.cause)
    if session.outcome is SessionOutcome.DEGRADED:
        _add(case, "system-out", "", f"degraded for {session.failing_for_s:.1f} s: {session.cause}")


def _activity(suite: ET.Element, activity: ActivityVerdict) -> None:
    """Only what the rollout broke is a failure."""
    case = _case(suite, "rollproof.activities", activity.name)
    if activity.state is ActivityState.FAILED:
        _add(case, "failure", failures_text([activity]), outcomes_of(activity))
    elif activity.state is not ActivityState.OK:
        _add(case, "skipped", ": ".join(part for part in (activity.state.value, outcomes_of(activity)) if part), "")


def _check(suite: ET.Element, check: Check) -> None:
    case = _case(suite, "rollproof.checks", check.id)
    if check.outcome is Outcome.FAIL:
        _add(case, "failure", check.text, check.title)
    if check.outcome is Outcome.UNKNOWN:
        _add(case, "skipped", check.text, "")


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=classname, name=_clean(name))


def _add(case: ET.Element, tag: str, message: str, text: str) -> None:
    element = ET.SubElement(case, tag, {"message": _clean(message)} if message else {})
    element.text = _clean(text) or None


def _clean(text: str) -> str:
    return NOT_XML.sub("?", text)
