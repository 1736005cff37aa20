"""Small places laid out as the indoor datasets are when downloaded and unpacked."""

from __future__ import annotations

from pathlib import Path

from hfnet_core.geometry import Pose
from hfnet_core.synthetic.copies.place import render_place
from hfnet_core.synthetic.copies.writing import write_colmap, write_image, write_lines, write_matrix
from hfnet_core.types import Camera

__all__ = ["inloc", "seven_scenes", "twelve_scenes"]

Truth = dict[str, Pose]


def seven_scenes(root: Path) -> Truth:
    """Poses of every frame, and which sequences are which; focal length 525 at 640 pixels."""
    camera = Camera("PINHOLE", 320, 240, (262.5, 262.5, 159.5, 119.5))
    place = render_place(camera)
    folder, truth = root / "heads", {}
    for sequence, views in (("seq-01", place.query_views), ("seq-02", place.map_views)):
        for number, view in enumerate(views):
            stem = f"{sequence}/frame-{number:06d}"
            write_image(folder / f"{stem}.color.png", view.image)
            write_matrix(folder / f"{stem}.pose.txt", view.map_from_camera)
            if sequence == "seq-01":
                truth[f"{stem}.color.png"] = view.map_from_camera
    write_lines(folder / "TrainSplit.txt", ["sequence2"])
    write_lines(folder / "TestSplit.txt", ["sequence1"])
    return truth


def twelve_scenes(root: Path) -> Truth:
    """All frames in one folder; the first sequence is the queries; a frame that was lost has no pose."""
    camera = Camera("PINHOLE", 324, 242, (260.0, 259.0, 161.5, 120.0))
    place = render_place(camera)
    folder, truth = root / "apt1/kitchen", {}
    asked, views = len(place.query_views), (*place.query_views, *place.map_views)
    for number, view in enumerate(views):
        write_image(folder / f"data/frame-{number:06d}.color.jpg", view.image)
        write_matrix(folder / f"data/frame-{number:06d}.pose.txt", view.map_from_camera)
        if number < asked:
            truth[f"data/frame-{number:06d}.color.jpg"] = view.map_from_camera
    write_image(folder / f"data/frame-{len(views):06d}.color.jpg", views[-1].image)
    write_lines(folder / f"data/frame-{len(views):06d}.pose.txt", ["-inf -inf -inf -inf"] * 4)
    fx, fy, cx, cy = camera.params
    write_lines(
        folder / "info.txt",
        [
            "m_versionNumber = 2",
            f"m_colorWidth = {camera.width}",
            f"m_colorHeight = {camera.height}",
            f"m_calibrationColorIntrinsic = {fx} 0 {cx + 0.5} 0 0 {fy} {cy + 0.5} 0 0 0 1 0 0 0 0 1",
        ],
    )
    last = len(views)
    write_lines(
        folder / "split.txt",
        [
            f"sequence0 [frames={asked}] [start=0 ; end={asked - 1}]",
            f"sequence1 [frames={last + 1 - asked}] [start={asked} ; end={last}]",
        ],
    )
    return truth


def inloc(root: Path) -> Truth:
    """A COLMAP model of the cut-outs, which the dataset itself has as scans."""
    width, height = 320, 240
    focal = width * 28.0 / 36.0
    camera = Camera("PINHOLE", width, height, (focal, focal, 159.5, 119.5))
    place = render_place(camera)
    names = [f"database/cutouts/DUC1/007/DUC_cutout_007_{30 * n}_-30.jpg" for n in range(len(place.map_views))]
    for name, view in zip(names, place.map_views, strict=True):
        write_image(root / name, view.image)
    images = [(name, view.map_from_camera) for name, view in zip(names, place.map_views, strict=True)]
    write_colmap(root / "sparse", Camera("SIMPLE_PINHOLE", width, height, (focal, 159.5, 119.5)), images, place)
    truth = {}
    for number, view in enumerate(place.query_views):
        name = f"query/iphone7/IMG_{731 + number:04d}.JPG"
        write_image(root / name, view.image)
        truth[name] = view.map_from_camera
    return truth
