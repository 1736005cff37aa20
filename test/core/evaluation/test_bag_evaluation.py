"""A recording of the wall against the map of the wall: offline evaluation, its command and its picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from wall import CAMERA, map_from_camera, view, wall_bag, wall_files

from hfnet_core.cli.main import main
from hfnet_core.config import EvaluationConfig
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.bag import evaluate_bag
from hfnet_core.evaluation.html_report import worst_frames, write_html
from hfnet_core.evaluation.metrics import Sample, score
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.evaluation.picture import draw, thumbnails
from hfnet_core.geometry import Pose
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.bags import Bag

SHIFTS = (0, 16, 32, None, 64, 80, 96)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(model, map, bag)."""
    folder = tmp_path_factory.mktemp("world")
    model, map_file = wall_files(folder)
    wall_bag(folder / "bag", SHIFTS)
    return model, map_file, folder / "bag"


@pytest.fixture(scope="module")
def samples(world):
    model, map_file, bag = world
    return evaluate_bag(OfflineLocalizer(map_file, model), bag)


def test_every_image_gets_a_sample_with_truth(samples):
    assert len(samples) == len(SHIFTS)
    assert all(sample.truth is not None and sample.latency_s > 0 for sample in samples)
    assert samples[3].estimate is None
    assert samples[3].reason
    found = [sample for sample, shift in zip(samples, SHIFTS, strict=True) if shift is not None and shift % 32 == 0]
    assert all(sample.error is not None and sample.error[0] < 0.02 for sample in found)
    assert score(samples).wrong == 0


def test_picture_shows_the_run(world, samples, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'hfnet_ros[eval]'")
    model, map_file, bag = world
    config = EvaluationConfig()
    pictures = thumbnails(bag, samples, config)
    assert 3 <= len(pictures) <= 6
    assert any(item.sample.estimate is None for item in pictures)
    draw(tmp_path / "run.png", samples, config, OfflineLocalizer(map_file, model).map, pictures, "The wall")
    image = cv2.imread(str(tmp_path / "run.png"))
    assert image.shape[0] >= 900
    assert image.shape[1] >= 1400
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 500


def test_picture_of_a_run_without_map_or_poses(samples, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'hfnet_ros[eval]'")
    draw(tmp_path / "silent.png", [sample for sample in samples if sample.estimate is None])
    assert cv2.imread(str(tmp_path / "silent.png")) is not None


def test_bag_without_poses_is_refused(world, tmp_path):
    model, map_file, _ = world
    with open_writer(tmp_path / "bare", "mcap") as writer:
        writer.camera_info(10**9, CAMERA)
        writer.image(10**9, view(0))
    with pytest.raises(DatasetError, match="poses"):
        evaluate_bag(OfflineLocalizer(map_file, model), tmp_path / "bare")


def test_a_damaged_image_counts_as_one_without_a_pose(world, tmp_path):
    model, map_file, _ = world
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index, data in enumerate((cv2.imencode(".png", view(0))[1].tobytes(), b"no image at all")):
            stamp_ns = (index + 1) * 10**8
            writer.camera_info(stamp_ns, CAMERA)
            writer.compressed(stamp_ns, data, "png")
            writer.pose(stamp_ns, map_from_camera(0))
    found = evaluate_bag(OfflineLocalizer(map_file, model), tmp_path / "bag")
    assert [sample.estimate is None for sample in found] == [False, True]
    assert found[1].reason == "damaged image"
    assert score(found).published_share == 0.5


def test_report_shows_states_and_the_worst_frames(world, samples, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'hfnet_ros[eval]'")
    model, map_file, bag = world
    config = EvaluationConfig()
    frames = worst_frames(bag, samples, config)
    assert any(frame.sample is samples[3] for frame in frames)
    assert all(frame.image.shape[:2] == view(0).shape[:2] for frame in frames)
    found = next(frame for frame in frames if frame.sample.estimate is not None)
    assert (np.ptp(found.image.astype(int), axis=2) > 50).any()  # matches are drawn in colour
    evo = {"ape_translation_m": {"rmse": 0.0123, "mean": 0.01, "median": 0.01, "max": 0.02}}
    landmark_map = OfflineLocalizer(map_file, model).map
    write_html(tmp_path / "run.html", samples, config, landmark_map, frames, "The <wall>", [("note", "7")], evo)
    page = (tmp_path / "run.html").read_text()
    for said in ("The &lt;wall&gt;", "States over time", "Latency", "Recall", "0.0123", "Worst frames", "note"):
        assert said in page, said
    assert page.count("data:image/png") == 5
    assert page.count("data:image/jpeg") == len(frames)
    assert "http" not in page  # nothing is fetched from anywhere


def test_worst_frames_are_the_wrong_then_the_silent_then_the_far(world):
    _, _, bag = world
    truth = map_from_camera(0)
    off = [Pose(truth.rotation, truth.translation + np.array([x, 0, 0])) for x in (0.0, 3.0, 0.2, 0.1)]
    with Bag(bag) as opened:
        stamps = [item.stamp_ns for item in opened.timeline()]
    estimates = [off[0], off[1], None, off[2], off[3]]
    made = [Sample(stamp, truth, pose) for stamp, pose in zip(stamps, estimates, strict=False)]
    found = [made.index(frame.sample) for frame in worst_frames(bag, made, EvaluationConfig())]
    assert found == [1, 2, 3, 4, 0]


def test_command_prints_a_table_and_writes_numbers(world, tmp_path, capsys):
    from hfnet_core.cli.main import app

    model, map_file, bag = world
    app(["eval-bag", str(map_file), str(bag), "--model", str(model), "--json", str(tmp_path / "run.json")],
        standalone_mode=False)  # fmt: skip
    printed = capsys.readouterr().out
    assert "localized" in printed
    assert "wrong poses" in printed
    assert json.loads((tmp_path / "run.json").read_text())["score"]["images"] == len(SHIFTS)


def test_command_says_in_every_output_that_the_calibration_is_wrong(world, tmp_path, capsys, monkeypatch):
    from hfnet_core.cli.main import app
    from hfnet_core.localization.uncertainty.calibration.watch import CalibrationWatch

    said = "a focal length about 5 % longer"  # what makes it say so: calibration/test_check
    monkeypatch.setattr(CalibrationWatch, "conclude", lambda self: said)
    model, map_file, bag = world
    app(["eval-bag", str(map_file), str(bag), "--model", str(model), "--json", str(tmp_path / "run.json"),
         "--report", str(tmp_path / "run.html")], standalone_mode=False)  # fmt: skip
    assert said in capsys.readouterr().out
    assert json.loads((tmp_path / "run.json").read_text())["details"]["focal_warning"] == said
    assert said in (tmp_path / "run.html").read_text()


def test_a_gallery_shows_images_beside_those_of_the_map(world, tmp_path, capsys):
    from hfnet_core.cli.main import app

    model, map_file, bag = world
    page = tmp_path / "gallery.html"
    app(["eval-bag", str(map_file), str(bag), "--model", str(model), "--gallery", str(page)], standalone_mode=False)
    said = page.read_text()
    assert said.count("data:image/jpeg") == len(SHIFTS)
    assert "matches agree" in said
    assert "http" not in said


def test_what_a_report_needs_is_missed_before_anything_is_localized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "evo", None)
    monkeypatch.setitem(sys.modules, "evo.core.metrics", None)
    monkeypatch.setattr("sys.argv", ["hfnet", "eval-bag", "no.hfmap", "no.mcap", "--report", str(tmp_path / "r.html")])
    with pytest.raises(SystemExit):
        main()
    assert "evo cannot be imported" in capsys.readouterr().err
