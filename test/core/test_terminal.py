"""Nothing that a map, bag or file name holds is obeyed by the terminal or taken for markup."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from drive import INFO, drive
from rich.table import Table

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import MapError, printable
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.maps.storage import save_map
from hfnet_core.terminal import PrintableFormatter, SafeConsole, styled

EVIL = "a\x1b[2J\x1b]0;t\x07\x9b31m\u202eb"


def test_control_characters_become_visible() -> None:
    assert printable(EVIL) == "a\\x1b[2J\\x1b]0;t\\x07\\x9b31m\\u202eb"
    assert printable("straße 日本 😀") == "straße 日本 😀"
    assert printable("a\nb\tc") == "a\\nb\\tc"
    assert printable("a\nb\tc\r", lines=True) == "a\nb\tc\\r"
    assert printable("\udc80") == "\\udc80"


def test_a_message_is_one_line_of_bounded_length_that_can_be_written() -> None:
    said = str(MapError(f"a.hfmap: frame 'a\udc80\n\x1b[2J{'x' * 10**6}': build it again"))
    assert said.startswith("a.hfmap: frame 'a\\udc80\\n\\x1b[2Jxxx")
    assert said.endswith("xxx': build it again")
    assert len(said) < 2000
    assert str(MapError("straße: fehlt")) == "straße: fehlt"


def shown(thing: object) -> str:
    file = io.StringIO()
    SafeConsole(file=file, force_terminal=False, width=200).print(thing)
    return file.getvalue()


def test_markup_and_emoji_codes_are_text() -> None:
    assert shown("run[lab]/drive.mcap :smile: [/]") == "run[lab]/drive.mcap :smile: [/]\n"
    table = Table("name", title="[red]" + EVIL)
    table.add_row("[bold]x[/bold]" + EVIL)
    text = shown(table)
    assert "[bold]x[/bold]a\\x1b[2J" in text
    assert "[red]a\\x1b" in text
    assert not any(character in text for character in "\x1b\x07\x9b\u202e")


def test_styled_text_keeps_our_colours_and_shows_theirs() -> None:
    file = io.StringIO()
    SafeConsole(file=file, force_terminal=True, width=200).print(styled("x\x1b[2J[lab]: ", ("found\x07", "green")))
    assert file.getvalue() == "x\\x1b[2J[lab]: \x1b[32mfound\\x07\x1b[0m\n"


def test_a_log_line_is_one_line() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "bag %s", ("a\n\x1b[31mb",), None)
    assert PrintableFormatter().format(record) == "bag a\\n\\x1b[31mb"


@pytest.fixture
def strange_map(tmp_path: Path) -> Path:
    scene = drive(views=4, landmarks=60)
    provenance = {
        "statistics": {"\x1b[5mblink": EVIL},
        "recordings": [{"source": "run[lab]/drive.mcap"}],
        "history": [{"step": "[bold]merge[/bold]"}],
    }
    built = build_from_keyframes(Placed(scene.keyframes, "site", {}), INFO, MapBuildConfig())
    path = tmp_path / "run[lab]\x1b[31m.hfmap"
    save_map(replace(built, provenance=provenance), path)
    return path


def hfnet(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hfnet_core", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_map_info_shows_a_strange_map_as_it_is(strange_map: Path) -> None:
    done = hfnet("map", "info", str(strange_map))
    assert done.returncode == 0, done.stderr
    assert "source run[lab]/drive.mcap" in done.stdout
    assert "[bold]merge[/bold]" in done.stdout
    assert "run[lab]\\x1b[31m.hfmap" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_an_error_shows_a_strange_name_in_one_line(tmp_path: Path) -> None:
    done = hfnet("map", "info", str(tmp_path / "a\x1b[31m\nhfnet: all is well"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a\\x1b[31m\\nhfnet: all is well: no such map" in done.stderr
