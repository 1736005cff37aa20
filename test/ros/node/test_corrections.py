"""map->odom over time: as old as the node's clock says, whatever that does."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Pose
from hfnet_ros.node.corrections import Correction, Corrections

S = 10**9
CONFIG = NodeConfig(odom_frame_id="odom", transform_tolerance=0.5, correction_timeout_s=2.0)
TOLERANCE_NS = S // 2


class World:
    """A node's clock, the transforms that it sent, and an image taken 50 ms before it came."""

    def __init__(self, now_ns: int = 1000 * S) -> None:
        self.now_ns = now_ns
        self.sent_ns: list[int] = []
        self.sent_m: list[float] = []
        node = SimpleNamespace(get_clock=lambda: SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns)))
        frames = SimpleNamespace(broadcast=self.sent)
        self.corrections = Corrections(node, frames)

    def sent(self, parent: str, child: str, pose: Pose, stamp_ns: int) -> None:
        self.sent_ns.append(stamp_ns)
        self.sent_m.append(float(pose.translation[0]))

    def vouch(self, version_ns: int, metres: float) -> bool:
        """A mapping node says where a version of the map puts the odometry's frame."""
        pose = Pose(translation=np.array([metres, 0.0, 0.0]))
        return self.corrections.vouch(pose, ("map", "odom"), version_ns, CONFIG)

    def correct(self, config: NodeConfig = CONFIG) -> int:
        """An image comes and is localized; returns its stamp."""
        stamp_ns = self.now_ns - S // 20
        self.corrections.correct(Correction(Pose(), "map", "odom", stamp_ns, self.now_ns), config)
        return stamp_ns

    def pass_by(self, seconds: float, config: NodeConfig = CONFIG) -> str:
        """Let time pass in steps of the node's timer; returns what is wrong then."""
        said = ""
        for _ in range(round(seconds / 0.1)):
            self.now_ns += S // 10
            said = self.corrections.bridge(config)
        return said


@pytest.fixture
def world() -> World:
    return World()


def test_a_correction_is_post_dated_from_its_image(world):
    stamp_ns = world.correct()
    assert world.sent_ns == [stamp_ns + TOLERANCE_NS]


def test_it_stays_ahead_of_the_clock_between_images(world):
    world.correct()
    for _ in range(19):
        assert world.pass_by(0.1) == ""
        assert world.now_ns < world.sent_ns[-1] <= world.now_ns + TOLERANCE_NS
    assert world.sent_ns == sorted(set(world.sent_ns))


def test_a_slow_image_on_a_fast_clock_is_ahead_at_once(world):
    """Five times as fast, an image of 200 ms is a second old when its pose is known."""
    stamp_ns, received_ns = world.now_ns, world.now_ns
    world.now_ns += S
    world.corrections.correct(Correction(Pose(), "map", "odom", stamp_ns, received_ns), CONFIG)
    assert world.sent_ns == [stamp_ns + TOLERANCE_NS, world.now_ns + TOLERANCE_NS]


def test_a_recordings_past_stays_past(world):
    """Without simulated time its stamps are old; they go on from there."""
    stamp_ns = 5 * S
    world.corrections.correct(Correction(Pose(), "map", "odom", stamp_ns, world.now_ns), CONFIG)
    world.pass_by(1.0)
    assert stamp_ns + S < world.sent_ns[-1] <= stamp_ns + S + TOLERANCE_NS


def test_it_freezes_when_it_is_old_and_goes_on_with_the_next_pose(world):
    world.correct()
    assert world.pass_by(2.5) == "map->odom is frozen: no pose for 2 s"
    known = len(world.sent_ns)
    world.pass_by(10.0)
    assert len(world.sent_ns) == known
    world.correct()
    assert world.pass_by(0.1) == ""


def test_a_clock_that_stands_still_makes_nothing_old(world):
    world.correct()
    world.pass_by(1.0)
    known = len(world.sent_ns)
    for _ in range(1000):
        assert world.corrections.bridge(CONFIG) == ""
    assert len(world.sent_ns) == known


def test_a_clock_that_jumps_ahead_makes_it_old(world):
    world.correct()
    world.now_ns += 60 * S
    assert "no pose for 60 s" in world.corrections.bridge(CONFIG)


def test_after_a_jump_back_the_stamps_are_of_the_new_time(world):
    world.correct()
    world.pass_by(1.0)
    world.now_ns -= 500 * S
    assert world.corrections.bridge(CONFIG) == ""  # it may come before the node has noticed
    world.corrections.forget()
    stamp_ns = world.correct()
    assert world.sent_ns[-1] == stamp_ns + TOLERANCE_NS


def test_an_image_of_the_old_time_that_is_late_does_no_harm(world):
    """Its correction comes after everything was forgotten, stamped in what is the future now."""
    world.corrections.forget()
    world.corrections.correct(Correction(Pose(), "map", "odom", world.now_ns, world.now_ns), CONFIG)
    world.now_ns -= 500 * S
    stamp_ns = world.correct()
    assert world.sent_ns[-1] == stamp_ns + TOLERANCE_NS


def test_a_contradicted_correction_is_frozen_until_the_next_pose(world):
    world.correct()
    world.corrections.doubt()
    assert "contradicts" in world.pass_by(1.0)
    assert len(world.sent_ns) == 1
    world.correct()
    assert world.pass_by(0.1) == ""


def test_zero_repeats_nothing(world):
    config = NodeConfig(odom_frame_id="odom", correction_timeout_s=0.0)
    world.correct(config)
    assert "frozen" in world.pass_by(1.0, config)
    assert len(world.sent_ns) == 1


def test_a_negative_timeout_repeats_for_ever_and_says_so(world):
    config = NodeConfig(odom_frame_id="odom", correction_timeout_s=-1.0)
    world.correct(config)
    assert world.pass_by(1.9, config) == ""
    assert world.pass_by(60.0, config) == "map->odom is repeated: no pose for 61 s"
    assert world.now_ns < world.sent_ns[-1] <= world.now_ns + TOLERANCE_NS
    world.corrections.doubt()
    assert "contradicts" in world.pass_by(0.1, config)


def test_nothing_is_sent_while_broadcasting_is_off(world):
    world.correct()
    off = NodeConfig(odom_frame_id="odom", tf_broadcast=False)
    assert world.pass_by(5.0, off) == ""
    assert len(world.sent_ns) == 1


def test_the_first_word_on_a_version_counts_and_later_ones_keep_alive_what_images_say(world):
    assert not world.vouch(1, 5.0)  # no image says yet by which clock
    world.corrections.heard(world.now_ns - S // 20, world.now_ns)
    assert world.vouch(1, 5.0)
    assert world.sent_m[-1] == 5.0
    world.correct()
    assert world.sent_m[-1] == 0.0
    for _ in range(50):
        assert world.pass_by(0.2) == ""
        assert not world.vouch(1, 5.0)
    assert world.sent_m[-1] == 0.0  # of the same version
    assert world.now_ns < world.sent_ns[-1] <= world.now_ns + TOLERANCE_NS
    world.corrections.doubt()
    assert not world.vouch(1, 5.0)
    assert "contradicts" in world.pass_by(0.2)
    assert world.vouch(2, 7.0)
    assert world.pass_by(0.2) == ""
    assert world.sent_m[-1] == 7.0
    assert "frozen" in world.pass_by(3.0)  # nobody vouches any more
