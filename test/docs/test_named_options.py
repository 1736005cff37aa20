"""Commands, options, launch arguments and settings that the documents name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pages import PAGES, ROOT, blocks

from hfnet_core.cli.main import app
from hfnet_core.config import EngineConfig, ExtractorConfig, LocalizerConfig, NodeConfig, from_mapping, settings_of

SHOWN = [*PAGES, Path("hfnet_core/models/README.md"), Path("hfnet_core/features/backends/tensorrt/README.md")]
GROUPS = {"engine": EngineConfig, "extractor": ExtractorConfig, "localizer": LocalizerConfig}


def commands(text: str) -> Iterator[list[str]]:
    """Words of every `hfnet ...` in code: a line of a block, or between backticks."""
    unbroken = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^ +hfnet .*$|^hfnet .*$", unbroken, re.MULTILINE) + re.findall(r"`(hfnet [^`]+)`", unbroken)
    for line in lines:
        yield re.split(r"\s#|\s&&|;", line)[0].split()


def find(words: list[str]) -> tuple[Any, str, list[str]]:
    """The command that words name, its name, and what remains of them."""
    found: Any = typer.main.get_command(app)  # typer brings a click of its own, so no type is asked for
    name, rest = words[0], words[1:]
    while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in found.commands, f"{name} has no command {rest[0]!r}"
        found, name, rest = found.commands[rest[0]], f"{name} {rest[0]}", rest[1:]
    return found, name, rest


@pytest.mark.parametrize("page", SHOWN, ids=str)
def test_options_of_commands_exist(page: Path) -> None:
    for words in commands((ROOT / page).read_text()):
        if re.search(r"[|…]", " ".join(words[1:3])):  # several commands in one breath
            continue
        command, name, rest = find(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for option in (word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)):
            assert option in known | {"--help"}, f"{page}: {name} has no option {option}"


def test_the_search_for_commands_finds_them() -> None:
    found = [" ".join(words[:3]) for page in SHOWN for words in commands((ROOT / page).read_text())]
    assert {"hfnet map build", "hfnet bench localize", "hfnet eval-bag hall.hfmap"} <= set(found)


def test_launch_arguments_exist() -> None:
    for page in SHOWN:
        text = re.sub(r"\\\n\s*", " ", (ROOT / page).read_text())
        for name, rest in re.findall(r"ros2 launch hfnet_ros (\S+\.launch\.py)([^`\n]*)", text):
            declared = (ROOT / "launch" / name).read_text()
            for argument in re.findall(r"(\w+):=", rest):
                assert f'"{argument}":' in declared, f"{page}: {name} has no argument {argument}"


def test_settings_exist() -> None:
    for page in SHOWN:
        for group, name in re.findall(r"`(engine|extractor|localizer)\.([a-z]\w+)", (ROOT / page).read_text()):
            known = {item.name for item in settings_of(GROUPS[group])}
            assert name in known or any(one.startswith(name) for one in known), f"{page}: no setting {group}.{name}"


def test_parameters_of_the_node_in_yaml_are_accepted() -> None:
    shown = [yaml.safe_load(block.body) for block in blocks(Path("docs/robot.md")) if block.language == "yaml"]
    nodes = [part["localization"]["ros__parameters"] for part in shown if "localization" in part]
    assert len(nodes) >= 2
    for values in nodes:
        from_mapping(NodeConfig, values)  # raises where a name or a value is wrong
