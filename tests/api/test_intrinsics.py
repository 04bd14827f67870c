from __future__ import annotations

import ipaddress
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.api.placeholder import Placeholder, joined, split
from rollproof.core.errors import NotModelled, UsageError
from tests.api.templates import evaluated

PREAMBLE = """
Transform: AWS::LanguageExtensions
Parameters:
  Name: {Type: String, Default: web}
  Count: {Type: Number, Default: 3}
  Zones: {Type: CommaDelimitedList, Default: "a, b,c"}
Mappings:
  Sizes: {small: {cpu: 256}, large: {cpu: 1024, list: [1, 2]}}
Conditions:
  IsWeb: !Equals [!Ref Name, web]
  IsOther: !Not [!Condition IsWeb]
"""


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("!Ref Name", "web"),
        ("!Ref Count", 3),
        ("!Ref Zones", ["a", "b", "c"]),
        ("!Ref Bucket", "<Bucket>"),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref AWS::AccountId", "123456789012"),
        ("!Ref AWS::Partition", "aws"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        ("!Ref AWS::StackName", "<AWS::StackName>"),
        ("!Ref AWS::NotificationARNs", []),
        ("!GetAtt Bucket.Arn", "<Bucket.Arn>"),
        ("!GetAtt [Bucket, !Ref Name]", "<Bucket.web>"),
        ("!Sub '${Name}-${Count}-${!Name}-${Bucket}-${Bucket.Arn}'", "web-3-${Name}-<Bucket>-<Bucket.Arn>"),
        ("!Sub 'arn:${AWS::Partition}:s3:::x'", "arn:aws:s3:::x"),
        ("!Sub ['${Name}/${own}', {own: !Ref Count}]", "web/3"),
        ("!Sub ['${Name}', {Name: shadowed}]", "shadowed"),
        ("!Sub ''", ""),
        ("!Join ['-', [a, !Ref Count, true]]", "a-3-true"),
        ("!Join ['', !Ref Zones]", "abc"),
        ("!Join [',', []]", ""),
        ("!Join ['-', [a, '', b]]", "a--b"),
        ("!Join [',', [a, !Ref AWS::NoValue, b]]", "a,b"),
        ("!Join [',', !GetAtt Bucket.Names]", "<Bucket.Names>"),
        ("!Select [1, [a, b]]", "b"),
        ("!Select ['0', !Ref Zones]", "a"),
        ("!Select [2, !GetAtt Bucket.Names]", "<Bucket.Names>[2]"),
        ("!Split [',', 'a,b,,c']", ["a", "b", "", "c"]),
        ("!Split ['-', !Sub '${Name}-x']", ["web", "x"]),
        ("!Split [':', !GetAtt Bucket.Arn]", "<Bucket.Arn> split at ':'"),
        ("!Select [1, !Split ['/', !GetAtt Bucket.Arn]]", "<Bucket.Arn> split at '/'[1]"),
        ("!Split [',', !Join [',', [!Ref Bucket, x, !Sub '${Bucket}/y']]]", ["<Bucket>", "x", "<Bucket>/y"]),
        ("!Split ['::', !Sub 'a::${AWS::StackName}']", "a::<AWS::StackName> split at '::'"),
        ("!FindInMap [Sizes, small, cpu]", 256),
        ("!FindInMap [Sizes, large, list]", [1, 2]),
        ("!FindInMap [Sizes, !Ref Name, cpu, {DefaultValue: !Ref Count}]", 3),
        ("!If [IsWeb, a, !Select [9, []]]", "a"),
        ("!If [IsOther, !Select [9, []], b]", "b"),
        ("!Base64 'hällo'", "aMOkbGxv"),
        ("!Base64 {Ref: Bucket}", "<base64 of <Bucket>>"),
        ("!Cidr [10.0.0.0/16, 3, 8]", ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]),
        ("!Cidr ['10.0.0.0/24', 2]", None),
        ("!Cidr [!GetAtt Bucket.Cidr, 2, 8]", "<blocks of <Bucket.Cidr>>"),
        ("!Select [1, !Cidr ['2001:db8::/56', '2', '64']]", "2001:db8:0:1::/64"),
        ("!GetAZs ''", ["us-east-1a", "us-east-1b", "us-east-1c"]),
        ("!GetAZs eu-west-1", ["eu-west-1a", "eu-west-1b", "eu-west-1c"]),
        ("!Select [0, !GetAZs {Ref: AWS::Region}]", "us-east-1a"),
        ("!ImportValue other-Vpc", "<import:other-Vpc>"),
        ("!ToJsonString {a: [1, !Ref Name]}", '{"a":[1,"web"]}'),
        ("!ToJsonString {a: !Ref Bucket}", '{"a":"<Bucket>"}'),
        ("!ToJsonString [{a: 1}]", '[{"a":1}]'),
        ("!Length {Ref: Zones}", 3),
        ("!Length [1, 2]", 2),
        ("!Length {Fn::GetAtt: [Bucket, Names]}", "<length of <Bucket.Names>>"),
        ("{a: !Ref AWS::NoValue, b: [!Ref AWS::NoValue, 1]}", {"b": [1]}),
        ("{Condition: {StringEquals: {x: !Ref Name}}}", {"Condition": {"StringEquals": {"x": "web"}}}),
    ],
)
def test_a_function_gives(expression: str, value: Any) -> None:
    if value is None:
        with pytest.raises(UsageError, match="has room for 1 blocks of 8 host bits, not for 2"):
            evaluated(expression, PREAMBLE)
        return
    assert evaluated(expression, PREAMBLE) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("!Ref Nmae", "Outputs.Result.Value.Ref: 'Nmae' is neither a parameter nor a resource"),
        ("!Ref [a]", "Ref takes a name"),
        ("!GetAtt Bukcet.Arn", "'Bukcet' is no resource"),
        ("!GetAtt Bucket", "Fn::GetAtt takes a resource and one of its attributes"),
        ("!GetAtt [Bucket, [a]]", "the attribute of Fn::GetAtt"),
        ("!GetAtt Name.Arn", "'Name' is no resource"),
        ("!Sub '${Nmae}'", "'Nmae' is neither"),
        ("!Sub '${Bukcet.Arn}'", "'Bukcet' is no resource"),
        ("!Sub '${Zones}'", "cannot write ${Zones}: it is a list, not text"),
        ("!Sub ['${x}', {x: {y: 1}}]", "cannot write ${x}: it is a mapping, not text"),
        ("!Sub [a, b, c]", "Fn::Sub takes a text"),
        ("!Sub {a: b}", "Fn::Sub takes a text"),
        ("!Join ['-']", "Fn::Join takes a separator and a list"),
        ("!Join ['-', text]", "Fn::Join takes a separator and a list"),
        ("!Join [[], []]", "Fn::Join takes a separator and a list"),
        ("!Join ['-', [[a]]]", "item 0 of Fn::Join is a list, not text"),
        ("!Select [0]", "Fn::Select takes an index and a list"),
        ("!Select [two, [a]]", "the index of Fn::Select is 'two'"),
        ("!Select [-1, [a]]", "the index of Fn::Select is -1"),
        ("!Select [[], [a]]", "the index of Fn::Select is []"),
        ("!Select [2, [a, b]]", "there is no item 2, counted from 0, in a list of 2"),
        ("!Select [0, {a: b}]", "must be a list, not a mapping"),
        ("!Split ['', abc]", "Fn::Split takes a separator and a text"),
        ("!Split [',', [a]]", "Fn::Split takes a separator and a text"),
        ("!FindInMap [Sizes, small]", "Fn::FindInMap takes a mapping's name"),
        ("!FindInMap [Size, small, cpu]", "the template's Mappings has no 'Size'"),
        ("!FindInMap [Sizes, tiny, cpu]", "mapping Sizes has no 'tiny'"),
        ("!FindInMap [Sizes, small, memory]", "mapping Sizes.small has no 'memory'"),
        ("!If [Maybe, a, b]", "'Maybe' is no condition"),
        ("!If [IsWeb, a]", "Fn::If takes a condition's name and two values"),
        ("!Base64 [a]", "Fn::Base64 takes a text"),
        ("!Cidr [10.0.0.0/16]", "Fn::Cidr takes an address block"),
        ("!Cidr [ten, 1, 8]", "Fn::Cidr takes an address block"),
        ("!Cidr [10.0.0.0/16, many, 8]", "Fn::Cidr takes an address block"),
        ("!Cidr [10.0.0.0/16, 257, 8]", "not for 257"),
        ("!Cidr [10.0.0.0/16, 1, 40]", "has room for 0 blocks"),
        ("!GetAZs [a]", "Fn::GetAZs takes a region"),
        ("!ImportValue [a]", "Fn::ImportValue takes the name of an export"),
        ("!ToJsonString text", "Fn::ToJsonString takes a mapping or a list"),
        ("!Length text", "Fn::Length takes a list"),
        ("!Equals [a, b]", "Fn::Equals stands in Conditions only"),
        ("{Fn::Sub: a, b: c}", "Fn::Sub must be the only key where it stands"),
    ],
)
def test_a_wrong_argument_is_named_with_file_and_line(expression: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        evaluated(expression, PREAMBLE)
    assert message in caught.value.message
    assert caught.value.message.startswith("t.yaml:16: ")


@pytest.mark.parametrize("expression", ["!Transform {Name: AWS::Include}", "!ForEach [x, [a], {}]", "!Invented x"])
def test_a_function_that_is_not_known_is_named(expression: str) -> None:
    with pytest.raises(NotModelled, match=r"t\.yaml:16: .*the function Fn::\w+ is not supported") as caught:
        evaluated(expression, PREAMBLE)
    assert "Fn::Sub" in caught.value.hint


@pytest.mark.parametrize("expression", ["!Length [1]", "!ToJsonString [1]"])
def test_language_extensions_need_their_transform(expression: str) -> None:
    with pytest.raises(UsageError, match="needs Transform: AWS::LanguageExtensions"):
        evaluated(expression)


def test_a_nearest_name_is_offered() -> None:
    with pytest.raises(UsageError) as caught:
        evaluated("!Ref Buckett", PREAMBLE)
    assert caught.value.hint == "did you mean 'Bucket'?"


@pytest.mark.parametrize(
    ("region", "partition", "suffix"),
    [
        ("eu-west-1", "aws", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
    ],
)
def test_pseudo_parameters_follow_the_region(region: str, partition: str, suffix: str) -> None:
    given = {"AWS::Region": region, "AWS::StackName": "blue"}
    expression = "!Sub '${AWS::Region} ${AWS::Partition} ${AWS::URLSuffix} ${AWS::StackName}'"
    assert evaluated(expression, parameters=given) == f"{region} {partition} {suffix} blue"
    assert evaluated("!GetAZs ''", parameters=given)[0] == f"{region}a"


@pytest.mark.parametrize("name", ["AWS::Planet", "AWS::NoValue"])
def test_a_pseudo_parameter_that_cannot_be_given_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no pseudo parameter"):
        evaluated("x", parameters={name: "x"})


@given(st.integers(8, 24), st.integers(1, 30), st.integers(2, 8))
def test_cidr_blocks_lie_in_the_block_and_do_not_overlap(prefix: int, count: int, bits: int) -> None:
    if count > 2 ** (32 - bits - prefix):
        return
    blocks = [ipaddress.ip_network(block) for block in evaluated(f"!Cidr [10.0.0.0/{prefix}, {count}, {bits}]")]
    whole = ipaddress.ip_network(f"10.0.0.0/{prefix}")
    assert len(blocks) == count
    assert all(block.subnet_of(whole) and block.num_addresses == 2**bits for block in blocks)  # type: ignore[arg-type]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(blocks))


@given(
    st.lists(st.sampled_from(["a", "b-b", "", Placeholder.of("t", "X"), Placeholder.of("t", "Y", "Arn")]), min_size=1)
)
def test_what_was_joined_is_split_again(items: list[str]) -> None:
    text = joined([part for item in items for part in (",", item)][1:])
    again = split(text, ",")
    if len(items) == 1 and isinstance(items[0], Placeholder):
        assert isinstance(again, Placeholder)
        return
    assert again == items
    assert [type(item) for item in again] == [type(item) for item in items]
