"""Small templates for tests: written in place, resolved in one call."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollproof.api.template import Environment, Resolved, parse_template, resolve

ROOT = Path(__file__).parents[2]
INFRASTRUCTURE = ROOT / "aws" / "infrastructure.yaml"
ECS = ROOT / "aws" / "ecs.yaml"

BUCKET = "Resources: {Bucket: {Type: AWS::S3::Bucket}}"


def resolved(text: str, parameters: Mapping[str, str] | None = None, **options: Any) -> Resolved:
    return resolve(parse_template(textwrap.dedent(text), "t.yaml"), parameters, **options)


def evaluated(expression: str, preamble: str = "", **options: Any) -> Any:
    """What `expression`, one line of YAML, evaluates to as an output's value."""
    text = f"{textwrap.dedent(preamble)}\n{BUCKET}\nOutputs:\n  Result:\n    Value: {expression}\n"
    return resolve(parse_template(text, "t.yaml"), **options).outputs["Result"].value


def environment(text: str, parameters: Mapping[str, str] | None = None, **options: Any) -> Environment:
    return Environment(parse_template(textwrap.dedent(text), "t.yaml"), parameters, **options)
