"""Photos from surveyed positions laid out as Aachen Day-Night is, their model made by pycolmap with SIFT."""

from __future__ import annotations

import shutil
from pathlib import Path

import pycolmap
from surveyed_photos import surveyed

from hfnet_core.geometry import Pose
from hfnet_core.recordings.image_folder import FolderFrame
from hfnet_core.types import Camera

__all__ = ["as_aachen"]

FOLDS = 3


def as_aachen(folder: Path, data: Path, fold: int = 0) -> dict[str, Pose]:
    """Every third photo is a query, the others are the map; true poses of the queries by their name."""
    camera, frames = surveyed(folder)
    images = data / "images_upright"
    mapped = {f"db/{frame.path.name}": frame for index, frame in enumerate(frames) if index % FOLDS != fold}
    asked = {f"query/day/kodak/{frame.path.name}": frame for index, frame in enumerate(frames) if index % FOLDS == fold}
    for name, frame in {**mapped, **asked}.items():
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(frame.path, images / name)
    models = data / "3D-models"
    models.mkdir()
    model = _triangulated(images, list(mapped), mapped, camera, models / "sift.db")
    _write_nvm(models / "aachen_cvpr2018_db.nvm", model)
    fx, fy, cx, cy = camera.params
    told = f"PINHOLE {camera.width} {camera.height} {fx:.9g} {fy:.9g} {cx + 0.5:.9g} {cy + 0.5:.9g}"
    (models / "database_intrinsics.txt").write_text("".join(f"{name} {told}\n" for name in mapped))
    (data / "queries").mkdir()
    for condition, names in (("day", asked), ("night", list(asked)[:1])):
        lines = "".join(f"{name} {told}\n" for name in names)
        (data / f"queries/{condition}_time_queries_with_intrinsics.txt").write_text(lines)
    return {name: frame.map_from_camera for name, frame in asked.items()}


def _triangulated(
    images: Path, names: list[str], frames: dict[str, FolderFrame], camera: Camera, database: Path
) -> pycolmap.Reconstruction:
    """SIFT, matched exhaustively, triangulated from the surveyed poses."""
    reader = pycolmap.ImageReaderOptions()
    fx, fy, cx, cy = camera.params
    reader.camera_model, reader.camera_params = "PINHOLE", f"{fx},{fy},{cx + 0.5},{cy + 0.5}"
    pycolmap.extract_features(
        database,
        images,
        names,
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        device=pycolmap.Device.cpu,
    )
    pycolmap.match_exhaustive(database, device=pycolmap.Device.cpu)
    with pycolmap.Database.open(database) as opened:
        known = {image.name: image.image_id for image in opened.read_all_images()}
    model = pycolmap.Reconstruction()
    own = pycolmap.Camera(
        camera_id=1, model="PINHOLE", width=camera.width, height=camera.height, params=[fx, fy, cx + 0.5, cy + 0.5]
    )
    model.add_camera_with_trivial_rig(own)
    for name in names:
        pose = frames[name].map_from_camera
        assert pose is not None
        image = pycolmap.Image(name=name, camera_id=1, image_id=known[name])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose.inverse().matrix()[:3]))
    return pycolmap.triangulate_points(model, database, images, database.parent / "sift")


def _write_nvm(path: Path, model: pycolmap.Reconstruction) -> None:
    """As COLMAP exports it: pixels count from the corner of the first one."""
    images = sorted(model.images.values(), key=lambda image: image.image_id)
    place = {image.image_id: index for index, image in enumerate(images)}
    lines = ["NVM_V3", "", str(len(images))]
    for image in images:
        x, y, z, w = image.cam_from_world().rotation.quat
        focal = model.cameras[image.camera_id].mean_focal_length()
        numbers = (focal, w, x, y, z, *image.projection_center(), 0.0)
        lines.append(f"{image.name} {' '.join(f'{value:.12g}' for value in numbers)} 0")
    lines += ["", str(len(model.points3D))]
    for point in model.points3D.values():
        elements = point.track.elements
        seen = []
        for element in elements:
            px = model.images[element.image_id].points2D[element.point2D_idx].xy
            seen.append(f"{place[element.image_id]} {element.point2D_idx} {px[0]:.6f} {px[1]:.6f}")
        xyz = " ".join(f"{value:.9g}" for value in point.xyz)
        lines.append(f"{xyz} 0 0 0 {len(elements)} {' '.join(seen)}")
    path.write_text("\n".join(lines) + "\n\n0\n")
