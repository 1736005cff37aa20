"""One command from each dataset as it is downloaded to results, log, recall and gallery; poses right to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from hfnet_core.benchmarks.datasets.catalogue import DATASETS, open_dataset
from hfnet_core.benchmarks.datasets.dataset import QueryImage
from hfnet_core.benchmarks.datasets.lists import read_results
from hfnet_core.benchmarks.paper.answers import QueryAnswer
from hfnet_core.benchmarks.paper.place_run import PlaceRun
from hfnet_core.benchmarks.paper.presets import PRESETS, preset_of
from hfnet_core.benchmarks.paper.run import alone_in
from hfnet_core.cli.main import main
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.maps.storage import load_map
from hfnet_core.synthetic.copies import write_copy
from hfnet_core.types import Reason

pytestmark = pytest.mark.timeout(900)  # seconds of work, minutes on a machine that is busy

MEDIAN_M, LARGEST_M = 0.03, 0.1  # of 320 x 240 pixels, by day and at night


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of `hfnet benchmark`."""
    monkeypatch.setattr("sys.argv", ["hfnet", "benchmark", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def log_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "log.yaml").read_text())
    return found


def errors_of(name: str, data: Path, results: Path, truth: dict[str, Pose]) -> list[tuple[float, float]]:
    """Of every line of a file of results."""
    dataset = open_dataset(name, data)
    named = {q.submitted: truth[q.name] for place in dataset.places() for q in dataset.open(place).queries}
    return [pose_error(pose, named[called]) for called, pose in read_results(results).items()]


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_goes_from_download_to_results_by_one_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    truth = write_copy(name, data)
    given = tmp_path / "truth.txt"
    write_truth(given, truth)
    assert run(monkeypatch, name, data, "-o", out, "--pictures", 1, "--truth", given) == 0
    dataset = open_dataset(name, data)
    queries = [query for place in dataset.places() for query in dataset.open(place).queries]
    errors = np.array(errors_of(name, data, out / dataset.result_name("hfnet"), truth))
    assert len(errors) == sum(bool(query.submitted) for query in queries)
    assert np.median(errors[:, 0]) < MEDIAN_M
    assert errors[:, 0].max() < LARGEST_M
    assert errors[:, 1].max() < 1.0
    log = log_of(out)
    conditions = log["conditions"]
    assert sum(summary["queries"] for summary in conditions.values()) == len(truth)
    assert {summary["success_rate"] for summary in conditions.values()} == {1.0}
    assert all(list(summary["recall"].values())[-1] == 1.0 for summary in conditions.values())
    assert all(summary["mean_inliers"] > 20 and summary["mean_inlier_ratio"] > 0.3 for summary in conditions.values())
    assert all(summary["seconds"]["features"]["mean"] > 0 for summary in conditions.values())
    page = (out / "gallery.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= len(conditions)
    assert "cm," in page


def write_truth(path: Path, truth: dict[str, Pose]) -> None:
    lines = []
    for called, map_from_camera in truth.items():
        camera_from_map = map_from_camera.inverse()
        x, y, z, w = camera_from_map.quat_xyzw()
        numbers = (w, x, y, z, *camera_from_map.translation)
        lines.append(f"{called} {' '.join(f'{value:.9f}' for value in numbers)}\n")
    path.write_text("".join(lines))


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Pose]]:
    """A copy of Aachen with what happens to downloads, where it was run, and the truth."""
    data = tmp_path_factory.mktemp("aachen")
    truth = write_copy("aachen", data)
    images = data / "images_upright"
    (images / "db/3.jpg").write_bytes(b"half a")
    (images / "db/5.jpg").unlink()
    (images / "query/day/milestone/IMG_0000.jpg").unlink()
    dark = images / "query/night/nexus5x/IMG_0001.jpg"
    cv2.imwrite(str(dark), np.zeros((240, 320, 3), np.uint8))
    return data, tmp_path_factory.mktemp("out"), truth


def test_missing_broken_and_failed_images_are_lines_and_a_second_run_goes_on(
    city: tuple[Path, Path, dict[str, Pose]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, out, _ = city
    asked: list[str] = []
    answer = PlaceRun._answer

    def dies(self: PlaceRun, query: QueryImage) -> QueryAnswer:
        asked.append(query.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer(self, query)

    monkeypatch.setattr(PlaceRun, "_answer", dies)
    assert run(monkeypatch, "aachen", data, "-o", out) == 130
    journal = out / "aachen/answers.jsonl"
    journal.write_text(journal.read_text() + '{"name": "que')  # as a power cut leaves it
    made = (out / "aachen/map.hfmap").stat().st_mtime_ns
    assert not (out / "log.yaml").exists()
    assert run(monkeypatch, "aachen", data, "-o", out) == 0
    assert len(asked) == 5  # the first two are kept
    assert len(set(asked)) == 4
    assert (out / "aachen/map.hfmap").stat().st_mtime_ns == made
    assert "left out" in caplog.text
    assert "db/3.jpg" in caplog.text
    assert "1 map images are missing, db/5.jpg first" in caplog.text
    assert "IMG_0000.jpg: the image cannot be used" in caplog.text
    log = log_of(out)
    failed = {item["name"]: item for item in log["failures"]}
    assert set(failed) == {"query/day/milestone/IMG_0000.jpg", "query/night/nexus5x/IMG_0001.jpg"}
    assert failed["query/day/milestone/IMG_0000.jpg"]["reason"] == "the image cannot be used"
    assert failed["query/night/nexus5x/IMG_0001.jpg"]["reason"] in {reason.value for reason in Reason}
    assert log["conditions"]["day"]["success_rate"] == 0.5
    assert set(read_results(out / "Aachen_eval_hfnet.txt")) == {"IMG_0002.jpg", "IMG_0003.jpg"}
    page = (out / "gallery.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3  # all but the one that is not there
    assert page.index("nexus5x/IMG_0001.jpg") < page.index("nexus5x/IMG_0003.jpg")  # the one that failed is first


def test_with_fallback_the_most_similar_map_image_answers_and_the_log_says_so(
    city: tuple[Path, Path, dict[str, Pose]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _, truth = city
    options = ("--fallback", "--condition", "night", "--method", "mine", "--pictures", 0)
    assert run(monkeypatch, "aachen", data, "-o", tmp_path, *options) == 0
    results = read_results(tmp_path / "Aachen_eval_mine.txt")
    assert set(results) == {"IMG_0001.jpg", "IMG_0003.jpg"}
    metres, _ = pose_error(results["IMG_0003.jpg"], truth["query/night/nexus5x/IMG_0003.jpg"])
    assert metres < LARGEST_M
    log = log_of(tmp_path)
    assert (log["conditions"]["night"]["fallbacks"], log["conditions"]["night"]["failures"]) == (1, 1)
    assert [(item["name"], item["fallback"]) for item in log["failures"]] == [
        ("query/night/nexus5x/IMG_0001.jpg", True)
    ]
    poses = [image.map_from_camera for image in open_dataset("aachen", data).open("aachen").map_images().images]
    assert min(pose_error(results["IMG_0001.jpg"], pose)[0] for pose in poses) < 1e-6
    assert not (tmp_path / "gallery.html").exists()


def test_two_runs_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    said = "another run is writing there; wait for it or choose another folder"
    with alone_in(tmp_path), pytest.raises(ConfigError, match=said), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_named_before_any_work(
    city: tuple[Path, Path, dict[str, Pose]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, _, truth = city
    write_truth(tmp_path / "other.txt", {"elsewhere.jpg": next(iter(truth.values()))})
    for options, said in (
        (("aachen", data, "--place", "rome"), "has no place 'rome' here; there are aachen"),
        (("aachen", data, "--condition", "fog"), "has no condition 'fog' here; there are day, night"),
        (("aachen", data, "--preset", "best"), "preset 'best' is not known; choose auto, paper-aachen"),
        (("aachen", data / "images_upright"), "lacks images_upright or"),
        (("rome", data), "dataset 'rome' is not known"),
    ):
        assert run(monkeypatch, *options, "-o", tmp_path / "out") == 2
        assert said in capsys.readouterr().err.replace("\n", " ")


def test_the_presets_are_the_papers() -> None:
    found = {name: PRESETS[f"paper-{name}"] for name in ("aachen", "robotcar", "cmu")}
    table = {
        name: (
            preset.extraction.max_side_px,
            preset.extraction.max_keypoints,
            preset.extraction.nms_radius_px,
            preset.localizer.min_inliers,
            preset.localizer.retrieved,
            preset.localizer.ratio,
        )
        for name, preset in found.items()
    }
    assert table == {
        "aachen": (960, 2000, 4, 12, 10, 0.9),
        "robotcar": (960, 2000, 4, 15, 10, 0.9),
        "cmu": (1024, 2000, 4, 12, 10, 0.9),
    }
    widths = {"aachen": 1600, "robotcar": 1024, "cmu": 1024}
    errors = {name: found[name].localizer.reprojection_error_px * widths[name] / 640 for name in found}
    assert errors == pytest.approx({"aachen": 10.0, "robotcar": 12.0, "cmu": 5.0})
    assert preset_of("cmu-extended").name == "paper-cmu"
    assert preset_of("7scenes").name == "ours"


def test_an_nvm_model_becomes_a_map_by_itself(
    city: tuple[Path, Path, dict[str, Pose]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, _, _ = city
    model, images = data / "3D-models/aachen_cvpr2018_db.nvm", ("--images", data / "images_upright")
    listed = ("--intrinsics", data / "3D-models/database_intrinsics.txt")

    def imported(output: str, *options: object) -> int:
        words = ("hfnet", "map", "import", str(model), "-o", str(tmp_path / output), *map(str, options))
        monkeypatch.setattr("sys.argv", list(words))
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    assert imported("a.hfmap") == 2
    assert "has no descriptors: give the folder of its images" in capsys.readouterr().err
    assert imported("a.hfmap", *images, *listed) == 0
    assert imported("b.hfmap", *images) == 0
    given, own = load_map(tmp_path / "a.hfmap"), load_map(tmp_path / "b.hfmap")
    assert given.keyframes == own.keyframes == 10  # of 12, one is damaged and one is missing
    assert given.cameras[0].params == pytest.approx((250.0, 160.5, 118.5, -0.08))
    assert own.cameras[0].params == pytest.approx((250.0, 159.5, 119.5, -0.08))
    assert given.landmarks > 500
