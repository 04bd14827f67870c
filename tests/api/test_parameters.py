from __future__ import annotations

from typing import Any

import pytest

from rollproof.core.errors import NotModelled, UsageError
from tests.api.templates import BUCKET, resolved


def _value(declaration: str, given: str | None = None, **options: Any) -> Any:
    text = f"Parameters:\n  P: {declaration}\n{BUCKET}\n"
    return resolved(text, {} if given is None else {"P": given}, **options).parameters["P"]


@pytest.mark.parametrize(
    ("declaration", "given", "value"),
    [
        ("{Type: String, Default: a}", None, "a"),
        ("{Type: String, Default: a}", "b", "b"),
        ("{Type: String, Default: ''}", None, ""),
        ("{Type: String, Default: true}", None, "true"),
        ("{Type: String, Default: 2012-10-17}", None, "2012-10-17"),
        ("{Type: String}", "007", "007"),
        ("{Type: Number, Default: 5}", None, 5),
        ("{Type: Number, Default: '5'}", None, 5),
        ("{Type: Number}", "1.5", 1.5),
        ("{Type: Number}", "-3", -3),
        ("{Type: CommaDelimitedList}", "a, b ,c", ["a", "b", "c"]),
        ("{Type: CommaDelimitedList, Default: ''}", None, []),
        ("{Type: List<Number>}", "1,2.5", [1, 2.5]),
        ("{Type: AWS::EC2::VPC::Id}", "vpc-1", "vpc-1"),
        ("{Type: List<AWS::EC2::Subnet::Id>}", "subnet-1,subnet-2", ["subnet-1", "subnet-2"]),
        ("{Type: AWS::SSM::Parameter::Name}", "/a", "/a"),
        ("{Type: AWS::SSM::Parameter::Value<String>, Default: /ami}", None, "<ssm:/ami>"),
        ("{Type: AWS::SSM::Parameter::Value<List<String>>}", "/subnets", "<ssm:/subnets>"),
        ("{Type: String, AllowedValues: [a, 1, true]}", "1", "1"),
        ("{Type: String, AllowedValues: [a, 1, true]}", "true", "true"),
        ("{Type: Number, AllowedValues: [1, 2]}", "2", 2),
        ("{Type: String, AllowedPattern: '[a-z]+'}", "abc", "abc"),
        ("{Type: String, MinLength: 1, MaxLength: 3}", "abc", "abc"),
        ("{Type: Number, MinValue: 0, MaxValue: '3600'}", "3600", 3600),
        ("{Type: Number, MinValue: 0}", "0", 0),
    ],
)
def test_a_parameter_is(declaration: str, given: str | None, value: object) -> None:
    assert _value(declaration, given) == value


@pytest.mark.parametrize(
    ("declaration", "given", "message"),
    [
        ("{Type: String}", None, "parameter P has no default and no value was given"),
        ("{Type: Number}", "many", "parameter P is 'many': not a number"),
        ("{Type: List<Number>}", "1,b", "parameter P is 'b': not a number"),
        ("{Type: String, AllowedValues: [a, b]}", "c", "parameter P is 'c': allowed are a, b"),
        ("{Type: List<String>, AllowedValues: [a, b]}", "a,c", "parameter P is 'c': allowed are a, b"),
        ("{Type: String, AllowedPattern: '[a-z]+'}", "abc1", "it must match [a-z]+"),
        ("{Type: String, AllowedPattern: '['}", "a", "AllowedPattern: not a regular expression"),
        ("{Type: String, AllowedPattern: x, ConstraintDescription: be an x}", "y", "parameter P is 'y': be an x"),
        ("{Type: String, NoEcho: true, MinLength: 9}", "hunter2", "parameter P is ****: MinLength is 9"),
        ("{Type: Number, NoEcho: 'true'}", "hunter2", "parameter P is ****: not a number"),
        ("{Type: String, MaxLength: 2}", "abc", "MaxLength is 2"),
        ("{Type: Number, MinValue: 5}", "4", "MinValue is 5"),
        ("{Type: Number, MaxValue: 5}", "5.5", "MaxValue is 5"),
        ("{Type: String, MaxValue: 5}", "5", "MaxValue is for parameters of type Number"),
        ("{Type: Number, Default: 9, MaxValue: 5}", None, "parameter P is '9': MaxValue is 5"),
        ("{Type: Text}", "x", "unknown type 'Text'"),
        ("{Default: x}", None, "unknown type ''"),
        ("{Type: String, Default: [a]}", None, "a default is text or a number"),
        ("{Type: String, Defalt: a}", None, "unknown field 'Defalt' of a parameter"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_file_and_line(
    declaration: str, given: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _value(declaration, given)
    assert message in caught.value.message
    assert caught.value.message.startswith("t.yaml:2: Parameters.P")
    assert "hunter2" not in caught.value.message


def test_a_parameter_that_the_template_lacks_is_refused() -> None:
    text = f"Parameters: {{DesiredCount: {{Type: Number, Default: 1}}}}\n{BUCKET}"
    with pytest.raises(UsageError, match=r"t\.yaml has no parameter 'DesiredCont'") as caught:
        resolved(text, {"DesiredCont": "2"})
    assert caught.value.hint == "did you mean DesiredCount?"
    with pytest.raises(UsageError) as caught:
        resolved(text, {"Colour": "2"})
    assert caught.value.hint == "it has DesiredCount"
    with pytest.raises(UsageError) as caught:
        resolved(BUCKET, {"Colour": "2"})
    assert caught.value.hint == "it has none"


def test_systems_manager_is_out_of_reach_where_nothing_may_stay_open() -> None:
    with pytest.raises(NotModelled, match="is read from Systems Manager"):
        _value("{Type: AWS::SSM::Parameter::Value<String>, Default: /ami}", strict=True)
