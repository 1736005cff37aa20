"""Photographs along a way, on one of two days, and bags of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Array
from hfnet_core.recordings.bag_writer import WriterTopics, open_writer
from hfnet_core.synthetic.alike.place import Way
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.synthetic.sensor import Exposer, Sensor
from hfnet_core.synthetic.textures import Image
from hfnet_core.synthetic.walk import MAP_PASS, QUERY_PASS

__all__ = ["MAPPED", "VISITED", "photographs", "record_way"]

MAPPED, VISITED = MAP_PASS.sensor, QUERY_PASS.sensor
_JPEG_QUALITY = 92


def photographs(way: Way, renderer: Renderer, sensor: Sensor, seed: int = 0) -> Iterator[Image]:
    """RGB uint8 [H, W, 3] at each of the way's poses, blurred as the camera turns. seed: of the noise."""
    exposer = Exposer(sensor, renderer.camera, seed)
    for pose, turn in zip(way.poses, _turn_rates(way), strict=True):
        yield exposer.expose(renderer.render(pose), turn)


def record_way(way: Way, renderer: Renderer, sensor: Sensor, output: Path, *, start_s: int, seed: int = 0) -> None:
    """A bag of compressed images, calibration and exact poses. Raises ConfigError when it exists."""
    topics = WriterTopics(image="/camera/image", compressed="/camera/image/compressed")
    with open_writer(output, "mcap", topics) as writer:
        shown = photographs(way, renderer, sensor, seed)
        for stamp_s, pose, image in zip(way.stamps_s, way.poses, shown, strict=True):
            stamp_ns = start_s * 10**9 + round(float(stamp_s) * 1e9)
            done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            if not done:
                raise RuntimeError("OpenCV could not encode a rendered image as JPEG")
            writer.camera_info(stamp_ns, renderer.camera)
            writer.compressed(stamp_ns, data.tobytes(), "jpeg")
            writer.pose(stamp_ns, pose)


def _turn_rates(way: Way) -> Array:
    """[N, 3] radians per second about the camera's axes, between an image and the next."""
    turns = [
        Rotation.from_matrix(before.rotation.T @ after.rotation).as_rotvec()
        for before, after in zip(way.poses[:-1], way.poses[1:], strict=True)
    ]
    rates: Array = np.array(turns).reshape(-1, 3) / np.diff(way.stamps_s)[:, None]
    return np.concatenate([rates, rates[-1:] if len(rates) else np.zeros((1, 3))])
