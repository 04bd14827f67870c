"""Renders a verdict: terminal, JSON, JUnit. Decides and computes nothing about the run."""

from rollproof.report.files import write_reports
from rollproof.report.junit import render_junit
from rollproof.report.next_step import next_command
from rollproof.report.summary import summary_json
from rollproof.report.terminal import render_terminal

__all__ = ["next_command", "render_junit", "render_terminal", "summary_json", "write_reports"]
