"""One contract for all datasets, on small rendered copies that lie on disk as the downloads do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hfnet_core.benchmarks.datasets.catalogue import DATASETS, open_dataset
from hfnet_core.errors import ConfigError, DatasetError, HFNetError
from hfnet_core.geometry import pose_error
from hfnet_core.synthetic.copies import COPIES, write_copy
from hfnet_core.synthetic.copies.writing import write_colmap
from hfnet_core.synthetic.walk import MAP_PASS
from hfnet_core.types import Camera

pytestmark = pytest.mark.timeout(900)  # seconds of work, minutes on a machine that is busy

# Cameras of the copies as they are rendered, in our pixels.
RADIAL = ("SIMPLE_RADIAL", (250.0, 160.5, 118.5, -0.08))
CAMERAS = {
    "aachen": RADIAL,
    "aachen-v1.1": RADIAL,
    "robotcar": ("PINHOLE", (240.0, 240.0, 144.5, 142.5)),
    "robotcar-v2": ("PINHOLE", (240.0, 240.0, 144.5, 142.5)),
    "cmu": ("PINHOLE", (250.0, 250.0, 160.5, 118.5)),
    "cmu-extended": ("OPENCV", (250.0, 249.0, 161.0, 118.0, -0.06, 0.01, 0.0004, -0.0006)),
    "7scenes": ("SIMPLE_PINHOLE", (262.5, 159.5, 119.5)),
    "12scenes": ("PINHOLE", (260.0, 259.0, 161.5, 120.0)),
    "cambridge": ("SIMPLE_RADIAL", (250.0, 159.5, 119.5, -0.05)),
    "inloc": ("SIMPLE_PINHOLE", (320 * 28 / 36, 159.5, 119.5)),
}
PLACES = {
    "cmu": ("slice2",),
    "cmu-extended": ("slice2", "slice3"),
    "7scenes": ("heads",),
    "12scenes": ("apt1/kitchen",),
}
WITH_TRUTH = {"robotcar-v2": 2, "cmu-extended": 1, "7scenes": 4, "12scenes": 4, "cambridge": 4}
SUBMITTED = {
    "aachen": "IMG_0000.jpg",
    "robotcar": "rear/1417177458000001.jpg",
    "robotcar-v2": "rear/1417177460000001.jpg",
    "cmu": "img_00500_c0_1303398475000500us_rect.jpg",
    "cmu-extended": "img_02501_c1_1303398475002501us.jpg",
    "inloc": "IMG_0731.JPG",
}


def test_every_dataset_has_a_copy() -> None:
    assert set(DATASETS) == set(COPIES) == set(CAMERAS)
    with pytest.raises(ConfigError, match="'rome' is not known; choose aachen"):
        open_dataset("rome", Path())
    with pytest.raises(ConfigError, match="no copy of 'rome'"):
        write_copy("rome", Path())


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_read_as_it_lies_on_disk(name: str, tmp_path: Path) -> None:
    truth = write_copy(name, tmp_path)
    dataset = open_dataset(name, tmp_path)
    places = dataset.places()
    if name in PLACES:
        assert places == PLACES[name]
    queries = {}
    for number, place in enumerate(places):
        opened = dataset.open(place)
        posed = opened.map_images()
        times = np.linspace(10.0 + 5.0 * number, 14.0 + 5.0 * number, 12)
        for image, time_s in zip(sorted(posed.images, key=_number), times, strict=True):
            assert (opened.map_folder / image.name).is_file()
            metres, degrees = pose_error(image.map_from_camera, MAP_PASS.path.at(float(time_s)))
            assert (metres, degrees) == pytest.approx((0.0, 0.0), abs=1e-5)
            model, params = CAMERAS[name]
            assert image.camera.model == model
            assert image.camera.params == pytest.approx(params, abs=1e-6)
        assert (posed.points > 0) == (len(posed.seen) > 0)
        for query in opened.queries:
            assert (opened.query_folder / query.name).is_file()
            assert query.camera.params == pytest.approx(CAMERAS[name][1], abs=1e-6)
            bounds = dataset.bounds(query.condition)
            assert list(bounds) == sorted(bounds)
            if query.truth is not None:
                assert pose_error(query.truth, truth[query.name]) == pytest.approx((0.0, 0.0), abs=1e-5)
        queries |= {query.name: query for query in opened.queries}
    assert set(queries) == set(truth)
    assert sum(query.truth is not None for query in queries.values()) == WITH_TRUTH.get(name, 0)
    if name in SUBMITTED:
        assert next(query.submitted for query in queries.values() if query.submitted) == SUBMITTED[name]
    assert "hfnet" in dataset.result_name("hfnet")
    _check_what_is_missing(name, tmp_path)


def _check_what_is_missing(name: str, root: Path) -> None:
    """Without any one of its folders or lists, a dataset is refused, and what is missing and where it is from told."""
    page = open_dataset(name, root).page
    needed = [path for path in root.rglob("*") if path.is_dir() or path.suffix in (".nvm", ".txt")]
    refused = 0
    for path in needed:
        away = root.parent / f"{root.name}-away"
        path.rename(away)
        try:
            dataset = open_dataset(name, root)
            for place in dataset.places():
                dataset.open(place).map_images()
        except HFNetError as error:
            refused += 1
            assert "\n" not in str(error)
            if str(error).startswith(f"{root}: "):
                assert page in str(error)
        finally:
            away.rename(path)
    assert refused >= 2
    shutil.rmtree(root)
    with pytest.raises(ConfigError, match=r"no such folder; download .* from http"):
        open_dataset(name, root)


def _number(image: object) -> int:
    """Order of the walk: by the last number of the name that differs."""
    digits = "".join(c if c.isdigit() else " " for c in str(getattr(image, "name", ""))).split()
    name = str(getattr(image, "name", ""))
    if "DUC_cutout" in name:
        return int(digits[-2])
    return int(digits[-1]) if "img_" not in name else int(digits[0])


def test_conditions_are_those_of_the_dataset(tmp_path: Path) -> None:
    write_copy("robotcar", tmp_path)
    queries = open_dataset("robotcar", tmp_path).open("all").queries
    assert [query.condition for query in queries] == ["dusk", "dusk", "night", "night"]
    shutil.rmtree(tmp_path / "images/dusk")
    shutil.rmtree(tmp_path / "images/night")
    with pytest.raises(DatasetError, match=r"RobotCar Seasons lacks images/dawn/rear or .*visuallocalization.net"):
        open_dataset("robotcar", tmp_path).open("all")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("intrinsics.txt", "c0 OPENCV", "c0 OPENCVX", "line 2"),
        ("slice3/ground-truth-database-images-slice3.txt", " ", " nan ", "line 1: 8 numbers"),
        ("slice2/camera-poses/known.txt", "img_", "../img_", "line 1"),
        ("slice2/test-images-slice2.txt", "_c1_", "_c7_", "tells no camera among c0, c1"),
    ],
)
def test_a_damaged_list_is_one_line(file: str, old: str, new: str, said: str, extended: Path) -> None:
    path = extended / file
    kept = path.read_text()
    path.write_text(kept.replace(old, new, 1))
    try:
        with pytest.raises(DatasetError, match=said):
            for place in ("slice2", "slice3"):
                open_dataset("cmu-extended", extended).open(place).map_images()
    finally:
        path.write_text(kept)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extended")
    write_copy("cmu-extended", folder)
    return folder


@pytest.mark.parametrize("name", ["7scenes", "cambridge"])
def test_colmap_models_beside_a_scene_are_preferred(name: str, tmp_path: Path) -> None:
    """As hloc takes them: 7-Scenes' of all images, Cambridge's at another size."""
    truth = write_copy(name, tmp_path)
    dataset = open_dataset(name, tmp_path)
    place = dataset.places()[0]
    before = dataset.open(place)
    mapped = [(image.name, image.map_from_camera) for image in before.map_images().images]
    everything = [*mapped, *truth.items()]
    if name == "7scenes":
        models = tmp_path / f"7scenes_sfm_triangulated/{place}/triangulated"
        write_colmap(models, Camera("SIMPLE_RADIAL", 320, 240, (260.0, 159.5, 119.5, 0.0)), everything)
        (models / "list_test.txt").write_text("\n".join(truth) + "\n")
        wanted = (260.0, 159.5, 119.5, 0.0)
    else:
        models = tmp_path / f"CambridgeLandmarks_Colmap_Retriangulated_1024px/{place}"
        half = Camera("SIMPLE_RADIAL", 160, 120, (125.0, 79.5, 59.5, -0.05))
        write_colmap(models / "model_train", half, mapped)
        write_colmap(models / "empty_all", half, everything)
        (models / "list_query.txt").write_text("\n".join(truth) + "\n")
        wanted = (250.0, 159.5, 119.5, -0.05)
    opened = dataset.open(place)
    images = opened.map_images().images
    assert {image.name for image in images} == {called for called, _ in mapped}
    assert [query.name for query in opened.queries] == list(truth)
    for item in (*images, *opened.queries):
        assert item.camera.params == pytest.approx(wanted, abs=1e-6)
    for query in opened.queries:
        assert query.truth is not None
        assert pose_error(query.truth, truth[query.name]) == pytest.approx((0.0, 0.0), abs=1e-5)
    (models / ("list_test.txt" if name == "7scenes" else "list_query.txt")).write_text("elsewhere.png\n")
    with pytest.raises(DatasetError, match=r"lacks 1 images of .* first elsewhere.png"):
        dataset.open(place)
