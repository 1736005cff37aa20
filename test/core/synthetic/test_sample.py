"""The sample that a release brings: a map and a drive, where the map says where the drive was."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfnet_core.errors import ConfigError
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.geometry import pose_error
from hfnet_core.synthetic import sample
from hfnet_core.types import Localized


@pytest.mark.timeout(600)  # rendering
def test_the_map_says_where_the_drive_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycolmap")
    monkeypatch.setattr(sample, "_MAP_EVERY", 6)
    monkeypatch.setattr(sample, "_DRIVE_EVERY", 24)
    assert sample.main([str(tmp_path / "sample")]) == 0
    folder = tmp_path / "sample"
    answers = list(OfflineLocalizer(folder / "courtyard.hfmap").bag(folder / "drive.mcap"))
    found = [answer for answer in answers if isinstance(answer.result, Localized)]
    assert len(answers) == 6
    assert len(found) >= 3
    for answer in found:
        assert answer.truth is not None
        assert pose_error(answer.result.map_from_camera, answer.truth)[0] < 0.1
    assert len(list((folder / "images").glob("*.jpg"))) == 4


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name a folder that does not exist"):
        sample.make_sample(tmp_path)
    assert list(tmp_path.iterdir()) == []
