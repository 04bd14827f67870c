from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from rollproof.api.stacks import Exports, Stacks, resolve_stacks
from rollproof.core.errors import UsageError

BASE = """
Parameters: {Zone: {Type: String, Default: a}}
Resources: {Vpc: {Type: V, Properties: {Zone: !Ref Zone}}, Group: {Type: G}}
Outputs:
  Vpc: {Value: !Ref Vpc, Export: {Name: !Sub "${AWS::StackName}-Vpc"}}
  Group: {Value: !Ref Group, Export: {Name: !Sub "${AWS::StackName}-Security-Group"}}
  Fixed: {Value: !Ref Zone, Export: {Name: shared-zone}}
"""
MIDDLE = """
Resources: {Balancer: {Type: B, Properties: {Vpc: !ImportValue net-Vpc}}}
Outputs:
  Vpc: {Value: !ImportValue net-Vpc, Export: {Name: !Sub "${AWS::StackName}-Passed-Vpc"}}
  Group: {Value: !Ref Balancer, Export: {Name: !Sub "${AWS::StackName}-Group"}}
"""
TOP = """
Parameters: {Base: {Type: String, Default: mid}, Zone: {Type: String, Default: b}}
Resources:
  Service:
    Type: S
    Properties:
      Vpc: !ImportValue {Fn::Sub: "${Base}-Passed-Vpc"}
      Group: !ImportValue net-Security-Group
      Zone: !ImportValue shared-zone
      Own: !Ref Zone
"""


def _resolve(
    directory: Path,
    texts: Mapping[str, str],
    parameters: Mapping[str, str] | None = None,
    imports: Mapping[str, str] | None = None,
) -> Stacks:
    paths = [directory / name for name in texts]
    for path in paths:
        path.write_text(texts[path.name])
    return resolve_stacks(paths, parameters or {}, imports)


@pytest.mark.parametrize("order", [("base", "middle", "top"), ("top", "middle", "base"), ("middle", "top", "base")])
def test_imports_are_resolved_through_any_number_of_stacks(tmp_path: Path, order: tuple[str, ...]) -> None:
    texts = {"base": BASE, "middle": MIDDLE, "top": TOP}
    stacks = _resolve(tmp_path, {name: texts[name] for name in order}, {"Zone": "c"})
    (service,) = stacks.of_type("S")
    assert service.properties == {"Vpc": "<Vpc>", "Group": "<Group>", "Zone": "c", "Own": "c"}
    vpc = stacks.follow(service.properties["Vpc"])
    assert vpc is not None
    assert (vpc.type, vpc.properties) == ("V", {"Zone": "c"})
    group = stacks.follow(service.properties["Group"])
    assert group is not None
    assert group.type == "G"  # not the other stack's "-Group", whose name fits less closely


def test_only_references_can_be_followed(tmp_path: Path) -> None:
    stacks = _resolve(tmp_path, {"base": BASE})
    assert stacks.follow("vpc-1") is None
    assert stacks.follow(None) is None
    (elsewhere,) = _resolve(
        tmp_path, {"top": "Resources: {A: {Type: T, Properties: {X: !Ref B}}, B: {Type: T}}"}
    ).stacks
    assert stacks.follow(elsewhere.resources["A"].properties["X"]) is None


def test_a_missing_export_is_named_with_file_and_line(tmp_path: Path) -> None:
    other = "Resources: {A: {Type: T}}\nOutputs: {O: {Value: x, Export: {Name: !Sub '${AWS::StackName}-O'}}}"
    with pytest.raises(UsageError, match=r"middle:2: .*Fn::ImportValue: no export named 'net-Vpc'") as caught:
        _resolve(tmp_path, {"middle": MIDDLE, "other": other}, imports={"a": "b"})
    assert caught.value.hint == "exported are a, <AWS::StackName>-O"


def test_a_stack_without_a_template_may_be_given_by_its_exports(tmp_path: Path) -> None:
    assert len(Exports([], {"a": "b"})) == 1
    stacks = _resolve(tmp_path, {"middle": MIDDLE}, imports={"net-Vpc": "vpc-1"})
    assert stacks.of_type("B")[0].properties == {"Vpc": "vpc-1"}


def test_an_import_that_fits_two_exports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than one template exports '<AWS::StackName>-Vpc'"):
        _resolve(tmp_path, {"base": BASE.replace("shared-zone", "other-zone"), "again": BASE, "middle": MIDDLE})


def test_a_parameter_that_no_template_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no parameter 'Zoen' in ") as caught:
        _resolve(tmp_path, {"base": BASE}, {"Zoen": "a"})
    assert caught.value.hint == "did you mean Zone?"
    with pytest.raises(UsageError) as caught:
        _resolve(tmp_path, {"base": BASE}, {"Colour": "a"})
    assert caught.value.hint == "there are Zone"


def test_no_template_and_the_same_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no template was given"):
        resolve_stacks([], {})
    (tmp_path / "base").write_text(BASE)
    with pytest.raises(UsageError, match="was given twice"):
        resolve_stacks([tmp_path / "base", tmp_path / "base"], {})
