"""What `hfnet calibrate --work` keeps: of one network, map, recording and choice of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfnet_core.benchmarks.judgement.collection import source_key
from hfnet_core.cli.measuring.calibrate import _names
from hfnet_core.errors import DatasetError


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A map and a recording, as far as it matters here."""
    map_file, bag = tmp_path / "hall.hfmap", tmp_path / "drive"
    map_file.write_bytes(b"checksums")
    bag.mkdir()
    (bag / "drive.mcap").write_bytes(b"images")
    return map_file, bag


def test_the_same_is_found_again_wherever_it_lies(place: tuple[Path, Path], tmp_path: Path) -> None:
    before = source_key(*place, ("model", 5))
    moved = tmp_path / "elsewhere.hfmap", tmp_path / "moved"
    for old, new in zip(place, moved, strict=True):
        old.rename(new)
    assert source_key(*moved, ("model", 5)) == before


def test_another_map_recording_network_or_choice_is_collected_anew(place: tuple[Path, Path]) -> None:
    map_file, bag = place
    keys = [source_key(map_file, bag, ("model", 5)), source_key(map_file, bag, ("other model", 5))]
    keys.append(source_key(map_file, bag, ("model", 6)))
    (bag / "drive.mcap").write_bytes(b"more images")
    keys.append(source_key(map_file, bag, ("model", 5)))
    map_file.write_bytes(b"CHECKSUMS")
    keys.append(source_key(map_file, bag, ("model", 5)))
    assert len(set(keys)) == 5


def test_recordings_of_one_name_are_sources_of_their_own() -> None:
    pairs = [(Path("a.hfmap"), Path(f"{site}/run.mcap")) for site in ("north", "south", "west")]
    assert _names("orb-", [*pairs, (Path("b.hfmap"), Path("walk"))]) == [
        "orb-run", "orb-run-2", "orb-run-3", "orb-walk",
    ]  # fmt: skip


def test_a_map_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.hfmap: cannot be read \(No such file"):
        source_key(tmp_path / "gone.hfmap", tmp_path, ())
