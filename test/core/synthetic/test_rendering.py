"""The renderer draws every point where the camera model projects it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.projection import project as project_to_camera
from hfnet_core.synthetic.rendering import Quad, Renderer, mip_levels
from hfnet_core.types import Camera

PINHOLE = Camera("PINHOLE", 160, 120, (130.0, 132.0, 81.3, 58.2))
DISTORTED = Camera("OPENCV", 160, 120, (130.0, 132.0, 81.3, 58.2, -0.12, 0.03, 0.002, -0.003))
# x right, y down, z forward: a world in which the identity is a pose that looks at z > 0
FACING = {"origin": np.array([-2.0, -1.5, 3.0]), "right": np.array([4.0, 0.0, 0.0]), "down": np.array([0.0, 3.0, 0.0])}


def project(camera: Camera, points: np.ndarray, pose: Pose | None = None) -> np.ndarray:
    """Pixels, by code that has nothing to do with the renderer."""
    pixels, visible = project_to_camera(points, pose or Pose(), camera)
    assert visible.all()
    return pixels


def plain(value, **changes) -> Quad:
    return Quad(texture=np.full((30, 40, 3), value, np.uint8), **{**FACING, **changes})


def dotted(u: float, v: float) -> Quad:
    """A dark wall with a smooth bright dot at texture coordinates (u, v)."""
    height, width = 600, 800
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot((x + 0.5) / width * 4.0 - u * 4.0, (y + 0.5) / height * 3.0 - v * 3.0)
    gray = (250 * np.exp(-((distance / 0.06) ** 2))).astype(np.uint8)
    return Quad(texture=np.repeat(gray[..., None], 3, axis=2), **FACING)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("camera", [PINHOLE, DISTORTED], ids=["pinhole", "distorted"])
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.31, 0.4), (0.72, 0.66)])
@pytest.mark.parametrize("seed", [0, 1])
def test_texture_points_appear_where_the_camera_projects_them(camera, place, seed):
    rng = np.random.default_rng(seed)
    pose = Pose(Rotation.from_rotvec(rng.uniform(-0.15, 0.15, 3)).as_matrix(), rng.uniform(-0.3, 0.3, 3))
    quad = dotted(*place)
    expected = project(camera, quad.point(*place)[None], pose)[0]
    found = centroid(Renderer(camera, [quad]).render(pose))
    assert np.linalg.norm(found - expected) < 0.15  # the dot's own perspective shifts its centroid a little


def test_distortion_is_seen():
    """The comparison above would not notice if both sides ignored the distortion."""
    point = np.array([[-1.2, -0.9, 3.0]])
    assert np.linalg.norm(project(PINHOLE, point) - project(DISTORTED, point)) > 1.5


@pytest.mark.parametrize("order", [1, -1])
def test_nearer_surfaces_hide_farther_ones_in_any_order(order):
    near = plain(200, origin=np.array([-0.2, -0.2, 2.0]), right=np.array([0.4, 0, 0]), down=np.array([0, 0.4, 0]))
    image = Renderer(PINHOLE, [plain(50), near][::order]).render(Pose())
    x, y = project(PINHOLE, np.array([[0.0, 0.0, 2.0]]))[0].round().astype(int)
    assert image[y, x, 0] == 200
    assert image[10, 10, 0] == 50


def test_intersecting_surfaces_meet_where_they_cut():
    tilted = plain(200, origin=np.array([-2.0, -1.5, 2.0]), right=np.array([4.0, 0.0, 2.0]))
    image = Renderer(PINHOLE, [plain(50), tilted]).render(Pose())
    seam = round(float(project(PINHOLE, np.array([[0.0, 0.0, 3.0]]))[0, 0]))
    assert image[58, seam - 3, 0] == 200  # the tilted one is nearer on the left
    assert image[58, seam + 3, 0] == 50


def test_backs_are_invisible_unless_two_sided():
    back = {"origin": np.array([2.0, -1.5, 3.0]), "right": np.array([-4.0, 0.0, 0.0])}
    assert Renderer(PINHOLE, [plain(90, **back)]).render(Pose()).max() == 0
    assert Renderer(PINHOLE, [plain(90, **back, two_sided=True)]).render(Pose())[60, 80, 0] == 90


def test_a_floor_that_passes_below_the_camera_is_cut_at_the_near_plane():
    floor = plain(
        120, origin=np.array([-500.0, 1.0, 900.0]), right=np.array([1000.0, 0, 0]), down=np.array([0, 0, -1800.0])
    )
    image = Renderer(PINHOLE, [floor]).render(Pose())
    horizon = PINHOLE.params[3] + PINHOLE.params[1] / 900.0
    assert (image[int(horizon) + 2 :, :, 0] == 120).all()
    assert (image[: int(horizon) - 1] == 0).all()


def test_what_is_behind_the_camera_is_not_drawn():
    away = Pose(Rotation.from_euler("y", 180, degrees=True).as_matrix())
    assert Renderer(PINHOLE, [plain(90)]).render(away).max() == 0


def test_fine_texture_far_away_does_not_flicker():
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    texture = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    far = Quad(np.array([-4.0, -3.0, 6.0]), np.array([8.0, 0, 0]), np.array([0, 6.0, 0]), texture)
    image = Renderer(PINHOLE, [far]).render(Pose())[20:-20, 20:-20, 0]
    assert abs(float(image.mean()) - 127.5) < 2
    assert float(image.std()) < 16  # a checkerboard is the worst case; nearest-neighbour sampling gives about 127


def test_mip_levels_keep_the_mean():
    texture = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    levels = mip_levels(texture)
    assert [level.shape[:2] for level in levels[:3]] == [(64, 48), (32, 24), (16, 12)]
    assert abs(float(levels[-1].mean()) - float(texture.mean())) < 2


def test_the_same_pose_gives_the_same_picture():
    renderer = Renderer(DISTORTED, [dotted(0.4, 0.4)])
    assert np.array_equal(renderer.render(Pose()), renderer.render(Pose()))


def test_normal_points_to_the_viewer_of_the_front():
    assert np.allclose(plain(1).normal, [0, 0, -1])


def test_other_camera_models_are_refused():
    with pytest.raises(ConfigError, match="OPENCV_FISHEYE"):
        Renderer(Camera("OPENCV_FISHEYE", 160, 120, (100.0, 100.0, 80.0, 60.0, 0, 0, 0, 0)), [plain(1)])


@pytest.mark.parametrize("camera", [PINHOLE, DISTORTED], ids=["pinhole", "distorted"])
def test_depth_is_the_distance_along_the_axis_of_the_nearest_surface(camera):
    pose = Pose(Rotation.from_rotvec((0.0, 0.2, 0.0)).as_matrix(), (0.3, 0.0, 0.1))
    near = plain(9, origin=np.array([-0.2, -0.2, 2.0]), right=np.array([0.4, 0, 0]), down=np.array([0, 0.4, 0]))
    depth = Renderer(camera, [plain(200), near]).depth_m(pose)
    assert depth.shape == (camera.height, camera.width)
    for point in (plain(200).point(0.8, 0.3), near.point(0.55, 0.55)):
        column, row = np.rint(project(camera, point[None], pose)[0]).astype(int)
        assert depth[row, column] == pytest.approx(pose.inverse().apply(point[None])[0, 2], abs=0.02)
    assert not Renderer(camera, [near]).depth_m(pose)[0].any()  # nothing there
