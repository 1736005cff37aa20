"""A triangulated scene as a COLMAP model with all keypoints of every image, as hloc and COLMAP work on.

`hfnet map export` writes what a map keeps: keypoints with a landmark. Here the n-th point of an image is its n-th
keypoint in the file of features, so that matches by number fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.extras import later
from hfnet_core.maintenance.joint import Joined, Member
from hfnet_core.maps.colmap_cameras import to_pycolmap
from hfnet_core.types import Camera

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["write_sfm_model"]

_HALF_PIXEL = 0.5  # COLMAP's (0, 0) is the corner of the top-left pixel


def write_sfm_model(
    folder: Path, members: Sequence[Member], joined: Joined, orders: Sequence[NDArray[np.int64]] | None = None
) -> None:
    """Write cameras, images and points, binary; image and camera ids count from 1 in the order of members.

    orders: of each member, the number of each of its keypoints in a file of features; without it they are as they come.
    Raises ConfigError where the folder exists with something in it, DatasetError where it cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: is not empty; remove it or choose another name for the COLMAP model")
    model = pycolmap.Reconstruction()
    for index, camera in enumerate(joined.cameras):
        model.add_camera_with_trivial_rig(to_pycolmap(_shifted(camera), index + 1))
    places = [
        np.arange(len(member.features), dtype=np.int64) if orders is None else orders[index]
        for index, member in enumerate(members)
    ]
    for index, (member, pose) in enumerate(zip(members, joined.poses, strict=True)):
        keypoints = np.zeros((int(places[index].max(initial=-1)) + 1, 2))
        keypoints[places[index]] = member.features.keypoints_px + _HALF_PIXEL
        image = pycolmap.Image(name=member.name, keypoints=keypoints, camera_id=member.camera + 1, image_id=index + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose.inverse().matrix()[:3]))
    order = np.argsort(joined.rows[:, 0], kind="stable")
    ends = np.cumsum(np.bincount(joined.rows[:, 0], minlength=len(joined.points)))
    for point, rows in enumerate(np.split(joined.rows[order], ends[:-1]) if len(joined.points) else []):
        track = [pycolmap.TrackElement(int(view) + 1, int(places[view][keypoint])) for _, view, keypoint in rows]
        model.add_point3D_with_id(point + 1, pycolmap.Point3D(xyz=joined.points[point], track=pycolmap.Track(track)))
    model.update_point_3d_errors()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.write_binary(folder)
    except (OSError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{folder}: cannot be written ({error}); make room or choose another folder") from error


def _shifted(camera: Camera) -> Camera:
    place = len(camera.focal_parameters)
    params = list(camera.params)
    params[place] += _HALF_PIXEL
    params[place + 1] += _HALF_PIXEL
    return Camera(camera.model, camera.width, camera.height, tuple(params))
