from __future__ import annotations

import pytest

from rollproof.api.template import Placeholder
from rollproof.core.errors import NotModelled, UsageError
from tests.api.templates import BUCKET, environment, resolved

CHAIN = """
Parameters:
  Extra: {Type: String, Default: "no"}
Conditions:
  HasExtra: !Equals [!Ref Extra, "yes"]
Resources:
  Service:
    Type: AWS::ECS::Service
    DependsOn: Listener
    Properties: {Cluster: !Ref Cluster, Extra: !If [HasExtra, !Ref Sidecar, !Ref AWS::NoValue]}
  Listener: {Type: L, Properties: {Arn: !Sub "${Group.Arn}/x"}}
  Group: {Type: G}
  Cluster: {Type: C}
  Sidecar: {Type: S, Condition: HasExtra, DependsOn: [Group, Cluster]}
Outputs:
  Cluster: {Value: !Ref Cluster, Export: {Name: !Sub "${AWS::StackName}-Cluster"}}
  Sidecar: {Value: !Ref Sidecar, Condition: HasExtra}
"""


def test_conditioned_resources_and_outputs_drop_out() -> None:
    without = resolved(CHAIN)
    assert list(without.resources) == ["Service", "Listener", "Group", "Cluster"]
    assert without.resources["Service"].properties == {"Cluster": "<Cluster>"}
    assert list(without.outputs) == ["Cluster"]
    assert without.conditions == {"HasExtra": False}
    extra = resolved(CHAIN, {"Extra": "yes"})
    assert extra.resources["Service"].properties == {"Cluster": "<Cluster>", "Extra": "<Sidecar>"}
    assert list(extra.outputs) == ["Cluster", "Sidecar"]


def test_exports_are_listed_by_their_names() -> None:
    assert resolved(CHAIN, {"AWS::StackName": "blue"}).exports == {"blue-Cluster": "<Cluster>"}


def test_resources_come_after_what_they_refer_to() -> None:
    order = environment(CHAIN, {"Extra": "yes"}).creation_order()
    assert sorted(order) == ["Cluster", "Group", "Listener", "Service", "Sidecar"]
    for later, earlier in [
        ("Service", "Listener"),
        ("Service", "Sidecar"),
        ("Listener", "Group"),
        ("Sidecar", "Group"),
    ]:
        assert order.index(earlier) < order.index(later)


def test_a_placeholder_knows_its_resource() -> None:
    value = resolved(CHAIN).resources["Service"].properties["Cluster"]
    assert isinstance(value, Placeholder)
    assert (value.template, value.logical_id, value.attribute) == ("t.yaml", "Cluster", "")


def test_a_resource_says_where_a_property_stands() -> None:
    assert resolved(CHAIN).resources["Service"].where("Cluster") == "t.yaml:10: Resources.Service.Properties.Cluster"


def test_live_values_take_the_place_of_placeholders() -> None:
    live = {("Group", "Arn"): "arn:group"}
    env = environment(CHAIN, strict=True, deployed=live)
    assert env.resource("Listener").properties == {"Arn": "arn:group/x"}
    with pytest.raises(UsageError, match="Cluster is not known yet"):
        env.resource("Service")
    live[("Cluster", "")] = "mcp"
    assert env.resource("Service").properties == {"Cluster": "mcp"}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("!Equals [a, a]", True),
        ("!Equals [2, '2']", True),
        ("!Equals [true, 'true']", True),
        ("!Equals [!Ref Zone, b]", False),
        ("!Equals [[a], [a]]", True),
        ("!And [!Condition One, !Equals [a, a]]", True),
        ("!And [!Condition One, !Condition Two]", False),
        ("!Or [!Condition Two, !Condition One]", True),
        ("!Or [{Condition: Two}, !Not [{Condition: One}]]", False),
        ("!Not [!Condition One]", False),
        ("!Condition One", True),
    ],
)
def test_a_condition_holds(expression: str, holds: bool) -> None:
    text = f"""
Parameters: {{Zone: {{Type: String, Default: a}}}}
Conditions:
  Result: {expression}
  One: !Equals [!Ref Zone, a]
  Two: !Not [!Condition One]
{BUCKET}
"""
    assert resolved(text).conditions["Result"] is holds


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("!Equals [a]", "Fn::Equals takes two values, not 1"),
        ("!Not [!Equals [a, a], !Equals [a, a]]", "Fn::Not takes one condition, not 2"),
        ("!And [!Equals [a, a]]", "Fn::And takes 2 to 10 conditions, not 1"),
        ("!Or text", "Fn::Or takes 2 to 10 conditions, not 0"),
        ("!Condition Missing", "'Missing' is no condition of the template"),
        ("!And [!Condition A, !Equals [a, a]]", "circular conditions: A -> A"),
        ("!Condition B", "circular conditions: A -> B -> A"),
        ("'yes'", "a condition is Fn::Equals, Fn::And"),
        ("{}", "a condition is Fn::Equals, Fn::And"),
        ("!Equals [!Ref Bucket, a]", "Bucket is not known yet"),
    ],
)
def test_a_condition_that_cannot_be_decided_is_refused(expression: str, message: str) -> None:
    strict = "not known yet" in message
    with pytest.raises(UsageError) as caught:
        resolved(f"Conditions:\n  A: {expression}\n  B: !Condition A\n{BUCKET}\n", strict=strict)
    assert message in caught.value.message
    assert caught.value.message.startswith("t.yaml:2: Conditions.A")


def test_a_function_of_rules_is_not_a_condition() -> None:
    with pytest.raises(NotModelled, match="Fn::Contains is not supported in a condition"):
        resolved(f"Conditions:\n  A: {{'Fn::Contains': [[a], a]}}\n{BUCKET}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Resources:\n  A: {Type: T, DependsOn: B}\n", "t.yaml:2: Resources.A.DependsOn: 'B' is no resource"),
        ("Resources:\n  A: {Type: T, Condition: C}\n", "t.yaml:2: Resources.A.Condition: 'C' is no condition"),
        ("Resources:\n  A: {Properties: {}}\n", "t.yaml:2: Resources.A: a resource needs a Type"),
        ("Resources:\n  A: {Type: T, Properties: [1]}\n", "Properties: must be a mapping of properties"),
        ("Resources:\n  A: {Type: T, DependsOn: A}\n", "circular dependency: A -> A"),
        (
            "Resources:\n  A: {Type: T, Properties: {X: !Ref B}}\n  B: {Type: T, Properties: {X: !GetAtt A.Y}}\n",
            "circular dependency: ",
        ),
        (f"{BUCKET}\nOutputs:\n  O: {{Description: x}}\n", "t.yaml:3: Outputs.O: an output needs a Value"),
        (f"{BUCKET}\nOutputs:\n  O: {{Value: x, Export: y}}\n", "t.yaml:3: Outputs.O.Export: Export takes a Name"),
        (
            "Conditions: {HasA: !Equals [a, b]}\n"
            "Resources:\n  A: {Type: T, Condition: HasA}\n  B: {Type: T, Properties: {X: !Ref A}}\n",
            "refers to A, which is not created: its condition HasA does not hold",
        ),
        (
            "Resources:\n  A: {Type: T, Properties: {X: !If [C, !Ref Nowhere, 1]}}\nConditions: {C: !Equals [a, b]}\n",
            "t.yaml:2: Resources.A.Properties.X.Fn::If[1].Ref: 'Nowhere' is neither",
        ),
    ],
)
def test_a_template_that_cannot_be_deployed_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(text)
    assert message in caught.value.message


def test_a_branch_that_is_not_taken_makes_no_circle() -> None:
    text = """
Conditions: {Both: !Equals [a, b]}
Resources:
  A: {Type: T, Properties: {X: !If [Both, !Ref B, 1]}}
  B: {Type: T, Properties: {X: !Ref A}}
"""
    assert environment(text).creation_order() == ["A", "B"]


@pytest.mark.parametrize("transform", ["AWS::Serverless-2016-10-31", "[AWS::LanguageExtensions, AWS::Include]"])
def test_a_transform_is_named(transform: str) -> None:
    with pytest.raises(NotModelled, match=r"t\.yaml:1: Transform: the transform AWS::\S+ is not supported"):
        resolved(f"Transform: {transform}\n{BUCKET}\n")


def test_an_import_is_what_another_stack_exports() -> None:
    text = "Resources:\n  A: {Type: T, Properties: {X: !ImportValue base-Vpc}}\n"
    assert resolved(text, imports={"base-Vpc": "vpc-1"}).resources["A"].properties == {"X": "vpc-1"}
    with pytest.raises(UsageError, match=r"t\.yaml:2: .*: no export named 'base-Vpc'") as caught:
        resolved(text, imports={"base-Subnet": "x"})
    assert caught.value.hint == "exported are base-Subnet"
    with pytest.raises(UsageError) as caught:
        resolved(text, imports={})
    assert "give the template that exports it" in caught.value.hint
    with pytest.raises(UsageError, match="no export named"):
        resolved(text, strict=True)


def test_names_asked_for_by_hand_are_checked_too() -> None:
    env = environment(CHAIN)
    with pytest.raises(UsageError, match="'Nobody' is no resource"):
        env.attribute("Nobody", "", ("Resources",))
    with pytest.raises(UsageError, match="'Never' is no condition"):
        env.condition("Never", ("Conditions",))
