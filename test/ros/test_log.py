"""What the node logs is lines that a terminal can take, whatever strangers call their frames."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_ros.rclpy_typed import Log


class Heard:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warning(self, text: str) -> None:
        self.texts.append(text)

    error = info = warning


def test_a_name_of_ten_thousand_characters_does_not_fill_the_log() -> None:
    log, heard = Log("a"), Heard()
    log._logger = heard
    log.warning(f"TF has {'x' * 10_000}\x1b[2J twice")
    log.error("\n".join(["one line"] * 100_000))
    try:
        int("the last line")
    except ValueError:
        log.exception("failed")
    assert len(heard.texts[0]) < 2_000
    assert heard.texts[0].startswith("TF has xxx")
    assert heard.texts[0].endswith("\\x1b[2J twice")
    assert len(heard.texts[1]) < 20_000
    assert heard.texts[2].rstrip().endswith("'the last line'")
