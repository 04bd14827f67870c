from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.api.source import Template, load_template, parse_template
from rollproof.core.errors import UsageError

MINIMAL = "Resources: {A: {Type: T}}"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("!Ref A", {"Ref": "A"}),
        ("!Condition C", {"Condition": "C"}),
        ("!GetAtt A.B", {"Fn::GetAtt": ["A", "B"]}),
        ("!GetAtt A.Outputs.B", {"Fn::GetAtt": ["A", "Outputs.B"]}),
        ("!GetAtt [A, B]", {"Fn::GetAtt": ["A", "B"]}),
        ("!Sub '${A}-x'", {"Fn::Sub": "${A}-x"}),
        ("!Sub ['${x}', {x: !Ref A}]", {"Fn::Sub": ["${x}", {"x": {"Ref": "A"}}]}),
        ("!Select [0, !GetAZs '']", {"Fn::Select": [0, {"Fn::GetAZs": ""}]}),
        ("!ImportValue {Fn::Sub: x}", {"Fn::ImportValue": {"Fn::Sub": "x"}}),
        ("!Base64 123", {"Fn::Base64": "123"}),
        ("!Invented x", {"Fn::Invented": "x"}),
        ("2012-10-17", "2012-10-17"),
        ("true", True),
        ("12", 12),
        ("1.5", 1.5),
        ("~", None),
    ],
)
def test_a_value_is_read_as_written_with_short_forms_made_long(short: str, long: object) -> None:
    template = parse_template(f"Resources:\n  A:\n    Type: T\n    Properties: {{X: {short}}}\n")
    assert template.section("Resources")["A"]["Properties"]["X"] == long


def test_every_value_knows_its_line() -> None:
    template = parse_template(
        "Resources:\n  A:\n    Type: T\n    Properties:\n      X:\n        - 1\n        - 2\n", "t.yaml"
    )
    assert template.where(("Resources", "A", "Properties", "X", 1)) == "t.yaml:7: Resources.A.Properties.X[1]"
    assert template.where(("Resources", "A", "Type")) == "t.yaml:3: Resources.A.Type"
    assert template.where(("Resources", "A", "Metadata", "Y")) == "t.yaml:2: Resources.A.Metadata.Y"


def test_without_lines_the_name_alone_is_the_place() -> None:
    assert Template("t.yaml", {}).where(("Resources",)) == "t.yaml: Resources"


def test_json_is_read_with_lines_too() -> None:
    body = {"Resources": {"A": {"Type": "T", "Properties": {"X": {"Ref": "A"}, "Y": "a😀b/", "Z": "2012-10-17"}}}}
    template = parse_template(json.dumps(body, indent="\t"), "t.json")
    assert template.body == body
    assert template.where(("Resources", "A", "Properties", "Z")) == "t.json:10: Resources.A.Properties.Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Resources: [", "t.yaml:1:13: not valid YAML"),
        ("Resources:\n  A: {Type: T}\n  B: }", "t.yaml:3:6: not valid YAML"),
        ('{"Resources": {"A": }}', "t.yaml:1:21: not valid JSON"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"Resources": {"A": 1, "A": 2}}', "the key 'A' stands twice"),
        ("Resources:\n  A: {Type: T}\n  A: {Type: T}\n", "t.yaml:3:3: the key 'A' stands twice"),
        ("Resources:\n  ? [a, b]\n  : x\n", "t.yaml:2:5: a key must be text"),
        ("Resources:\n  A: &a {Type: T}\n  B:\n    <<: *a\n", "t.yaml:4:5: CloudFormation knows no merge keys"),
        ("Resources:\n  A: &a {Type: T, Properties: {X: *a}}\n", "too large or too deep"),
        ("Resources: {A: {Type: !!python/name:os.system ''}}", "t.yaml:1:23: '' cannot be read"),
        ("just text", "text at the top, not a mapping"),
        ("- a\n- b\n", "a list at the top, not a mapping"),
        ("", "nothing at the top, not a mapping"),
        ("Description: x\n", "it has no Resources"),
        ("Resources: {}\n", "it has no Resources"),
        ("Resources: [a]\n", "t.yaml:1: Resources: Resources must be a mapping of names, not a list"),
        ("Resources: {A: 5}\n", "t.yaml:1: Resources.A: must be a mapping, not a number"),
        (f"{MINIMAL}\nOutput: {{}}\n", "t.yaml:2: Output: unknown section 'Output'"),
        (f"{MINIMAL}\nParameters: {{A: true}}\n", "must be a mapping, not true or false"),
        ("\x00", "not valid YAML"),
        ("a: " + "[" * 1000, "not valid YAML"),
    ],
)
def test_a_broken_template_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_template(text, "t.yaml")
    assert message in caught.value.message
    assert caught.value.message.startswith("t.yaml")


def test_an_alias_is_a_copy() -> None:
    template = parse_template("Resources:\n  A: &a {Type: T}\n  B: *a\n")
    assert template.section("Resources")["B"] == {"Type": "T"}


def test_aliases_that_multiply_are_refused() -> None:
    levels = "\n".join(
        f"  L{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}, c: *l{n - 1}, d: *l{n - 1}}}" for n in range(1, 14)
    )
    with pytest.raises(UsageError, match="too large or too deep"):
        parse_template(f"Metadata:\n  L0: &l0 {{x: y}}\n{levels}\n{MINIMAL}")


def test_a_template_beyond_the_size_limit_is_refused() -> None:
    with pytest.raises(UsageError, match="larger than CloudFormation's limit"):
        parse_template(f"{MINIMAL} #" + "x" * 1_048_576)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: No such file"):
        load_template(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.yaml: not UTF-8 text"):
        load_template(tmp_path / "binary.yaml")


def test_a_template_is_called_by_its_path_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").mkdir()
    (tmp_path / "aws" / "t.yaml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load_template(tmp_path / "aws" / "t.yaml").name == "aws/t.yaml"
    monkeypatch.chdir(tmp_path / "aws")
    assert load_template(tmp_path / "aws" / "t.yaml").name == "t.yaml"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_is_read_back_as_it_was(value: object) -> None:
    body = {"Resources": {"A": {"Type": "T", "Properties": {"X": value}}}}
    assert parse_template(json.dumps(body)).body == body


@given(st.text(alphabet="a:-[]{}!&*#|>'\"\n ,?<%@\t", max_size=40))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_template(text)
