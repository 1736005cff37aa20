"""`hfnet map update` on files."""

from __future__ import annotations

from pathlib import Path

import pytest
from wall import CAMERA, map_from_camera, view, wall_bag, wall_map

from hfnet_core.cli.main import main
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.geometry import Pose
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.stretches.folder import KeptImage, StretchFolder


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model, map), of the network that ships: one of random weights hardly recognises the wall."""
    path = tmp_path_factory.mktemp("wall") / "wall.hfmap"
    save_map(wall_map(DEFAULT_MODEL), path)
    return DEFAULT_MODEL, path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["hfnet", "map", "update", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_visit_is_counted_and_reported(
    wall: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = wall
    wall_bag(tmp_path / "bag", [16, 48, 80, 112, 144])
    assert run(monkeypatch, path, tmp_path / "bag", "-o", tmp_path / "new.hfmap", "--model", model) == 0
    new = load_map(tmp_path / "new.hfmap")
    assert new.landmark_hits.sum() > 50
    assert new.provenance["history"][-1]["step"] == "update"
    said = capsys.readouterr().err
    assert "held back, localized" in said
    assert "1 of 1 before, 1 of 1 after" in said
    assert not len(load_map(path).landmark_hits)


def test_the_map_itself_is_replaced_where_no_other_name_is_given(
    wall: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = wall
    own = tmp_path / "own.hfmap"
    own.write_bytes(path.read_bytes())
    folder = StretchFolder(tmp_path / "weak", 10**8)
    for index, shift in enumerate((16, 48, 80, 112, 144)):
        pose = map_from_camera(shift)
        stamp_ns = 1_700_000_000 * 10**9 + index * 10**8
        folder.keep(KeptImage(stamp_ns, view(shift), CAMERA, Pose(pose.rotation, pose.translation + 5.0)))
    assert run(monkeypatch, own, tmp_path / "weak", "--model", model) == 0
    assert load_map(own).landmark_hits.sum() > 50


def test_what_cannot_be_is_said_in_one_line(
    wall: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = wall
    assert run(monkeypatch, path, tmp_path / "none", "-o", tmp_path / "new.hfmap", "--model", model) == 2
    assert "no such bag" in capsys.readouterr().err
    assert run(monkeypatch, path, tmp_path / "none", "-o", tmp_path / "new.map", "--model", model) == 2
    assert "a map's name ends in .hfmap" in capsys.readouterr().err
    assert not (tmp_path / "new.hfmap").exists()
