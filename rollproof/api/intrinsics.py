"""CloudFormation's intrinsic functions, one Python function each. CFN-UG/intrinsic-function-reference.

A function gets the environment, its argument as written, and the argument's place for messages; it evaluates
what it needs of the argument itself, so that the branch an `Fn::If` does not take is never looked at. A list
that only a deployment can know (a placeholder where a list should be) makes the whole result a placeholder.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from rollproof.api.placeholder import Placeholder, joined, split
from rollproof.api.source import Place

if TYPE_CHECKING:
    from rollproof.api.template import Environment


NO_VALUE: Final = object()
"""What `AWS::NoValue` evaluates to: the property that holds it is dropped."""

Function = Callable[["Environment", Any, Place], Any]

_LANGUAGE_EXTENSIONS = ("Fn::Length", "Fn::ToJsonString")
_VARIABLE = re.compile(r"\$\{(!?)([^{}]*)\}")


def function_of(value: object) -> tuple[str, Any] | None:
    """("Fn::Sub", argument) when `value` is a call of an intrinsic function or a Ref, else None."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    (name, argument), *_ = value.items()
    return (name, argument) if name == "Ref" or name.startswith("Fn::") else None


def as_text(value: object) -> str | None:
    """A scalar as CloudFormation writes it into text; None for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Placeholder):
        return value
    return str(value) if isinstance(value, str | int | float) else None


def sub_variables(text: str) -> Iterator[str]:
    """The names in `${...}` of an Fn::Sub, without the `${!literal}` ones."""
    return (name for literal, name in _VARIABLE.findall(text) if not literal)


def call(env: Environment, name: str, argument: Any, place: Place) -> Any:
    """Evaluate one function. Raises UsageError, and NotModelled for a function that is not known here."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise env.not_modelled(place, f"the function {name} is not supported", known=sorted(FUNCTIONS))
    if name in _LANGUAGE_EXTENSIONS and not env.has_language_extensions:
        raise env.error(place, f"{name} needs Transform: AWS::LanguageExtensions at the top of the template")
    return function(env, argument, place)


def _ref(env: Environment, argument: Any, place: Place) -> Any:
    if not isinstance(argument, str):
        raise env.error(place, "Ref takes a name")
    return env.reference(argument, place)


def _get_att(env: Environment, argument: Any, place: Place) -> Any:
    parts = argument.split(".", 1) if isinstance(argument, str) else argument
    if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[0], str):
        raise env.error(place, "Fn::GetAtt takes a resource and one of its attributes: Resource.Attribute")
    return env.attribute(parts[0], _text(env, parts[1], (*place, 1), "the attribute of Fn::GetAtt"), place)


def _sub(env: Environment, argument: Any, place: Place) -> Any:
    text, own = argument, {}
    if isinstance(argument, list) and len(argument) == 2 and isinstance(argument[1], Mapping):
        text = argument[0]
        own = {name: env.evaluate(value, (*place, 1, name)) for name, value in argument[1].items()}
    if not isinstance(text, str):
        raise env.error(place, "Fn::Sub takes a text, or a list of a text and a mapping of variables")
    parts: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        literal, name = match.groups()
        parts += [text[end : match.start()], "${" + name + "}" if literal else _variable(env, name, own, place)]
        end = match.end()
    return joined([part for part in [*parts, text[end:]] if part])


def _variable(env: Environment, name: str, own: Mapping[str, Any], place: Place) -> str:
    if name in own:
        value = own[name]
    elif "." in name:
        resource, attribute = name.split(".", 1)
        value = env.attribute(resource, attribute, place)
    else:
        value = env.reference(name, place)
    text = as_text(value)
    if text is None:
        raise env.error(place, f"Fn::Sub cannot write ${{{name}}}: it is {_kind(value)}, not text")
    return text


def _join(env: Environment, argument: Any, place: Place) -> Any:
    separator, items = _pair(env, argument, place, "Fn::Join takes a separator and a list")
    if isinstance(items, Placeholder):
        return items
    if not isinstance(separator, str) or not isinstance(items, list):
        raise env.error(place, "Fn::Join takes a separator and a list")
    texts = [as_text(item) for item in items]
    for index, text in enumerate(texts):
        if text is None:
            raise env.error(place, f"item {index} of Fn::Join is {_kind(items[index])}, not text")
    parts = [part for text in texts for part in (separator, text) if part is not None][1:]
    return joined([part for part in parts if part])


def _select(env: Environment, argument: Any, place: Place) -> Any:
    index, items = _pair(env, argument, place, "Fn::Select takes an index and a list")
    text = as_text(index)
    if text is None or not text.isdigit():
        raise env.error(place, f"the index of Fn::Select is {index!r}, not a whole number")
    if isinstance(items, Placeholder):
        return Placeholder(f"{items}[{text}]")
    if not isinstance(items, list):
        raise env.error(place, f"the second argument of Fn::Select must be a list, not {_kind(items)}")
    if int(text) >= len(items):
        raise env.error(place, f"Fn::Select: there is no item {text}, counted from 0, in a list of {len(items)}")
    return items[int(text)]


def _split(env: Environment, argument: Any, place: Place) -> Any:
    separator, text = _pair(env, argument, place, "Fn::Split takes a separator and a text")
    if not isinstance(separator, str) or not separator or as_text(text) is None:
        raise env.error(place, "Fn::Split takes a separator and a text")
    return split(as_text(text) or "", separator)


def _find_in_map(env: Environment, argument: Any, place: Place) -> Any:
    usage = "Fn::FindInMap takes a mapping's name, a top-level key and a second-level key"
    if not isinstance(argument, list) or len(argument) not in (3, 4):
        raise env.error(place, usage)
    keys = [_text(env, part, (*place, index), usage) for index, part in enumerate(argument[:3])]
    found: Any = env.template.section("Mappings")
    for depth, key in enumerate(keys):
        if isinstance(found, Mapping) and key in found:
            found = found[key]
            continue
        if len(argument) == 4 and isinstance(argument[3], Mapping) and "DefaultValue" in argument[3]:
            return env.evaluate(argument[3]["DefaultValue"], (*place, 3, "DefaultValue"))
        where = "the template's Mappings" if depth == 0 else f"mapping {'.'.join(keys[:depth])}"
        known = ", ".join(found) if isinstance(found, Mapping) else ""
        raise env.error(place, f"Fn::FindInMap: {where} has no {key!r}", hint=f"it has {known}" if known else "")
    return found


def _if(env: Environment, argument: Any, place: Place) -> Any:
    if not isinstance(argument, list) or len(argument) != 3 or not isinstance(argument[0], str):
        raise env.error(place, "Fn::If takes a condition's name and two values")
    branch = 1 if env.condition(argument[0], place) else 2
    return env.evaluate(argument[branch], (*place, branch))


def _base64(env: Environment, argument: Any, place: Place) -> Any:
    text = _text(env, argument, place, "Fn::Base64 takes a text")
    if isinstance(text, Placeholder):
        return Placeholder(f"<base64 of {text}>")
    return base64.b64encode(text.encode()).decode("ascii")


def _cidr(env: Environment, argument: Any, place: Place) -> Any:
    """`[block, count, bits]`: `count` blocks of 2**bits addresses each, from the start of `block`."""
    usage = "Fn::Cidr takes an address block, a count of 1 to 256, and the number of host bits"
    if not isinstance(argument, list) or len(argument) not in (2, 3):
        raise env.error(place, usage)
    block, count, bits = (env.evaluate(part, (*place, index)) for index, part in enumerate([*argument, 8][:3]))
    if isinstance(block, Placeholder):
        return Placeholder(f"<blocks of {block}>")
    try:
        network = ipaddress.ip_network(str(block))
        number, prefix = int(count), network.max_prefixlen - int(bits)
    except (ValueError, TypeError) as error:
        raise env.error(place, f"{usage}: {error}") from error
    room = 2 ** (prefix - network.prefixlen) if network.prefixlen <= prefix <= network.max_prefixlen else 0
    if not 1 <= number <= 256 or number > room:
        raise env.error(place, f"{network} has room for {room} blocks of {bits} host bits, not for {number}")
    size = 2 ** int(bits)
    first = int(network.network_address)
    kind = type(network.network_address)
    return [f"{kind(first + index * size)}/{prefix}" for index in range(number)]


def _get_azs(env: Environment, argument: Any, place: Place) -> Any:
    return env.availability_zones(_text(env, argument, place, "Fn::GetAZs takes a region, or an empty text"))


def _import_value(env: Environment, argument: Any, place: Place) -> Any:
    return env.imported(_text(env, argument, place, "Fn::ImportValue takes the name of an export"), place)


def _to_json_string(env: Environment, argument: Any, place: Place) -> Any:
    value = env.evaluate(argument, place)
    if as_text(value) is not None:
        raise env.error(place, "Fn::ToJsonString takes a mapping or a list")
    text = json.dumps(value, separators=(",", ":"))
    return Placeholder(text) if _has_placeholder(value) else text


def _length(env: Environment, argument: Any, place: Place) -> Any:
    value = env.evaluate(argument, place)
    if isinstance(value, Placeholder):
        return Placeholder(f"<length of {value}>")
    if not isinstance(value, list):
        raise env.error(place, f"Fn::Length takes a list, not {_kind(value)}")
    return len(value)


def _condition_only(env: Environment, _argument: Any, place: Place) -> Any:
    raise env.error(place, f"{place[-1]} stands in Conditions only; use its condition in Fn::If")


FUNCTIONS: Mapping[str, Function] = {
    "Ref": _ref,
    "Fn::GetAtt": _get_att,
    "Fn::Sub": _sub,
    "Fn::Join": _join,
    "Fn::Select": _select,
    "Fn::Split": _split,
    "Fn::FindInMap": _find_in_map,
    "Fn::If": _if,
    "Fn::Base64": _base64,
    "Fn::Cidr": _cidr,
    "Fn::GetAZs": _get_azs,
    "Fn::ImportValue": _import_value,
    "Fn::ToJsonString": _to_json_string,
    "Fn::Length": _length,
    "Fn::And": _condition_only,
    "Fn::Or": _condition_only,
    "Fn::Not": _condition_only,
    "Fn::Equals": _condition_only,
}


def _pair(env: Environment, argument: Any, place: Place, usage: str) -> tuple[Any, Any]:
    if not isinstance(argument, list) or len(argument) != 2:
        raise env.error(place, usage)
    return env.evaluate(argument[0], (*place, 0)), env.evaluate(argument[1], (*place, 1))


def _text(env: Environment, argument: Any, place: Place, usage: str) -> str:
    text = as_text(env.evaluate(argument, place))
    if text is None:
        raise env.error(place, usage)
    return text


def _has_placeholder(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_placeholder(item) for item in value.values())
    return any(_has_placeholder(item) for item in value) if isinstance(value, list) else isinstance(value, Placeholder)


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else "nothing"
