"""Limits on files of strangers: one table, told in SECURITY.md, raised by the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfnet_core.errors import ConfigError
from hfnet_core.limits import IMAGE, LIMITS, Limit

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_every_limit_is_told_with_its_default(limit: Limit) -> None:
    said = (ROOT / "SECURITY.md").read_text()
    assert f"| `{limit.variable}` | {limit.default} {limit.unit} | {limit.help} |" in said


def test_the_environment_raises_or_lowers_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IMAGE.value() == 128_000_000
    monkeypatch.setenv("HFNET_MAX_IMAGE_MPX", "400")
    assert IMAGE.value() == 400_000_000
    assert str(IMAGE) == "400 megapixels, raised by HFNET_MAX_IMAGE_MPX"


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "many", "1.5", "9" * 20, "\u0663"])
def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HFNET_MAX_IMAGE_MPX", text)
    with pytest.raises(ConfigError, match="is no positive whole number of megapixels"):
        IMAGE.value()
