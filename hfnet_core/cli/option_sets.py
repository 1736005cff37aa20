"""Options that several commands have, declared once: fields of a dataclass become options of commands that take it.

@app.command()
@with_option_sets
def build(bags: ..., recording: BagArguments, model: ... = None) -> None: ...
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from hfnet_core.errors import ConfigError
from hfnet_core.recordings.calibration.files.reading import cameras_in_file
from hfnet_core.recordings.options import BagOptions, PoseOptions, options_per_camera
from hfnet_core.recordings.tum import parse_pose

__all__ = ["BagArguments", "ModelFile", "WorkerArguments", "given_options", "with_option_sets"]

ModelFile = Annotated[Path | None, typer.Option(help="Network (ONNX) [default: the one that ships]")]


@dataclass(frozen=True)
class BagArguments:
    """What a user can tell about a recording; lists have one entry for each of several cameras."""

    image_topic: Annotated[list[str] | None, typer.Option(help="Image topic; one for each of several cameras.")] = None
    camera_info_topic: Annotated[list[str] | None, typer.Option(help="Its calibration, if not beside it.")] = None
    calibration: Annotated[list[Path] | None, typer.Option(help="Calibration file (FILE#CAMERA), not camera_info.")] = (
        None
    )
    trust_calibration: Annotated[
        bool, typer.Option("--trust-calibration", help="Take a calibration that looks impossible all the same.")
    ] = False
    camera_frame: Annotated[list[str] | None, typer.Option(help="Frame of the images [default: as they say]")] = None
    image_rotation: Annotated[
        list[str] | None, typer.Option(help="Images are upright after turning clockwise: 0, 90, 180, 270 or auto.")
    ] = None
    mask: Annotated[
        list[Path] | None, typer.Option(help="What of the image counts: black parts of an image or polygons do not.")
    ] = None
    base_from_camera: Annotated[list[str] | None, typer.Option(help="Instead of /tf: 'x y z qx qy qz qw'.")] = None
    pose_topic: Annotated[str | None, typer.Option(help="Topic of poses or odometry, or /tf; only it is read.")] = None
    poses: Annotated[Path | None, typer.Option(help="Poses from a TUM file instead of a topic.")] = None
    pose_frame: Annotated[str | None, typer.Option(help="Frame whose poses these are [default: camera]")] = None
    map_frame: Annotated[str | None, typer.Option(help="Fixed frame of /tf [default: map, world or odom]")] = None
    gps_topic: Annotated[str | None, typer.Option(help="Topic of GPS fixes, if there are several.")] = None
    depth_topic: Annotated[
        list[str] | None, typer.Option(help="Depth of the images, or none [default: beside them]")
    ] = None
    depth_camera_info_topic: Annotated[
        list[str] | None, typer.Option(help="Its calibration, of depth that is not registered to the images.")
    ] = None
    camera_from_depth: Annotated[list[str] | None, typer.Option(help="Instead of /tf: 'x y z qx qy qz qw'.")] = None
    stereo_topic: Annotated[
        list[str] | None, typer.Option(help="Right images of a rectified pair, or none [default: beside the left]")
    ] = None
    tf_topic: Annotated[
        list[str] | None, typer.Option(help="Topic of transforms, if there are several trees; two are joined.")
    ] = None

    def options(self) -> tuple[BagOptions, ...]:
        """For each camera. Raises ConfigError where something is given for some of them only."""
        poses = PoseOptions(
            self.pose_topic, self.poses, self.pose_frame, self.map_frame, tf_topics=tuple(self.tf_topic or ())
        )
        return options_per_camera(
            BagOptions(poses=poses, trust_calibration=self.trust_calibration, gps_topic=self.gps_topic),
            image_topic=self.image_topic or (),
            camera_info_topic=self.camera_info_topic or (),
            calibration=self._calibrations(),
            camera_frame=self.camera_frame or (),
            image_rotation=self.image_rotation or (),
            mask=self.mask or (),
            depth_topic=self.depth_topic or (),
            depth_camera_info_topic=self.depth_camera_info_topic or (),
            camera_from_depth=[parse_pose(text) for text in self.camera_from_depth or ()],
            stereo_topic=self.stereo_topic or (),
            base_from_camera=[parse_pose(text) for text in self.base_from_camera or ()],
        )

    def _calibrations(self) -> list[Path]:
        """A file for each camera; one file that holds several cameras is for all of them."""
        files, cameras = list(self.calibration or ()), len(self.image_topic or ())
        if len(files) == 1 < cameras and files[0].is_file() and len(cameras_in_file(files[0])) > 1:
            return files * cameras
        return files

    def of_one_camera(self) -> BagOptions:
        """Raises ConfigError for several."""
        options = self.options()
        if len(options) > 1:
            raise ConfigError("--image-topic: given for several cameras; this command takes one")
        return options[0]

    @property
    def tells_poses(self) -> bool:
        """Whether anything is said of poses."""
        return any((self.pose_topic, self.poses, self.pose_frame, self.map_frame))


@dataclass(frozen=True)
class WorkerArguments:
    """Who computes."""

    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler whose workers compute: tcp://HOST:8786.")] = None
    workers: Annotated[int, typer.Option(min=0, help="Or this many processes of this machine, by Dask.")] = 0

    @property
    def shared(self) -> bool:
        """Whether other processes compute, which a GPU's engine could not be sent to."""
        return bool(self.scheduler or self.workers)


def given_options(context: typer.Context) -> set[str]:
    """Names of the parameters that the command line names, whatever their values."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def with_option_sets(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter that is a dataclass replaced by an option for each of its fields."""
    hints = get_type_hints(command, include_extras=True)
    sets = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind) and isinstance(kind, type)}
    owners = {field.name: name for name, kind in sets.items() for field in dataclasses.fields(kind)}

    def run(**given: Any) -> None:
        values: dict[str, dict[str, Any]] = {name: {} for name in sets}
        for name in [name for name in given if name in owners]:
            values[owners[name]][name] = given.pop(name)
        command(**given, **{name: kind(**values[name]) for name, kind in sets.items()})

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    parameters = list(_parameters(command, hints, sets))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(
    command: Callable[..., None], hints: dict[str, Any], sets: dict[str, type[Any]]
) -> Iterator[inspect.Parameter]:
    for parameter in inspect.signature(command).parameters.values():
        kind = sets.get(parameter.name)
        if kind is None:
            yield parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
            continue
        own = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            yield inspect.Parameter(
                field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=own[field.name]
            )
