"""Settings: documented, ranged, refused with a reason, and defined once."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from hfnet_core import config
from hfnet_core.config import (
    ExtractorConfig,
    LocalizerConfig,
    MapBuildConfig,
    NodeConfig,
    from_mapping,
    settings_of,
)
from hfnet_core.errors import ConfigError

CLASSES = [
    cls
    for _, cls in inspect.getmembers(config, inspect.isclass)
    if dataclasses.is_dataclass(cls) and cls.__name__.endswith("Config")
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_is_documented_and_its_default_is_in_range(cls: type) -> None:
    settings = list(settings_of(cls))
    assert settings
    for item in settings:
        assert item.help
        assert item.check(item.default) == item.default
        if "_per_" in item.name:
            assert "/" in item.unit or item.type is int, f"{item.name}: unit missing"  # or a count of things per thing
            continue
        assert not item.name.endswith("_s") or item.unit == "s", f"{item.name}: unit missing"
        assert not item.name.endswith("_px") or item.unit == "px", f"{item.name}: unit missing"
        assert not item.name.endswith("_m") or item.unit == "m", f"{item.name}: unit missing"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ratio": 1.5}, ["ratio", "1.5", "1.0"]),
        ({"retrieved": 0}, ["retrieved", "0", "1"]),
        ({"retrieved": 2.5}, ["retrieved", "2.5", "int"]),
        ({"ratio": float("nan")}, ["ratio", "nan"]),
        ({"ratio": 10**400}, ["ratio", "finite"]),
        ({"tracking": 1}, ["tracking", "bool"]),
        ({"min_inlier": 3}, ["min_inlier", "min_inliers"]),
    ],
)
def test_a_refused_value_is_named_with_what_is_allowed(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(LocalizerConfig, values)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_integers_are_accepted_where_a_number_is_asked_for() -> None:
    assert from_mapping(ExtractorConfig, {"detection_threshold": 1}).detection_threshold == 1.0


def test_lists_of_texts_are_kept_unchangeable() -> None:
    assert from_mapping(NodeConfig, {"cameras": ["left", "right"]}).cameras == ("left", "right")
    for refused in ("left", ["left", 2], 3):
        with pytest.raises(ConfigError, match=r"cameras: .* is not a list of texts"):
            from_mapping(NodeConfig, {"cameras": refused})


def test_maps_and_queries_see_large_images_alike() -> None:
    """Features of a photo at another scale than the map's fit badly: 8 of 23 photos of 12 megapixels, against all."""
    assert ExtractorConfig().max_side_px == MapBuildConfig().max_side_px == MapBuildConfig().extraction.max_side_px
