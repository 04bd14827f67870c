from __future__ import annotations

from pathlib import Path

import pytest

from rollproof.api.config import Config, load_config
from rollproof.core.errors import UsageError
from rollproof.probe.options import Activity, CookieMode, ProbeOptions

FULL = """
[template]
files = ["aws/infrastructure.yaml", "aws/ecs.yaml"]
service = "Service"

[template.parameters]
DesiredCount = 3
"AWS::Region" = "eu-west-1"

[template.imports]
net-Vpc = "vpc-1"

[set]
deregistration_delay_s = 30
"stickiness.enabled" = true
drain_propagation_s = 0.5
command = ["python", "-m", "app"]
"environment.A" = "x"

[server]
app = "module:factory"
[server.env]
DEBUG = 1

[probe]
sessions = 20
delay_s = 1
cookies = "first"
open_streams = true
headers = { Authorization = "Bearer x" }
"""


def _load(directory: Path, text: str) -> Config:
    path = directory / "rollproof.toml"
    path.write_text(text)
    return load_config(path)


def test_a_full_file_is_read(tmp_path: Path) -> None:
    config = _load(tmp_path, FULL)
    assert config.template_files == (tmp_path / "aws/infrastructure.yaml", tmp_path / "aws/ecs.yaml")
    assert config.service == "Service"
    assert config.template_parameters == {"DesiredCount": "3", "AWS::Region": "eu-west-1"}
    assert config.template_imports == {"net-Vpc": "vpc-1"}
    assert config.overrides == {
        "deregistration_delay_s": "30",
        "stickiness.enabled": "true",
        "drain_propagation_s": "0.5",
        "command": '["python", "-m", "app"]',
        "environment.A": "x",
    }
    assert (config.app, config.command, config.env) == ("module:factory", "", {"DEBUG": "1"})
    options = ProbeOptions(endpoint="http://127.0.0.1:1/mcp", **config.probe)
    assert (options.sessions, options.delay_s, options.cookies, options.open_streams) == (
        20,
        1.0,
        CookieMode.FIRST,
        True,
    )
    assert config.source == "rollproof.toml"


def test_activities_are_a_list_of_names(tmp_path: Path) -> None:
    config = _load(tmp_path, "[probe]\nactivities = ['roots', 'stream', 'roots']\n")
    assert config.probe == {"activities": (Activity.ROOTS, Activity.STREAM)}


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert _load(tmp_path, "") == Config(path=tmp_path / "rollproof.toml")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[tempalte]\n", ":1: unknown table [tempalte]", "did you mean 'template'?"),
        ("[xyz]\n", ":1: unknown table [xyz]", "there are template, set, server, probe"),
        ("\n[template]\nfile = ['a']\n", ":3: unknown key 'file' in [template]", "did you mean 'files'?"),
        ("[set]\n\ndesired_cont = 3\n", ":3: unknown knob 'desired_cont'", "desired_count"),
        ("[probe]\nsession = 3\n", ":2: unknown key 'session' in [probe]", "did you mean 'sessions'?"),
        ("[probe]\nendpoint = 'x'\n", ":2: unknown key 'endpoint' in [probe]", ""),
        ("[probe]\nsessions = 'many'\n", ":2: sessions must be int, not 'many'", ""),
        ("[probe]\nsessions = true\n", ":2: sessions must be int, not True", ""),
        ("[probe]\nheaders = 1\n", ":2: headers must be a table, not 1", ""),
        ("[probe]\nactivities = ['sing']\n", ":2: activities is a list of some of elicitation, ", ""),
        ("[probe]\nactivities = 'roots'\n", ":2: activities is a list of some of elicitation, ", ""),
        ("[probe]\ncookies = 'some'\n", ":2: cookies is one of full, first, none, not 'some'", ""),
        ("[template]\nfiles = 'a'\n", ":2: files must be a list of paths", ""),
        ("[template]\nparameters = 3\n", ":2: [template.parameters] must be a table", ""),
        ("[template]\nservice = 3\n", ":2: service must be text", ""),
        ("[template.parameters]\nA = [1]\n", ":2: A must be text, a number, true or false", ""),
        ("[set]\ncommand = [1]\n", ":2: command must be text, a number", ""),
        ("set = 3\n", ":1: [set] must be a table", ""),
        ("[server]\napp = 'a:b'\ncommand = 'c'\n", ":3: app and command exclude each other", ""),
        ("[set\n", ": not valid TOML: ", ""),
        ("server = { app = 'a', comand = 'c' }\n", ": unknown key 'comand' in [server]", "did you mean 'command'?"),
    ],
)
def test_what_the_file_should_not_say_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _load(tmp_path, text)
    assert f"rollproof.toml{message}" in caught.value.message
    assert hint in caught.value.hint


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rollproof\.toml: No such file"):
        load_config(tmp_path / "rollproof.toml")
    (tmp_path / "rollproof.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"rollproof\.toml: not UTF-8"):
        load_config(tmp_path / "rollproof.toml")
