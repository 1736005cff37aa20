"""Aligning, pruning, viewing maps, and importing COLMAP models of others."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from drive import INFO, drive
from scene import Scene, looking
from scipy.spatial.transform import Rotation
from wall import view as wall_view
from wall import wall_bag, wall_files

from hfnet_core.cli.main import main
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError, MapError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, Similarity, pose_error
from hfnet_core.maintenance.align import Known, fit_positions, floor_alignment, moved_map, read_positions
from hfnet_core.maintenance.check import check_map
from hfnet_core.maintenance.colmap_import import import_colmap_model
from hfnet_core.maintenance.prune import Budget, map_bytes, prune_map, redundant_keyframes
from hfnet_core.maintenance.view import check_view_name, draw_map
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.maps.colmap import export_colmap, export_ply
from hfnet_core.maps.coverage import coverage_of, group_places, plan_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map

TURN = Similarity(
    1.3, Pose(Rotation.from_euler("zyx", (50, -20, 10), degrees=True).as_matrix(), np.array([7.0, -3.0, 2.0]))
)


@pytest.fixture(scope="module")
def some_map() -> LandmarkMap:
    scene = drive(views=10, landmarks=250, noise_px=0.3)
    return build_from_keyframes(
        Placed(scene.keyframes, provenance={"recordings": [{"images": 10}]}), INFO, MapBuildConfig()
    )


@pytest.fixture(scope="module")
def room() -> LandmarkMap:
    """A room with a floor, the camera 1.5 m above it."""
    rng = np.random.default_rng(0)
    scene = Scene.make(1500)
    floor = scene.points[:, 2] < 1.0
    scene.points[floor] = np.column_stack([rng.uniform((-4, -3), (4, 3), (floor.sum(), 2)), np.zeros(floor.sum())])
    poses = [looking(0.4 * np.cos(t), 0.3 * np.sin(t), np.degrees(t)) for t in np.linspace(0, 2 * np.pi, 16)]
    tilt = Pose(Rotation.from_euler("x", -20, degrees=True).as_matrix())  # looks down a little
    return scene.build_map([pose @ tilt for pose in poses])


def known(landmark_map: LandmarkMap, new_from_old: Similarity, rotations: bool = False) -> list[Known]:
    moved = [new_from_old.move(landmark_map.map_from_camera(index)) for index in range(landmark_map.keyframes)]
    return [Known(name, None, pose.translation, pose.rotation if rotations else None)
            for name, pose in zip(landmark_map.keyframe_names, moved, strict=True)]  # fmt: skip


def test_a_moved_map_sees_the_same(some_map: LandmarkMap) -> None:
    moved = moved_map(some_map, TURN, "hall")
    assert moved.frame_id == "hall"
    for keyframe in (0, 7):
        rows = some_map.observations_of(keyframe)
        landmarks = some_map.observation_landmarks[rows]
        before = some_map.map_from_camera(keyframe).inverse().apply(some_map.landmarks_xyz[landmarks])
        after = moved.map_from_camera(keyframe).inverse().apply(moved.landmarks_xyz[landmarks])
        assert np.allclose(after, 1.3 * before, atol=1e-4)
    with pytest.raises(ConfigError, match="within 8000 m"):
        moved_map(some_map, Similarity(1.0, Pose(translation=np.array([5e5, 0, 0]))))


def test_known_positions_give_the_frame_and_wrong_ones_are_outvoted(some_map: LandmarkMap) -> None:
    positions = known(some_map, TURN)
    positions[2] = replace(positions[2], position=positions[2].position + np.array([0.0, 4.0, 0.0]))
    fit = fit_positions(some_map, positions, 0.05, scaled=True)
    assert (fit.used, fit.inliers, fit.oriented) == (10, 9, False)
    assert fit.new_from_old.scale == pytest.approx(1.3, rel=1e-3)
    assert pose_error(fit.new_from_old.pose, TURN.pose)[1] < 0.1
    with pytest.raises(MapError, match=r"agree on one transform within 0\.05 m.*--scale"):
        fit_positions(some_map, positions, 0.05, scaled=False)
    with pytest.raises(MapError, match="1 of 1 positions belong"):
        fit_positions(some_map, positions[:1], 0.05, scaled=False)


def test_positions_on_a_line_need_orientations(some_map: LandmarkMap) -> None:
    poses = some_map.keyframe_poses.copy()
    poses[:, 1:, 3] = 0.0
    straight = replace(some_map, keyframe_poses=poses)
    with pytest.raises(MapError, match="on a line"):
        fit_positions(straight, known(straight, TURN), 0.05, scaled=True)
    fit = fit_positions(straight, known(straight, TURN, rotations=True), 0.05, scaled=True)
    assert fit.oriented
    assert pose_error(fit.new_from_old.pose, TURN.pose)[1] < 0.1
    body = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    other = [replace(k, rotation=k.rotation @ body) for k in known(some_map, TURN, rotations=True)]
    fit = fit_positions(some_map, other, 0.05, scaled=True)  # orientations of a robot's body, not of the camera
    assert not fit.oriented
    assert pose_error(fit.new_from_old.pose, TURN.pose)[1] < 0.1


def test_position_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("keyframe,x,y,z\n# comment\n0/000001, 1,2,3\n12.5,4,5,6\n")
    first, second = read_positions(tmp_path / "a.csv")
    assert (first.name, first.stamp_ns, first.position.tolist()) == ("0/000001", None, [1, 2, 3])
    assert second.stamp_ns == 12_500_000_000
    (tmp_path / "a.txt").write_text("12.5 1 2 3 0 0 0 1 000007\n")
    row = read_positions(tmp_path / "a.txt")[0]
    assert (row.name, row.stamp_ns) == ("000007", 12_500_000_000)
    for text, message in (("a,1,2\n", "line 1"), ("a,1,2,3\nb,1,x,3\n", "line 2"), ("", "no positions")):
        (tmp_path / "b.csv").write_text(text)
        with pytest.raises(DatasetError, match=message):
            read_positions(tmp_path / "b.csv")


def test_a_floor_is_found_whatever_the_frame(room: LandmarkMap) -> None:
    tilted = moved_map(room, Similarity(1.0, TURN.pose))
    level = moved_map(tilted, floor_alignment(tilted, 0.03))
    heights = level.keyframe_poses[:, 2, 3]
    assert heights == pytest.approx(1.5, abs=0.02)
    assert np.quantile(level.landmarks_xyz[:, 2], 0.01) > -0.05


def test_no_floor_is_said(some_map: LandmarkMap) -> None:
    with pytest.raises(MapError, match="no floor was found"):
        floor_alignment(some_map, 0.03)


def test_pruning_keeps_a_budget_and_what_serves(some_map: LandmarkMap) -> None:
    check = check_map(some_map)
    assert check.hits.max() > 3
    limit = map_bytes(some_map) // 2
    pruned = prune_map(some_map, check.hits, Budget(max_bytes=limit, min_per_keyframe=40))
    assert map_bytes(pruned) <= limit
    assert map_bytes(pruned) > 0.9 * limit
    places = {tuple(xyz) for xyz in pruned.landmarks_xyz.tolist()}
    kept = np.array([tuple(xyz) in places for xyz in some_map.landmarks_xyz.tolist()])
    assert check.hits[kept].mean() > check.hits[~kept].mean() + 1
    assert min(len(pruned.observations_of(k)) for k in range(pruned.keyframes)) >= 40
    after = check_map(pruned, queries=some_map)
    assert len(after.held_back) == some_map.keyframes
    assert len(after.localized) == some_map.keyframes
    assert pruned.provenance["history"][-1]["landmarks_before"] == some_map.landmarks


def test_pruning_by_number_and_its_limits(some_map: LandmarkMap) -> None:
    hits = np.zeros(some_map.landmarks, dtype=np.int64)
    assert prune_map(some_map, hits, Budget(max_landmarks=120, min_per_keyframe=20)).landmarks == 120
    assert prune_map(some_map, hits, Budget(max_landmarks=10**6)) is some_map
    with pytest.raises(MapError, match=r"50 landmarks for each of \d+ keyframes need \d+ landmarks and"):
        prune_map(some_map, hits, Budget(max_landmarks=40, min_per_keyframe=50))
    with pytest.raises(ConfigError, match="nothing to prune to"):
        Budget()


def test_the_estimate_of_the_size_is_close(some_map: LandmarkMap, tmp_path: Path) -> None:
    save_map(some_map, tmp_path / "a.hfmap")
    size = (tmp_path / "a.hfmap").stat().st_size
    assert size <= map_bytes(some_map) <= 1.05 * size + 16384


def test_a_keyframe_that_others_make_superfluous_goes(room: LandmarkMap) -> None:
    assert not redundant_keyframes(room).all()
    four = drive(views=6, landmarks=200)
    still = build_from_keyframes(Placed(four.keyframes), INFO, MapBuildConfig(refine_poses=False))
    gone = redundant_keyframes(still)  # six views of nearly the same
    assert 0 < gone.sum() <= 3


def test_coverage_counts_cells_and_directions(room: LandmarkMap) -> None:
    plan = plan_of(room)
    assert plan.name == "+z"
    covered = coverage_of(room, plan)
    assert covered.area_m2 == pytest.approx(0.25 * len(covered.cells))
    assert 1 <= covered.directions.min() <= covered.directions.max() <= 8
    turned = moved_map(room, Similarity(1.0, Pose(Rotation.from_euler("x", 180, degrees=True).as_matrix())))
    assert plan_of(turned).name == "-z"
    flat = plan_of(turned).flat(turned.landmarks_xyz)
    before = plan.flat(room.landmarks_xyz)
    areas = [np.linalg.det(points[1:3] - points[0]) for points in (flat, before)]
    assert np.sign(areas[0]) == np.sign(areas[1])  # seen from above both times, never from below
    groups = group_places(room, [3, 4, 12])
    assert sorted(keyframe for group in groups for keyframe in group) == [3, 4, 12]


def test_views_are_whole_and_self_contained(some_map: LandmarkMap, tmp_path: Path) -> None:
    pixels = some_map.observation_px.copy()
    rows = some_map.observations_of(4)
    pixels[rows] = np.random.default_rng(0).permutation(pixels[rows])
    bad = replace(some_map, observation_px=pixels, frame_id="</script>")
    check = check_map(bad)
    draw_map(bad, check, tmp_path / "a.html", "kitchen")
    page = (tmp_path / "a.html").read_text()
    assert page.count("</script>") == 1
    assert "http" not in page  # nothing is fetched
    content = json.loads(page.split("const data = ", 1)[1].split(";\n", 1)[0])
    assert content["weak"][4] == 1
    assert content["names"] == list(bad.keyframe_names)
    points = np.frombuffer(base64.b64decode(content["points"]), "<f4").reshape(-1, 3)
    assert len(points) == bad.landmarks
    assert np.ptp(points, axis=0) == pytest.approx(np.ptp(bad.landmarks_xyz, axis=0)[[2, 0, 1]], rel=1e-5)  # -y is up
    pytest.importorskip("matplotlib")
    draw_map(bad, check, tmp_path / "a.png", "kitchen")
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image.shape[0] > 500
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.png"]
    with pytest.raises(ConfigError, match=r"\.png or an \.html"):
        check_view_name(tmp_path / "a.pdf")


def test_the_viewer_is_valid_javascript(some_map: LandmarkMap, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the viewer's script is not parsed")
    draw_map(some_map, check_map(some_map), tmp_path / "a.html", "kitchen")
    script = (tmp_path / "a.html").read_text().split("<script>", 1)[1].split("</script>", 1)[0]
    (tmp_path / "a.js").write_text(script)
    subprocess.run([node, "--check", str(tmp_path / "a.js")], check=True, timeout=30)


def test_a_cloud_for_other_viewers(some_map: LandmarkMap, tmp_path: Path) -> None:
    export_ply(some_map, tmp_path / "a.ply")
    model = pycolmap.Reconstruction()
    model.import_PLY(str(tmp_path / "a.ply"))
    found = np.array([point.xyz for point in model.points3D.values()])
    assert np.allclose(np.sort(found, axis=0), np.sort(some_map.landmarks_xyz, axis=0), atol=1e-4)


@pytest.fixture
def wall(tmp_path: Path) -> tuple[Path, Path]:
    return wall_files(tmp_path)


@pytest.fixture
def foreign(wall: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """(model, images) as COLMAP leaves them: a map of the wall without what we put beside it."""
    export_colmap(load_map(wall[1]), tmp_path / "ours")
    (tmp_path / "model").mkdir()
    (tmp_path / "images").mkdir()
    model = pycolmap.Reconstruction(tmp_path / "ours")
    for index in model.reg_image_ids():
        image = model.image(index)
        shift = int(image.name.removeprefix("view"))
        image.name = f"{image.name}.png"
        cv2.imwrite(str(tmp_path / "images" / image.name), wall_view(shift))
    model.write_binary(tmp_path / "model")
    return tmp_path / "model", tmp_path / "images"


@pytest.fixture
def extractor(wall: tuple[Path, Path]) -> Extractor:
    return Extractor(open_backend(wall[0], threads=1), ExtractorConfig(max_keypoints=600))


def test_a_model_of_others_is_described_anew(
    foreign: tuple[Path, Path], wall: tuple[Path, Path], extractor: Extractor
) -> None:
    original = load_map(wall[1])
    (foreign[1] / "view160.png").unlink()
    found = import_colmap_model(*foreign, BuildTools(extractor), frame_id="wall")
    assert found.missing == ("view160.png",)
    again = found.landmark_map
    assert again.keyframes == 5
    assert (again.model_hash, again.frame_id) == (original.model_hash, "wall")
    assert again.landmarks > 100
    place = {name: index for index, name in enumerate(original.keyframe_names)}
    for index, name in enumerate(again.keyframe_names):
        truth = original.map_from_camera(place[name.removesuffix(".png")])
        assert pose_error(again.map_from_camera(index), truth)[0] < 1e-6
    assert again.cameras[0].params == pytest.approx(original.cameras[0].params)
    wall_normal = original.keyframe_poses[0, :, 2]  # landmarks lie on the wall, 2 m ahead of every camera
    depths = (again.landmarks_xyz - original.keyframe_poses[0, :, 3]) @ wall_normal
    assert np.median(np.abs(depths - 2.0)) < 0.02


def test_what_cannot_be_imported_is_refused(foreign: tuple[Path, Path], extractor: Extractor, tmp_path: Path) -> None:
    model, images = foreign
    with pytest.raises(DatasetError, match="no such folder of images"):
        import_colmap_model(model, tmp_path / "none", BuildTools(extractor))
    with pytest.raises(MapError, match="no such COLMAP model"):
        import_colmap_model(tmp_path / "none", images, BuildTools(extractor))
    (tmp_path / "other").mkdir()
    with pytest.raises(DatasetError, match=r"holds 0 of 6 images.*view0"):
        import_colmap_model(model, tmp_path / "other", BuildTools(extractor))
    for path in images.iterdir():
        cv2.imwrite(str(path), np.zeros((60, 80), np.uint8))
    with pytest.raises(DatasetError, match="80x60, the model's camera 320x240"):
        import_colmap_model(model, images, BuildTools(extractor))
    cameras = pycolmap.Reconstruction(model)
    cameras.camera(1).model = pycolmap.CameraModelId.EQUIRECTANGULAR
    cameras.camera(1).params = [320.0, 240.0]
    cameras.write_binary(model)
    with pytest.raises(MapError, match="'EQUIRECTANGULAR' is not supported; use one of"):
        import_colmap_model(model, images, BuildTools(extractor))


def test_one_broken_image_of_a_model_is_a_line(
    foreign: tuple[Path, Path], extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    model, images = foreign
    (images / "view0.png").write_bytes(b"no image")
    cv2.imwrite(str(images / "view160.png"), np.zeros((60, 80), np.uint8))
    found = import_colmap_model(model, images, BuildTools(extractor))
    assert found.landmark_map.keyframes == 4
    assert ["view0.png" in found.broken[0], "80x60" in found.broken[1]] == [True, True]
    assert caplog.text.count("left out") == 2


def test_a_model_without_points_is_triangulated_from_its_poses(
    foreign: tuple[Path, Path], wall: tuple[Path, Path], extractor: Extractor
) -> None:
    model, images = foreign
    reconstruction = pycolmap.Reconstruction(model)
    for point in list(reconstruction.points3D):
        reconstruction.delete_point3D(point)
    reconstruction.write_binary(model)
    found = import_colmap_model(model, images, BuildTools(extractor)).landmark_map
    original = load_map(wall[1])
    assert (found.keyframes, found.provenance["recordings"][0]["points"]) == (6, 0)
    assert found.landmarks > 100
    np.testing.assert_allclose(found.keyframe_poses[0], original.keyframe_poses[0], atol=1e-9)
    depths = (found.landmarks_xyz - original.keyframe_poses[0, :, 3]) @ original.keyframe_poses[0, :, 2]
    assert np.median(np.abs(depths - 2.0)) < 0.02


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["hfnet", "map", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_life(
    wall: tuple[Path, Path], foreign: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Every command once, on files."""
    model, path = wall
    at = tmp_path / "out"
    at.mkdir()
    wall_bag(tmp_path / "bag", [16, 48, 80, 112])
    assert run(monkeypatch, "extend", path, tmp_path / "bag", "-o", at / "a.hfmap", "--model", model) == 0
    grown = load_map(at / "a.hfmap")
    assert grown.keyframes > load_map(path).keyframes
    assert "keyframes added" in capsys.readouterr().out
    assert run(monkeypatch, "merge", path, at / "a.hfmap", "-o", at / "b.hfmap") == 0
    assert load_map(at / "b.hfmap").keyframes == grown.keyframes + 6
    assert run(monkeypatch, "prune", at / "b.hfmap", "-o", at / "c.hfmap", "--max-landmarks", 300,
               "--min-per-keyframe", 50) == 0  # fmt: skip
    assert load_map(at / "c.hfmap").landmarks <= 300
    assert run(monkeypatch, "align", path, "-o", at / "d.hfmap", "--transform", "1 0 0 0 0 0 1", "--frame", "x") == 0
    assert load_map(at / "d.hfmap").frame_id == "x"
    assert run(monkeypatch, "view", path, "-o", at / "v.html") == 0
    assert run(monkeypatch, "export", path, "-o", at / "v.ply") == 0
    assert run(monkeypatch, "import", foreign[0], "--images", foreign[1], "-o", at / "e.hfmap", "--model", model) == 0
    assert load_map(at / "e.hfmap").keyframes == 6
    left = sorted(item.name for item in at.iterdir())
    assert left == ["a.hfmap", "b.hfmap", "c.hfmap", "d.hfmap", "e.hfmap", "v.html", "v.ply"]
    for arguments, message in (
        (("align", path, "-o", at / "f.hfmap"), "exactly one of"),
        (("prune", path, "-o", at / "f.hfmap"), "nothing to prune to"),
        (("view", path, "-o", at / "f.pdf"), "a .png or an .html"),
        (("import", foreign[0], "-o", at / "f.hfmap"), "--images"),
        (("extend", path, tmp_path / "bag", "-o", at / "f.hfmap"), "was built with model"),
        (("merge", path, tmp_path / "none.hfmap", "-o", at / "f.hfmap"), "no such map"),
    ):
        assert run(monkeypatch, *arguments) == 2
        assert message in capsys.readouterr().err
    assert sorted(item.name for item in at.iterdir()) == left


def test_two_workers_import_the_same_map(
    wall: tuple[Path, Path], foreign: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="dask is not installed: pip install 'hfnet_ros[distributed]'")
    arguments = ("import", foreign[0], "--images", foreign[1], "--model", wall[0])
    assert run(monkeypatch, *arguments, "-o", tmp_path / "alone.hfmap") == 0
    assert run(monkeypatch, *arguments, "-o", tmp_path / "together.hfmap", "--workers", 2) == 0
    assert (tmp_path / "alone.hfmap").read_bytes() == (tmp_path / "together.hfmap").read_bytes()
