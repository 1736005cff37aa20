"""`hfnet map`: building maps and looking into them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.cli.feature_options import FeatureArguments, PairArguments
from hfnet_core.cli.map.care import add_commands
from hfnet_core.cli.map.tools import build_tools
from hfnet_core.cli.map.update import update
from hfnet_core.cli.map.upgrade import upgrade
from hfnet_core.cli.option_sets import BagArguments, ModelFile, WorkerArguments, given_options, with_option_sets
from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import MapBuildConfig, from_mapping
from hfnet_core.errors import ConfigError, printable
from hfnet_core.evaluation.query_list import read_query_list
from hfnet_core.maintenance.check import check_map
from hfnet_core.maintenance.colmap_import import import_colmap_model
from hfnet_core.maintenance.nvm_import import import_nvm
from hfnet_core.maintenance.posed_images import Imported, Pairing
from hfnet_core.maintenance.sfm_model import write_sfm_model
from hfnet_core.maintenance.summary import summarize, summarize_check
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.mapping.keyframes.workers import open_workers
from hfnet_core.mapping.live.drive_folder import DriveFolder, is_drive_folder
from hfnet_core.mapping.live.solving import build_from_drive
from hfnet_core.mapping.look_alikes import with_look_alikes
from hfnet_core.maps.colmap import export_colmap, export_ply, import_colmap
from hfnet_core.maps.storage import MAP_SUFFIX, check_output, load_map, save_map
from hfnet_core.terminal import SafeConsole

__all__ = ["app"]

app = typer.Typer(help="Build maps and look into them.", no_args_is_help=True)
_DEFAULTS = MapBuildConfig()
_WHILE_DRIVING = {"keyframe_distance_m", "keyframe_angle_deg", "pose_mode", "multi_scale"}  # what is decided then
_OF_ANY_BUILD = {"bags", "output", "scheduler", "workers"}


@dataclass(frozen=True)
class BuildArguments:
    """Settings of a build that people change."""

    keyframe_distance_m: Annotated[float, typer.Option(help="A keyframe after this motion.")] = (
        _DEFAULTS.keyframe_distance_m
    )
    keyframe_angle_deg: Annotated[float, typer.Option(help="Or after this turn.")] = _DEFAULTS.keyframe_angle_deg
    refine: Annotated[bool, typer.Option(help="Refine poses and calibration.")] = _DEFAULTS.refine_poses
    pose_mode: Annotated[str, typer.Option(help="Poses from: auto, given, drifting (odometry), or images alone.")] = (
        _DEFAULTS.pose_mode
    )
    known_distance: Annotated[str, typer.Option(help="Images alone: 'IMAGE_A IMAGE_B METRES', numbers from 0.")] = ""
    scale_free: Annotated[bool, typer.Option("--scale-free", help="Images alone: metres may be arbitrary.")] = False
    descriptor_dtype: Annotated[str, typer.Option(help="Descriptors stored as int8 or float16.")] = (
        _DEFAULTS.descriptor_dtype
    )
    multi_scale: Annotated[bool, typer.Option(help="For queries from much nearer or further away: larger maps.")] = (
        _DEFAULTS.multi_scale
    )

    def config(self) -> MapBuildConfig:
        """Raises ConfigError for a value that is not allowed."""
        values = asdict(self)
        return from_mapping(MapBuildConfig, {"refine_poses": values.pop("refine"), **values})


@app.command("build")
@with_option_sets
def build(
    context: typer.Context,
    bags: Annotated[list[Path], typer.Argument(metavar="BAG...", help="Recordings, or with --images a COLMAP model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The map, NAME{MAP_SUFFIX}.")],
    recording: BagArguments,
    settings: BuildArguments,
    computing: WorkerArguments,
    described: FeatureArguments,
    matching: PairArguments,
    images: Annotated[
        Path | None, typer.Option(help="The one BAG is a COLMAP model with known poses; these are its images.")
    ] = None,
    model: ModelFile = None,
) -> None:
    """Build a map from bags, from what a mapping node has recorded (NAME.hfdrive), or of images with the poses of a
    COLMAP model, which needs no points."""
    check_output(output)
    config = settings.config()
    if images is not None:
        if len(bags) != 1:
            raise ConfigError("--images goes with one COLMAP model instead of bags")
        with build_tools(model, config, computing, output, described) as tools:
            _from_model(_Model(bags[0], images), tools, output, described, matching)
        return
    if matching.given:
        raise ConfigError("--pairs, --matches, --matcher and --colmap go with --images and a COLMAP model")
    if any(is_drive_folder(path) for path in bags):
        if len(bags) > 1:
            raise ConfigError(
                f"{', '.join(map(str, bags))}: what a mapping node has recorded is built alone; build each, then join "
                "them with `hfnet map merge`"
            )
        _from_drive(bags[0], settings, computing, output, given_options(context))
        return
    options = recording.options()
    with build_tools(model, config, computing, output, described) as tools:
        built = build_map(bags, tools.extractor, config, options, tools.progress, tools.workspace)
        save_map(built, output)
    SafeConsole(stderr=True).print(summarize(built, output))


def _from_drive(
    path: Path, settings: BuildArguments, computing: WorkerArguments, output: Path, given: set[str]
) -> None:
    """As it was recorded: keyframes and features are there. Options that were given overrule the node's settings.

    given: their names.

    Raises ConfigError for those that come too late.
    """
    with progress_bars() as show, open_workers(computing.scheduler, computing.workers) as workers:
        folder = DriveFolder(path, workers)
        known, told = folder.settings, {"refine_poses" if name == "refine" else name for name in given}
        wanted = {name: value for name, value in asdict(settings.config()).items() if name in told}
        late = {name for name in wanted if name in _WHILE_DRIVING and wanted[name] != getattr(known, name)}
        late |= told - set(wanted) - _OF_ANY_BUILD
        if late:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(late))
            raise ConfigError(
                f"{options}: too late for {path}, whose keyframes were chosen and described while driving: set it as a "
                "parameter of the mapping node, or build from a bag"
            )
        built = build_from_drive(folder, replace(known, **wanted), show)
        save_map(built, output)
    SafeConsole(stderr=True).print(summarize(built, output))


@app.command("info")
def info(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    verify: Annotated[bool, typer.Option(help="Compare every array with its checksum.")] = True,
) -> None:
    """Show what a map contains."""
    SafeConsole().print(summarize(load_map(path, verify=verify), path))


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    store: Annotated[bool, typer.Option("--store", help="Write the look-alike places found into the map.")] = False,
) -> None:
    """Verify a map's checksums, localize every keyframe without itself, and name weak and look-alike places."""
    landmark_map = load_map(path, verify=True)
    with progress_bars() as show:
        landmark_map = with_look_alikes(landmark_map, show)
        found = check_map(landmark_map, lambda done, total: show("localizing keyframes", done, total))
        if store:
            save_map(landmark_map, path)
    SafeConsole().print(summarize_check(landmark_map, found, path))


@app.command("export")
def export(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the COLMAP model, or NAME.ply.")],
    text: Annotated[bool, typer.Option("--text", help="Write text files instead of binary ones.")] = False,
) -> None:
    """Write a map as a COLMAP model, or its landmarks as a PLY point cloud."""
    landmark_map = load_map(path, verify=True)
    if output.suffix.lower() == ".ply":
        export_ply(landmark_map, output)
    else:
        export_colmap(landmark_map, output, text=text)
    typer.echo(f"{output}: written")


@app.command("import")
@with_option_sets
def import_(
    folder: Annotated[Path, typer.Argument(metavar="MODEL", help="A COLMAP model, binary or text; or NAME.nvm.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The map, NAME{MAP_SUFFIX}.")],
    computing: WorkerArguments,
    described: FeatureArguments,
    matching: PairArguments,
    images: Annotated[
        Path | None, typer.Option(help="Folder of its images: describe them anew. Not for our own exports.")
    ] = None,
    intrinsics: Annotated[
        Path | None, typer.Option(help="Of a NAME.nvm: `NAME MODEL WIDTH HEIGHT PARAMS...`; default: the model's own.")
    ] = None,
    frame: Annotated[str, typer.Option(help="With --images: name of the model's frame.")] = "map",
    model: Annotated[Path | None, typer.Option(help="With --images: network (ONNX).")] = None,
) -> None:
    """Make a map of a COLMAP model: one exported by `hfnet map export`, or with --images anybody's; or an NVM model."""
    check_output(output)
    is_nvm = folder.suffix.lower() == ".nvm"
    if is_nvm and images is None:
        raise ConfigError(f"{folder}: an NVM model has no descriptors: give the folder of its images with --images")
    if intrinsics is not None and not is_nvm:
        raise ConfigError("--intrinsics are for NVM models; a COLMAP model has its own")
    if images is None:
        if matching.given or described.given:
            raise ConfigError("--features, --pairs, --matches, --matcher and --colmap go with --images")
        imported = with_look_alikes(import_colmap(folder))
        save_map(imported, output)
        SafeConsole().print(summarize(imported, output))
        return
    with build_tools(model, MapBuildConfig(), computing, output, described) as tools:
        _from_model(_Model(folder, images, frame, intrinsics), tools, output, described, matching)


@dataclass(frozen=True)
class _Model:
    """A COLMAP or NVM model, its images, the name of its frame, and for NVM a list of cameras."""

    path: Path
    images: Path
    frame: str = "map"
    intrinsics: Path | None = None

    def imported(self, tools: BuildTools, pairing: Pairing | None) -> Imported:
        """Raises what `import_nvm` and `import_colmap_model` raise."""
        if self.path.suffix.lower() == ".nvm":
            cameras = None if self.intrinsics is None else dict(read_query_list(self.intrinsics))
            return import_nvm(self.path, self.images, tools, cameras=cameras, frame_id=self.frame, pairing=pairing)
        return import_colmap_model(self.path, self.images, tools, frame_id=self.frame, pairing=pairing)


def _from_model(
    model: _Model, tools: BuildTools, output: Path, described: FeatureArguments, matching: PairArguments
) -> None:
    """Describe, match, triangulate; write the map and, if asked for, the COLMAP model of all keypoints."""
    pairing, stored = matching.pairing(described.features, tools.config.extraction)
    found = model.imported(tools, pairing)
    save_map(found.landmark_map, output)
    if matching.colmap is not None and found.scene is not None:
        orders = None
        if stored is not None:
            orders = [stored.entered(item.name, item.features).order for item in found.scene.members]
        write_sfm_model(matching.colmap, found.scene.members, found.scene.joined, orders)
    if found.missing:
        missing = printable(found.missing[0])
        typer.echo(f"{len(found.missing)} images of the model are not in {model.images}: {missing}, ...")
    SafeConsole().print(summarize(found.landmark_map, output))


add_commands(app)
app.command("upgrade")(upgrade)
app.command("update")(update)
