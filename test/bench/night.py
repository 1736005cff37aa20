"""Mapped by day, localized by night: `python test/bench/night.py [--model MODEL]`.

Two rendered places, the demo's courtyard and a room, mapped with exact poses in daylight or with all lamps on. The same
way is walked again at several times of day: what is left of the daylight, which lamps are on, and how much noise the
sensor adds. Each image is localized by itself; right within 25 cm and 5 degrees, wrong beyond 50 cm or 10 degrees.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from months import CAMERA as ROOM_CAMERA
from months import DEEP_M, HIGH_M, LAMPS, WIDE_M, Month, room, way

from hfnet_core.config import ExtractorConfig, LocalizerConfig, MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.synthetic import walk
from hfnet_core.synthetic.courtyard import LAMPS as COURTYARD_LAMPS
from hfnet_core.synthetic.lighting import Lamp, Lighting, bake
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.synthetic.sensor import Exposer, Sensor
from hfnet_core.types import Camera, Localized

Photograph = tuple[np.ndarray, Pose]
WARM = (1.0, 0.8, 0.5)


@dataclass(frozen=True)
class Hour:
    """daylight: what is left of the sky's; lamps: how many are on; strength: of each; noise, shot: see `Sensor`."""

    name: str
    daylight: float
    lamps: int
    strength: float
    noise: float
    shot: float


COURTYARD_HOURS = (
    Hour("night, 4 lamps", 0.06, 4, 3.0, 4.0, 0.1),
    Hour("night, 4 weak lamps, noisy", 0.01, 4, 0.4, 10.0, 0.4),
    Hour("night, 1 weak lamp, noisy", 0.005, 1, 0.4, 10.0, 0.4),
)
ROOM_HOURS = (
    Hour("1 lamp", 0.02, 1, 2.0, 4.0, 0.1),
    Hour("1 weak lamp, noisy", 0.005, 1, 0.3, 10.0, 0.4),
    Hour("1 very weak lamp, very noisy", 0.002, 1, 0.15, 15.0, 0.6),
)


def courtyard(hour: Hour | None, every: int) -> Iterator[Photograph]:
    """The demo's second walk; None: as the demo has it, by day."""
    day = walk.QUERY_PASS
    if hour is not None:
        lamps = tuple(
            Lamp(place, tuple(hour.strength * part for part in WARM)) for place in COURTYARD_LAMPS[-hour.lamps :]
        )
        lighting = Lighting((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (hour.daylight,) * 3, lamps)
        day = replace(day, lighting=lighting, sensor=replace(day.sensor, noise=hour.noise, shot=hour.shot))
    return ((shot.image, shot.map_from_camera) for shot in walk.shots(day, every=every) if not shot.blind)


def furnished(hour: Hour | None, visit: int, images: int) -> Iterator[Photograph]:
    """Once around the room; None: all lamps on, little noise."""
    hour = hour or Hour("day", 0.08, LAMPS, 2.0, 2.0, 0.03)
    lamps = tuple(_lamp(n % 3, n // 3, hour.strength) for n in (4, 0, 8, 2, 6, 1, 7, 3, 5)[: hour.lamps])
    lighting = Lighting((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (hour.daylight,) * 3, lamps)
    renderer = Renderer(ROOM_CAMERA, bake(room(Month(lamps=(True,) * LAMPS)), lighting, seed=0), oversampling=1)
    exposer = Exposer(Sensor(0.01, 110.0, (1.0, 1.0, 1.0), 1.0, hour.noise, hour.shot), ROOM_CAMERA, visit)
    for pose in way(visit, images):
        yield exposer.expose(renderer.render(pose), np.zeros(3)), pose


def _lamp(column: int, row: int, strength: float) -> Lamp:
    """One of nine below the ceiling."""
    place = (WIDE_M * (column + 0.5) / 3, DEEP_M * (row + 0.5) / 3, HIGH_M - 0.25)
    return Lamp(place, tuple(strength * part for part in WARM))


def mapped(photographs: Iterator[Photograph], camera: Camera, extractor: Extractor) -> Localizer:
    keyframes = [
        Keyframe(f"day/{n:06d}", 10**12 + n * 10**9, 0, camera, pose, extractor.extract(image).without_dense())
        for n, (image, pose) in enumerate(photographs)
    ]
    found = build_from_keyframes(Placed(keyframes), extractor.info, MapBuildConfig())
    return Localizer(found, LocalizerConfig(search_budget_ms=1000.0))


def told(
    name: str, localizer: Localizer, photographs: Iterator[Photograph], camera: Camera, extractor: Extractor
) -> None:
    images = right = wrong = 0
    errors, brightness = [], []
    for image, pose in photographs:
        images += 1
        brightness.append(float(image.mean()))
        found = localizer.localize([View(extractor.extract(image), camera)])
        if isinstance(found, Localized):
            metres, degrees = pose_error(found.map_from_camera, pose)
            errors.append(metres)
            right += metres < 0.25 and degrees < 5
            wrong += metres > 0.5 or degrees > 10
    median = f"{100 * np.median(errors):.1f} cm" if errors else "-"
    print(
        f"{name:34s} {right:3d} of {images} right, {wrong} wrong, median {median}, gray {np.mean(brightness):.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--every", type=int, default=6, help="of the courtyard's images")
    parser.add_argument("--images", type=int, default=60, help="of the room")
    parser.add_argument("--save", type=Path, help="folder for one image of each hour")
    asked = parser.parse_args()
    extractor = Extractor(open_backend(asked.model, "onnxruntime", threads=1), ExtractorConfig(max_keypoints=1000))
    day = walk.shots(walk.MAP_PASS, every=6)
    yard = mapped(((shot.image, shot.map_from_camera) for shot in day), walk.CAMERA, extractor)
    for hour in (None, *COURTYARD_HOURS):
        name = f"courtyard, {hour.name if hour else 'another day'}"
        told(name, yard, courtyard(hour, asked.every), walk.CAMERA, extractor)
    home = mapped(furnished(None, 0, asked.images), ROOM_CAMERA, extractor)
    for hour in (None, *ROOM_HOURS):
        name = f"room, {hour.name if hour else 'as mapped'}"
        told(name, home, furnished(hour, 1, asked.images), ROOM_CAMERA, extractor)
    if asked.save is not None:
        for where, hours in (("courtyard", COURTYARD_HOURS), ("room", ROOM_HOURS)):
            for hour in hours:
                images = courtyard(hour, 40) if where == "courtyard" else furnished(hour, 1, 8)
                for n, (image, _) in enumerate(images):
                    if n == 2:
                        cv2.imwrite(str(asked.save / f"{where}_{hour.name}.png"), image[..., ::-1])


if __name__ == "__main__":
    main()
