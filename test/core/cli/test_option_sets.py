from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

import hfnet_core
from hfnet_core.cli.main import app
from hfnet_core.cli.option_sets import BagArguments, with_option_sets
from hfnet_core.errors import ConfigError, DatasetError

BAG_COMMANDS = (
    ("map", "build"),
    ("map", "extend"),
    ("map", "update"),
    ("map", "upgrade"),
    ("localize",),
    ("eval-bag",),
    ("bench", "localize"),
)


def flags_of(*names: str) -> set[str]:
    command = typer.main.get_command(app)
    for name in names:
        assert isinstance(command, click.Group) or hasattr(command, "commands")
        command = command.commands[name]  # type: ignore[attr-defined]
    return {flag for parameter in command.params for flag in parameter.opts}


@pytest.mark.parametrize("names", BAG_COMMANDS, ids=" ".join)
def test_what_one_command_can_be_told_about_a_bag_all_can(names: tuple[str, ...]) -> None:
    wanted = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(BagArguments)}
    assert {"--pose-topic", "--tf-topic", "--camera-frame"} <= wanted
    assert wanted <= flags_of(*names)


def test_old_names_of_options_still_work() -> None:
    assert {"--foreign-images", "--strangers", "--foreign-count", "--stranger-count"} <= flags_of("bench", "localize")


def test_the_fields_of_a_set_arrive_as_one_value() -> None:
    small, seen = typer.Typer(), []

    @small.command()
    @with_option_sets
    def command(bag: Path, recording: BagArguments, often: int = 3) -> None:
        seen.append((bag, recording, often))

    result = CliRunner().invoke(
        small, ["a", "--image-topic", "/l", "--image-topic", "/r", "--map-frame", "site", "--often", "2"]
    )
    assert result.exit_code == 0, result.output
    assert seen == [(Path("a"), BagArguments(image_topic=["/l", "/r"], map_frame="site"), 2)]


def test_values_for_each_camera_and_for_all(tmp_path: Path) -> None:
    mount = "1 2 3 0 0 0 1"
    calibrations = [tmp_path / "l.json", tmp_path / "r.json"]
    for path in calibrations:
        path.write_text('{"model": "PINHOLE", "width": 160, "height": 120, "fx": 100, "fy": 100, "cx": 80, "cy": 60}')
    left, right = BagArguments(
        image_topic=["/l", "/r"],
        calibration=calibrations,
        base_from_camera=[mount, mount],
        pose_topic="/odom",
        tf_topic=["/robot/tf"],
    ).options()
    assert (left.image_topic, left.calibration) == ("/l", calibrations[0])
    assert (right.image_topic, right.calibration) == ("/r", calibrations[1])
    for own in (left, right):
        assert own.poses.pose_topic == "/odom"
        assert own.poses.tf_topics == ("/robot/tf",)
        assert own.poses.base_from_camera is not None
        assert own.poses.base_from_camera.translation.tolist() == [1, 2, 3]
    with pytest.raises(ConfigError, match="--calibration: 1 given for 2 cameras"):
        BagArguments(image_topic=["/l", "/r"], calibration=calibrations[:1]).options()
    with pytest.raises(ConfigError, match="--image-topic: given for several cameras"):
        BagArguments(image_topic=["/l", "/r"]).of_one_camera()
    with pytest.raises(DatasetError, match="x y z qx qy qz qw"):
        BagArguments(base_from_camera=["1 2"]).options()


def test_messages_about_bags_advise_only_options_that_every_command_has() -> None:
    source = Path(hfnet_core.__file__).parent
    known = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(BagArguments)}
    known |= {"--overwrite"}  # of `hfnet bag from-images`, which alone writes
    for path in (source / "recordings").glob("*.py"):
        advised = set(re.findall(r"--[a-z][a-z-]+", path.read_text(encoding="utf-8")))
        assert advised <= known, path.name
