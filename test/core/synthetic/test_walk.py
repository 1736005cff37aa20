"""The rendered place, the walks through it, and what the sensor makes of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hfnet_core.errors import ConfigError
from hfnet_core.geometry import pose_error
from hfnet_core.recordings.bags import Bag
from hfnet_core.synthetic import posters as prints
from hfnet_core.synthetic import textures
from hfnet_core.synthetic.lighting import Lamp, Lighting, bake
from hfnet_core.synthetic.rendering import Quad
from hfnet_core.synthetic.sensor import Exposer, Sensor, is_blind
from hfnet_core.synthetic.walk import CAMERA, MAP_PASS, QUERY_PASS, Path, look, record

SMALL = CAMERA.scaled(160, 120)
PAINTERS = {
    "brick": lambda rng: textures.brick(60, 80, rng, 100.0),
    "plaster": lambda rng: textures.plaster(60, 80, rng, 100.0),
    "old_wall": lambda rng: textures.old_wall(60, 80, rng, 100.0, (200, 180, 150), (150, 80, 60)),
    "paving": lambda rng: textures.paving(60, 80, rng, 100.0),
    "stone": lambda rng: textures.stone(60, 80, rng, 100.0),
    "planks": lambda rng: textures.planks(60, 80, rng, 100.0),
    "roof": lambda rng: textures.roof(60, 80, rng, 100.0),
    "cloth": lambda rng: textures.cloth(60, 80, rng, (200, 40, 40), (240, 240, 240), 5),
    "poster": lambda rng: prints.poster(90, 60, rng),
    "sign": lambda rng: prints.sign(40, 90, rng, "SIGN", (20, 40, 60), (250, 250, 240)),
    "window": lambda rng: prints.window(80, 60, rng, (240, 240, 230)),
    "door": lambda rng: prints.door(90, 50, rng, 100.0, (90, 60, 40), "7"),
    "mural": lambda rng: prints.mural(70, 100, rng),
    "market_goods": lambda rng: prints.market_goods(60, 100, rng),
    "shop_front": lambda rng: prints.shop_front(90, 120, rng, 100.0, "SHOP", (60, 90, 90)),
}


@pytest.mark.parametrize("name", PAINTERS)
def test_the_seed_decides_every_pixel(name):
    first, again, other = (PAINTERS[name](np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert float(first.std()) > 5.0  # something to see


def test_look_follows_the_conventions():
    pose = look(np.array([1.0, 2.0, 3.0]), np.pi / 2)  # north, level
    assert np.allclose(pose.rotation[:, 2], [0, 1, 0])
    assert np.allclose(pose.rotation[:, 0], [1, 0, 0])
    assert np.allclose(pose.rotation[:, 1], [0, 0, -1])
    assert np.allclose(
        look(np.zeros(3), 0.4, 0.2, 0.1).rotation @ look(np.zeros(3), 0.4, 0.2, 0.1).rotation.T, np.eye(3)
    )
    assert look(np.zeros(3), 0.0, pitch_rad=0.3).rotation[2, 2] > 0  # up
    assert look(np.zeros(3), 0.0, roll_rad=0.3).rotation[2, 0] < 0  # clockwise: the right side goes down


def test_a_path_pauses_and_passes_its_waypoints():
    path = Path(((0, 0, 0), (2, 0, 0), (2, 2, 90)), speed_m_s=1.0, turn_deg_s=90.0, height_m=1.5, pause_s=1.0)
    assert path.duration_s == pytest.approx(5.0)
    start, end = path.at(0.5), path.at(99.0)
    assert np.allclose(start.translation, [0, 0, 1.5], atol=0.05)
    assert np.allclose(end.translation, [2, 2, 1.5], atol=0.05)
    assert np.allclose(end.rotation[:, 2], [0, 1, 0], atol=0.1)


@pytest.mark.parametrize("day", [MAP_PASS, QUERY_PASS], ids=lambda day: day.name)
def test_walks_are_smooth_and_stay_in_the_yard(day):
    poses = [day.path.at(time_s) for time_s in day.stamps_s]
    for before, after in pairwise(poses):
        metres, degrees = pose_error(before, after)
        assert metres * day.rate_hz < 2.5
        assert degrees * day.rate_hz < 260
    places = np.array([pose.translation for pose in poses])
    in_yard = (places[:, 1] > 0.3) & (places[:, 1] < 7.4) & (places[:, 0] > 0.3) & (places[:, 0] < 10.7)
    in_passage = (places[:, 1] <= 0.3) & (places[:, 0] > 4.5) & (places[:, 0] < 6.1)
    assert (in_yard | in_passage).all()


def test_record_writes_exact_poses_and_names_blind_images(tmp_path):
    day = replace(QUERY_PASS, rate_hz=2.0)
    blind = record(day, tmp_path / "walk", camera=SMALL, every=4)
    with Bag(tmp_path / "walk") as bag:
        frames = list(bag.frames())
        assert bag.camera_frame == "camera"
    assert len(frames) == len(day.stamps_s[::4])
    for frame, time_s in zip(frames, day.stamps_s[::4], strict=True):
        assert frame.stamp_ns == day.stamp_ns(time_s)
        assert frame.camera == SMALL
        assert frame.image.shape == (120, 160, 3)
        assert np.allclose(frame.map_from_camera.matrix(), day.path.at(time_s).matrix(), atol=1e-9)
    assert blind == [frames[0].stamp_ns]  # it begins before a white wall
    assert float(frames[0].image[..., 1].std()) < 12 < float(frames[3].image[..., 1].std())


def test_record_does_not_replace_a_bag(tmp_path):
    (tmp_path / "walk").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        record(MAP_PASS, tmp_path / "walk", camera=SMALL, every=100)


def test_things_throw_shadows_and_lamps_light():
    white = np.full((60, 60, 3), 200, np.uint8)
    floor = Quad(np.array([-1.5, 1.5, 0.0]), np.array([3.0, 0, 0]), np.array([0, -3.0, 0]), white)
    roof = Quad(np.array([-1.5, 1.5, 0.5]), np.array([1.5, 0, 0]), np.array([0, -3.0, 0]), white, two_sided=True)
    sunny = Lighting((0.0, 0.0, 1.0), (0.8, 0.8, 0.8), (0.1, 0.1, 0.1))
    lit = bake([floor, roof], sunny, 0)[0].texture
    assert lit[30, 10].mean() < 0.7 * lit[30, 50].mean()  # the western half lies under the roof
    night = Lighting((0.0, 0.0, 1.0), (0, 0, 0), (0.1, 0.1, 0.1), (Lamp((1.0, 0.0, 0.4), (1.0, 0.5, 0.2)),))
    lamp = bake([floor, roof], night, 0)[0].texture
    assert lamp[30, 50, 0] > lamp[5, 32, 0]
    assert lamp[30, 50, 0] > lamp[30, 50, 2]


def test_motion_blur_moves_nothing_and_exposure_adapts():
    sensor = Sensor(0.02, 100.0, (1, 1, 1), 1.0, 0.0, 0.0, vignette=0.0)
    image = np.zeros((120, 160, 3), np.uint8)
    image[58:63, 78:83] = 200
    blurred = Exposer(sensor, SMALL, 0).expose(image, np.array([0.0, 3.0, 0.0])).astype(float)[..., 0]
    y, x = np.mgrid[0:120, 0:160]
    assert (blurred * x).sum() / blurred.sum() == pytest.approx(80.0, abs=0.2)
    assert (blurred * y).sum() / blurred.sum() == pytest.approx(60.0, abs=0.2)
    assert (blurred.max(axis=0) > 20).sum() > (blurred.max(axis=1) > 20).sum() + 3  # smeared sideways
    dim = np.full((120, 160, 3), 40, np.uint8)
    assert Exposer(sensor, SMALL, 0).expose(dim, np.zeros(3)).mean() > 60


def test_noise_follows_the_seed():
    sensor = Sensor(0.01, 100.0, (1, 1, 1), 1.0, 3.0, 0.05)
    gray = np.full((120, 160, 3), 100, np.uint8)
    first, again, other = (Exposer(sensor, SMALL, seed).expose(gray, np.zeros(3)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert 2.0 < float(first[50:70, 70:90].std()) < 6.0


def test_blind_means_without_edges():
    assert is_blind(np.full((120, 160, 3), 180, np.uint8))
    assert not is_blind(prints.poster(120, 160, np.random.default_rng(0)))
    assert is_blind((prints.poster(120, 160, np.random.default_rng(0)) * 0.02).astype(np.uint8))
