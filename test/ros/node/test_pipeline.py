"""Requests to the pipeline from other threads: in the order they came, and none of them lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from wall import CAMERA, map_from_camera, view

from hfnet_core.config import EngineConfig, ExtractorConfig, LocalizerConfig, NodeConfig
from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.images.preparation import Preparation
from hfnet_core.types import Camera, Localized, Mode, NotLocalized, Reason
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.pipeline import Outcome, Pipeline
from hfnet_ros.parameters import Configs

SHIFT = 64
HERE, THERE = map_from_camera(SHIFT), map_from_camera(SHIFT + 64)
SURE = np.eye(6) * 1e-2


@pytest.fixture
def pipeline(wall_world) -> Iterator[Pipeline]:
    model, map_file = wall_world
    config = NodeConfig(map_file=str(map_file), model_file=str(model), threads=1)
    pipeline = Pipeline(
        Configs(config, EngineConfig(), ExtractorConfig(), LocalizerConfig(min_confidence=0.9, search_budget_ms=1000.0))
    )
    yield pipeline
    pipeline.close()


@pytest.mark.parametrize("name", ["x" * 5000, "/" + "y" * 300])
def test_a_name_that_no_file_can_have_is_a_line(wall_world, name: str) -> None:
    config = NodeConfig(map_file=name, model_file=str(wall_world[0]), threads=1)
    with pytest.raises(MapError, match="map cannot be read") as caught:
        Pipeline(Configs(config, EngineConfig(), ExtractorConfig(), LocalizerConfig()))
    assert "\n" not in str(caught.value)


def shown(
    *pictures: np.ndarray, mounting: Pose | None = None, stamp_ns: int = 10**9, camera: Camera = CAMERA
) -> FrameSet:
    frames = tuple(
        CameraFrame(picture, camera, mounting or Pose(), f"camera{number}", "camera", stamp_ns)
        for number, picture in enumerate(pictures)
    )
    return FrameSet(frames, stamp_ns, "camera", stamp_ns, time.perf_counter(), 0)


def localize(pipeline: Pipeline, frames: FrameSet) -> Outcome:
    pipeline.settle(frames.stamp_ns * 1e-9)
    return pipeline.localize(frames, pipeline.extract(frames), None)


def modes(pipeline: Pipeline) -> list[Mode]:
    """How the next image is found."""
    outcome = localize(pipeline, shown(view(SHIFT)))
    assert isinstance(outcome.result, Localized)
    assert pose_error(outcome.result.map_from_camera, HERE)[0] < 0.01
    return [outcome.result.mode]


def test_a_given_pose_guides_the_next_image(pipeline):
    pipeline.start_from(HERE, SURE)
    assert modes(pipeline) == [Mode.TRACKING]


def test_odometry_tells_how_a_camera_that_rolls_is_held(pipeline):
    upside_down = shown(np.ascontiguousarray(np.rot90(view(SHIFT), 2)))
    here = HERE @ Pose(np.diag([-1.0, -1.0, 1.0]))
    pipeline.settle(1.0)
    outcome = pipeline.localize(upside_down, pipeline.extract(upside_down), Pose(translation=np.ones(3)) @ here)
    assert isinstance(outcome.result, Localized)
    assert pose_error(outcome.result.map_from_camera, here)[0] < 0.01
    assert outcome.features[0] is not None
    assert outcome.features[0].rotation == 180
    (next_one,) = pipeline.extract(upside_down)
    assert next_one.rotation == 180  # from now on before the network


def test_the_newer_of_two_given_poses_counts(pipeline):
    """Whatever the order in which they are told before the next image."""
    given: list[Pose] = []
    pipeline._tracker.set_prior = lambda pose, stamp_s, covariance: given.append(pose)
    pipeline.start_from(THERE, SURE)
    pipeline.start_from(HERE, SURE)
    pipeline.settle()
    assert given == [THERE, HERE]


def test_a_pose_that_comes_while_the_former_is_applied_is_not_lost(pipeline):
    given: list[Pose] = []

    def apply(pose: Pose, stamp_s: float, covariance: np.ndarray) -> None:
        if not given:  # the executor's thread hears the next one just now
            pipeline.start_from(HERE, SURE)
        given.append(pose)

    pipeline._tracker.set_prior = apply
    pipeline.start_from(THERE, SURE)
    pipeline.settle()
    assert given == [THERE, HERE]


def test_relocalize_forgets_a_pose_given_before_and_none_given_after(pipeline):
    pipeline.start_from(HERE, SURE)
    pipeline.forget()
    assert modes(pipeline) == [Mode.GLOBAL]
    pipeline.forget()
    pipeline.start_from(HERE, SURE)
    assert modes(pipeline) == [Mode.TRACKING]


def test_one_camera_gives_the_pose_of_the_rig_it_is_mounted_on(pipeline):
    mounting = Pose.from_quat_xyzw([0.5, -0.5, 0.5, -0.5], [0.2, 0.1, 0.4])
    outcome = localize(pipeline, shown(view(SHIFT), mounting=mounting))
    assert isinstance(outcome.result, Localized)
    metres, degrees = pose_error(outcome.result.map_from_camera, HERE @ mounting.inverse())
    assert metres < 0.01
    assert degrees < 0.3


def test_what_is_to_be_turned_or_hidden_is_so_before_the_network(pipeline):
    mask = np.ones((CAMERA.height, CAMERA.width), bool)
    mask[200:] = False
    prepared = CameraFrame(
        np.ascontiguousarray(np.rot90(view(SHIFT), 2)),
        CAMERA,
        Pose(),
        "",
        "camera",
        10**9,
        Preparation(180, mask[::-1]),
    )
    found = localize(pipeline, FrameSet((prepared,), 10**9, "camera", 10**9, time.perf_counter(), 0)).result
    assert isinstance(found, Localized)
    assert pose_error(found.map_from_camera, HERE @ Pose(np.diag([-1.0, -1.0, 1.0])))[0] < 0.01
    assert found.keypoints_px[:, 1].min() > CAMERA.height - 201


def test_a_frame_that_the_network_cannot_take_leaves_the_others(pipeline):
    tiny = np.zeros((4, 8), np.uint8)
    outcome = localize(pipeline, shown(tiny, view(SHIFT)))
    assert isinstance(outcome.result, Localized)
    assert [own is None for own in outcome.features] == [True, False]
    assert outcome.failures[0] is not None
    assert outcome.failures[1] is None
    alone = localize(pipeline, shown(tiny))
    assert isinstance(alone.result, NotLocalized)
    assert alone.result.reason is Reason.BAD_IMAGE


def scaled(factor: float, centre: float | None = None) -> Camera:
    """The camera with all of K times a factor, or its principal point by another one."""
    fx, fy, cx, cy = CAMERA.params
    far = factor if centre is None else centre
    return Camera("PINHOLE", CAMERA.width, CAMERA.height, (factor * fx, factor * fy, far * cx, far * cy))


def test_the_calibration_of_another_resolution_gives_no_pose_but_the_reason(pipeline):
    outcome = localize(pipeline, shown(view(SHIFT), camera=scaled(0.667)))
    assert isinstance(outcome.result, NotLocalized)
    assert "K is that of the map's camera of 320x240 times 0.667" in outcome.result.detail
    assert pipeline.calibration_warnings == {"camera0": outcome.result.detail}
    assert isinstance(localize(pipeline, shown(view(SHIFT))).result, Localized)
    assert pipeline.calibration_warnings == {"camera0": None}


def test_a_camera_unlike_the_maps_is_a_warning(pipeline):
    localize(pipeline, shown(view(SHIFT), camera=scaled(0.8, 1.03)))
    said = pipeline.calibration_warnings["camera0"]
    assert said is not None
    assert "unlike that of the map's camera of the same 320x240" in said


def test_a_trusted_calibration_is_used(wall_world):
    model, map_file = wall_world
    config = NodeConfig(map_file=str(map_file), model_file=str(model), threads=1, trust_calibration=True)
    pipeline = Pipeline(Configs(config, EngineConfig(), ExtractorConfig(), LocalizerConfig()))
    try:
        outcome = localize(pipeline, shown(view(SHIFT), camera=scaled(0.667)))
        assert outcome.failures == (None,)
        assert pipeline.calibration_warnings == {"camera0": None}
    finally:
        pipeline.close()


def test_what_is_asked_while_an_image_takes_long_is_left_to_the_next_one(pipeline):
    """An image that outlives its session writes the past that the next session was told to forget."""
    with pipeline.turn:
        pipeline.forget()
        pipeline.settle_if_idle()
        assert not pipeline.is_settled
    pipeline.settle_if_idle()
    assert pipeline.is_settled
