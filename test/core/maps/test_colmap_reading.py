"""Our reader of COLMAP models against pycolmap's writer, and against damage."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from hfnet_core.errors import DatasetError, HFNetError, MapError
from hfnet_core.maps.colmap_model import CAMERA_NUMBERS, MODEL_PARAMETERS
from hfnet_core.maps.colmap_reading import read_model

NAMES = ("cameras", "images", "points3D", "rigs", "frames")


def model_of_a_rig() -> pycolmap.Reconstruction:
    """Two cameras, 10 cm apart, in two frames that see eight points."""
    out = pycolmap.Reconstruction()
    params = [500.0, 501.0, 320.0, 240.0]
    sensors = [pycolmap.sensor_t(pycolmap.SensorType.CAMERA, number) for number in (1, 2)]
    for number in (1, 2):
        out.add_camera(pycolmap.Camera(camera_id=number, model="PINHOLE", width=640, height=480, params=params))
    rig = pycolmap.Rig(rig_id=3)
    rig.add_ref_sensor(sensors[0])
    rig.add_sensor(sensors[1], pycolmap.Rigid3d(np.hstack([np.eye(3), [[0.1], [0.0], [0.0]]])))
    out.add_rig(rig)
    for step in range(2):
        frame = pycolmap.Frame()
        frame.frame_id, frame.rig_id = 7 + step, 3
        turned = np.array([[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, float(step)], [0.0, 0.0, 1.0, 2.0]])
        frame.rig_from_world = pycolmap.Rigid3d(turned)
        for number in (1, 2):
            frame.add_data_id(pycolmap.data_t(sensors[number - 1], 10 * step + number))
        out.add_frame(frame)
        for number in (1, 2):
            image = pycolmap.Image(
                name=f"a b/{step} {number}.png", keypoints=np.arange(16.0).reshape(8, 2) + step, camera_id=number,
                image_id=10 * step + number,
            )  # fmt: skip
            image.frame_id = 7 + step
            out.add_image(image)
        out.register_frame(7 + step)
    for index in range(8):
        seen = [pycolmap.TrackElement(image, index) for image in (1, 2, 11, 12)]
        xyz = np.array([index, 0.5, 3.0])
        out.add_point3D_with_id(5 + 2 * index, pycolmap.Point3D(xyz=xyz, track=pycolmap.Track(seen)))
    return out


@pytest.fixture(params=["binary", "text"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    model = model_of_a_rig()
    if request.param == "text":
        model.write_text(path)
    else:
        model.write_binary(path)
    return path


def test_we_read_what_pycolmap_reads(folder: Path) -> None:
    theirs, ours = pycolmap.Reconstruction(folder), read_model(folder)
    assert sorted(ours.cameras) == sorted(theirs.cameras)
    for camera_id, camera in ours.cameras.items():
        found = theirs.camera(camera_id)
        assert (camera.model, camera.width, camera.height) == (found.model_name, found.width, found.height)
        assert camera.params == tuple(found.params)
    assert sorted(ours.images) == sorted(theirs.reg_image_ids())
    for image_id, image in ours.images.items():
        found = theirs.image(image_id)
        assert image.name.split()[0] == found.name.split()[0]  # of names with spaces in text it reads the beginning
        assert image.name == f"a b/{image_id // 10} {image_id % 10}.png"
        assert image.camera_id == found.camera_id
        assert np.allclose(image.camera_from_world.matrix()[:3], found.cam_from_world().matrix(), atol=1e-12)
        assert np.array_equal(image.keypoints_px, [point.xy for point in found.points2D])
        assert image.points.tolist() == [point.point3D_id for point in found.points2D]
    assert ours.point_ids.tolist() == sorted(theirs.point3D_ids())
    for row, point_id in enumerate(ours.point_ids.tolist()):
        found = theirs.point3D(point_id)
        assert np.array_equal(ours.points_xyz[row], found.xyz)
        track = ours.tracks[ours.tracks[:, 0] == row, 1:].tolist()
        assert track == [[element.image_id, element.point2D_idx] for element in found.track.elements]


def test_a_model_without_rigs_and_frames_is_read(folder: Path) -> None:
    before = read_model(folder)
    for path in folder.iterdir():
        if path.stem in ("rigs", "frames"):
            path.unlink()
    assert list(read_model(folder).images) == list(before.images)


def test_a_model_without_points_is_read(tmp_path: Path) -> None:
    model = model_of_a_rig()
    for point_id in list(model.point3D_ids()):
        model.delete_point3D(point_id)
    model.write_binary(tmp_path)
    found = read_model(tmp_path)
    assert (len(found.images), len(found.point_ids), len(found.tracks)) == (4, 0, 0)


def test_every_camera_model_of_pycolmap_is_known() -> None:
    theirs = {int(value): name for name, value in pycolmap.CameraModelId.__members__.items() if int(value) >= 0}
    assert theirs == CAMERA_NUMBERS
    for name in CAMERA_NUMBERS.values():
        made = pycolmap.Camera.create_from_model_name(1, name, 100.0, 640, 480)
        assert len(made.params) == MODEL_PARAMETERS[name], name


def changed(folder: Path, name: str, old: bytes, new: bytes) -> None:
    path = folder / name
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("cameras.txt", b"640", b"-1", "'-1' is no id or count"),
        ("cameras.txt", b"640", b"18446744073709551616", "is no id or count"),
        ("cameras.txt", b"501", b"nan", "not finite"),
        ("cameras.txt", b" 320", b"", "3 parameters do not fit"),
        ("cameras.txt", b"PINHOLE", b"TAPE", "'TAPE' is no camera model"),
        ("cameras.txt", b"\n2 PINHOLE", b"\n1 PINHOLE", "two records of one camera"),
        ("images.txt", b"a b/0 1.png", b"../../etc/passwd", "no name of an image below a folder"),
        ("images.txt", b"a b/0 1.png", b"/etc/passwd", "no name of an image below a folder"),
        ("images.txt", b"a b/0 1.png", b"a b/0 2.png", "two images have one name"),
        ("images.txt", b"0 1 5 2", b"0 1 5", "no triples"),
        ("images.txt", b"0 1 5 2", b"0 1 7 2", "belong to two points"),
        ("images.txt", b"0 1 5 2", b"inf 1 5 2", "keypoints that are no pixels"),
        ("images.txt", b" 2 1 a b/0", b" 2.5 1 a b/0", "one pose of its own and another of its frame"),
        ("points3D.txt", b" 1 0 ", b" 1 99 ", "by a keypoint of image 'a b/0 1.png' that is not there"),
        ("points3D.txt", b" 1 0 ", b" 77 0 ", "by an image 77 that is not there"),
        ("points3D.txt", b" 0.5 3 ", b" 0.5 1e300 ", "too far away"),
        ("points3D.txt", b" 0.5 3 ", b" 0.5 three ", "could not convert"),
        ("frames.txt", b" 2 CAMERA", b" 9 CAMERA", "as many images as it says"),
        ("frames.txt", b"7 3", b"7 4", "a rig 4 that is not there"),
        ("rigs.txt", b"3 2 CAMERA", b"3 9999999 CAMERA", "lacks columns"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_named(tmp_path: Path, name: str, old: bytes, new: bytes, said: str) -> None:
    model_of_a_rig().write_text(tmp_path)
    changed(tmp_path, name, old, new)
    with pytest.raises(DatasetError, match=said) as caught:
        read_model(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_lengths_beyond_the_file_are_refused_at_once(tmp_path: Path, name: str) -> None:
    model_of_a_rig().write_binary(tmp_path)
    path = tmp_path / f"{name}.bin"
    for size in (2**24, 2**56, 2**64 - 1):
        content = path.read_bytes()
        path.write_bytes(size.to_bytes(8, "little") + content[8:])
        with pytest.raises(DatasetError, match="for which it is too short"):
            read_model(tmp_path)
        path.write_bytes(content)
    path.write_bytes(content + b"\0")
    with pytest.raises(DatasetError, match="1 bytes follow the last record"):
        read_model(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_of_a_binary_file_is_noticed(tmp_path: Path, name: str) -> None:
    model_of_a_rig().write_binary(tmp_path)
    path = tmp_path / f"{name}.bin"
    content = path.read_bytes()
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(DatasetError):
            read_model(tmp_path)


def test_damage_gives_an_error_of_ours_or_a_model_of_finite_numbers(folder: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    original = {path.name: path.read_bytes() for path in folder.iterdir()}
    for _ in range(300):
        name = rng.choice(sorted(original))
        content = bytearray(original[name])
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        (folder / name).write_bytes(content)
        try:
            model = read_model(folder)
        except HFNetError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(model.points_xyz).all()
        (folder / name).write_bytes(original[name])


def test_no_model_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="no such COLMAP model"):
        read_model(tmp_path / "none")
    with pytest.raises(MapError, match="is no COLMAP model"):
        read_model(tmp_path)
    model_of_a_rig().write_text(tmp_path)
    (tmp_path / "cameras.txt").unlink()
    (tmp_path / "cameras.txt").mkdir()
    with pytest.raises(DatasetError, match="Is a directory"):
        read_model(tmp_path)
