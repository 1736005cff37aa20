"""HPatches: layout, sizes, budget and the whole road on a rendered copy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.benchmarks.feature_protocols.hpatches import Budget, check_layout, evaluate, pairs_of
from hfnet_core.cli.main import app
from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.types import Features


def copy_of_hpatches(folder: Path, scenes: tuple[str, ...] = ("i_lamp", "v_wall")) -> Path:
    """Scenes laid out as in the download, images of 400x300: brightness changes, or a shift that grows."""
    for number, name in enumerate(scenes):
        scene = folder / name
        scene.mkdir(parents=True)
        image = cv2.merge([textured_image(400, 300, seed=number)] * 3)
        cv2.imwrite(str(scene / "1.ppm"), image)
        for other in range(2, 7):
            shift = 4.0 * other if name.startswith("v_") else 0.0
            homography = np.array([[1, 0, shift], [0, 1, -shift / 2], [0, 0, 1.0]])
            changed = cv2.warpPerspective(image, homography, (400, 300), borderMode=cv2.BORDER_REFLECT)
            darker = changed if shift else (changed * (1 - 0.08 * other)).astype(np.uint8)
            cv2.imwrite(str(scene / f"{other}.ppm"), darker)
            np.savetxt(scene / f"H_1_{other}", homography)
    return folder


def test_the_layout_is_checked_and_what_is_missing_named_with_its_page(tmp_path: Path) -> None:
    data = copy_of_hpatches(tmp_path)
    assert [path.name for path in check_layout(data)] == ["i_lamp", "v_wall"]
    (data / "v_wall" / "5.ppm").unlink()
    (data / "v_wall" / "H_1_6").unlink()
    with pytest.raises(DatasetError, match=r"5\.ppm: missing, and 1 more files of HPatches; from http"):
        check_layout(data)
    assert len(check_layout(data, whole=False)) == 2
    with pytest.raises(DatasetError, match="holds no scene"):
        check_layout(tmp_path / "none")


@pytest.mark.parametrize(("protocol", "size"), [("640", (640, 480)), ("320x240", (320, 240)), ("640x480", (640, 480))])
def test_homographies_follow_the_images_through_every_size(
    tmp_path: Path, protocol: str, size: tuple[int, int]
) -> None:
    data = copy_of_hpatches(tmp_path, ("v_wall",))
    pairs = list(pairs_of(data / "v_wall", protocol))
    assert len(pairs) == 5
    assert pairs[0].first.shape[1::-1] == size
    shift = 8.0 * size[0] / 400
    assert np.allclose(pairs[0].second_from_first, [[1, 0, shift], [0, 1, -shift / 2], [0, 0, 1]], atol=1e-9)
    with pytest.raises(ConfigError, match="protocol '480' is not one of"):
        list(pairs_of(data / "v_wall", "480"))


def test_images_of_another_shape_are_cut_in_the_middle(tmp_path: Path) -> None:
    scene = tmp_path / "v_wide"
    scene.mkdir()
    image = cv2.merge([textured_image(800, 300)] * 3)
    for number in (1, 2):
        cv2.imwrite(str(scene / f"{number}.ppm"), image)
    np.savetxt(scene / "H_1_2", np.diag([1, 1, 1.0]))
    (pair,) = pairs_of(scene, "320x240")
    assert pair.first.shape == (240, 320, 3)
    whole = cv2.resize(image, (640, 240), interpolation=cv2.INTER_AREA)
    assert np.array_equal(pair.first, whole[:, 160:480])
    assert np.allclose(pair.second_from_first, np.eye(3))


def some(points: list[tuple[float, float]]) -> Features:
    count = len(points)
    rows = np.zeros((count, 4), np.float32)
    return Features(np.array(points, np.float32), np.ones(count, np.float32), rows, np.zeros(0, np.float32), 64, 48)


def test_the_budget_keeps_the_strongest_in_every_window_and_leaves_the_border() -> None:
    found = some([(20, 20), (24, 24), (25, 20), (2, 20), (62, 46), (40, 40)])
    assert Budget(10, 4).applied(found).keypoints_px.tolist() == [[20, 20], [25, 20], [2, 20], [62, 46], [40, 40]]
    assert Budget(10, 4, border_px=4).applied(found).keypoints_px.tolist() == [[20, 20], [25, 20], [40, 40]]
    assert len(Budget(2, 0).applied(found)) == 2


def test_sift_is_repeatable_on_the_copy_and_splits_are_told_apart(tmp_path: Path) -> None:
    data = copy_of_hpatches(tmp_path)
    sift = SiftExtractor(ExtractorConfig(max_keypoints=1000))
    seen: list[int] = []

    def extract(image: np.ndarray) -> Features:
        seen.append(len(image))
        return sift.extract(image)

    scenes = check_layout(data)
    found = evaluate(extract, scenes, Budget(300, 4))
    assert len(seen) == 6 * len(scenes)  # the first image of a scene once
    assert {name: scores.pairs for name, scores in found.items()} == {"all": 10, "illumination": 5, "viewpoint": 5}
    scores = found["viewpoint"]
    assert scores.repeatability > 0.7
    assert scores.localization_px < 1
    assert scores.matching_score > 0.7
    assert scores.homography[1] == 1.0
    assert 0.5 < scores.descriptor_map <= 1
    assert found["all"].repeatability == pytest.approx(
        (found["illumination"].repeatability + found["viewpoint"].repeatability) / 2
    )


def test_the_command_prints_both_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    data = copy_of_hpatches(tmp_path / "data", ("i_lamp",))
    words = ["bench", "hpatches", str(data), "--keypoints", "100", "--model", str(tiny_model(tmp_path))]
    app([*words, "--front-end", "hfnet", "--front-end", "sift"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "Detectors: 100 keypoints, NMS 8, 640" in printed
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│ sift" in line]
    assert [row[:3] for row in rows] == [["sift", "all", "5"]] * 2
    assert float(rows[0][3]) > 0.5
