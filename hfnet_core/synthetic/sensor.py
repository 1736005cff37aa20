"""A camera's sensor: what light becomes a photograph, with blur, automatic exposure, vignetting and noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hfnet_core.geometry import Array
from hfnet_core.synthetic.textures import FloatImage, Image, to_image
from hfnet_core.types import Camera

__all__ = ["Exposer", "Sensor", "is_blind"]


@dataclass(frozen=True)
class Sensor:
    """What the camera makes of the light. noise: standard deviation of black; shot: added variance per gray level."""

    exposure_s: float
    target: float
    balance: tuple[float, float, float]
    gamma: float
    noise: float
    shot: float
    vignette: float = 0.16


class Exposer:
    """Turns renderings into photographs, in order: the exposure adapts from one to the next."""

    def __init__(self, sensor: Sensor, camera: Camera, seed: int) -> None:
        self._sensor, self._rng, self._gain = sensor, np.random.default_rng([seed, 77]), 0.0
        self._focal = camera.focal_length[0]
        y, x = np.mgrid[-1 : 1 : camera.height * 1j, -1 : 1 : camera.width * 1j]
        self._falloff = (1.0 - sensor.vignette * (x**2 + y**2)).astype(np.float32)[..., None]

    def expose(self, rendered: Image, camera_turn_rad_s: Array) -> Image:
        """camera_turn_rad_s: [3] rotation rate about the camera's axes."""
        sensor = self._sensor
        wanted = float(np.clip((sensor.target / max(float(rendered.mean()), 1.0)) ** 0.75, 0.5, 2.2))
        self._gain = wanted if self._gain == 0.0 else 0.85 * self._gain + 0.15 * wanted  # as slow as a real camera
        light: FloatImage = rendered.astype(np.float32)
        kernel = _blur_kernel(self._focal * sensor.exposure_s * np.array([camera_turn_rad_s[1], -camera_turn_rad_s[0]]))
        if kernel is not None:
            light = np.asarray(cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
        light *= self._falloff * np.asarray(sensor.balance, np.float32) * np.float32(self._gain)
        np.clip(light, 0.0, 255.0, out=light)
        if sensor.gamma != 1.0:
            light = np.float32(255.0) * np.power(light / np.float32(255.0), np.float32(sensor.gamma))
        noise = self._rng.standard_normal(light.shape, dtype=np.float32)
        light += noise * np.sqrt(np.float32(sensor.noise**2) + np.float32(sensor.shot) * light)
        return to_image(light + 0.5)


def _blur_kernel(flow_px: Array) -> FloatImage | None:
    """A line of the length and direction of the flow, centred so that it moves nothing; None below a pixel."""
    length = float(np.hypot(*flow_px))
    if length < 1.0:
        return None
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for share in np.linspace(-0.5, 0.5, 8 * reach):
        x, y = reach + share * flow_px[0], reach + share * flow_px[1]
        x0, y0 = int(x), int(y)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            kernel[y0 + dy, x0 + dx] += (1 - abs(x - x0 - dx)) * (1 - abs(y - y0 - dy))
    kernel /= kernel.sum()
    return kernel


def is_blind(rendered: Image) -> bool:
    """Whether a picture shows hardly any edge."""
    gray = cv2.GaussianBlur(cv2.cvtColor(rendered, cv2.COLOR_RGB2GRAY), (0, 0), 1.5).astype(np.float32)
    edges = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)) > 24.0
    return float(edges.mean()) < 0.004
