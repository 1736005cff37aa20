"""Where the points of real scenes lie in each photo: tracks through the pool's sequences, triangulated and reprojected.

A teacher finds a corner here in one photo and a pixel beside it in the next; the point in space that all of them see
has one place in each. Sequences are reconstructed from the pairs' matches alone, of unknown cameras. A cache file is
`<group>.npz` with `photo` [N] names, `point` [N] int64, `seen` and `place` [N, 2] float32: where the teacher saw a
point, and where it lies; native pixels, N = 0 for a group that gave nothing.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.extras import later
from hfnet_core.files import make_folder, whole_file
from hfnet_core.mapping.quiet import quiet
from hfnet_core.training.data.pair_matches import PairMatches
from hfnet_core.training.data.pool import Pool, read_gray

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["PhotoTracks", "read_tracks", "track_matches", "triangulate"]

Points = NDArray[np.float32]

_FOCAL = 1.2  # of the longer side, where nothing is known of a camera
_MIN_PHOTOS = 3
_MIN_VIEWS = 4  # of a point: three say little more of its place than each of them
_MAX_ERROR_PX = 1.0  # mean over a point's views
_FAR_PX = 2.0  # a view this far from its point saw something else
_MIN_COMMON = 30  # points of two photos that are worth a pair
_MIN_MOTION = 0.02  # of the image width: closer views teach no more than noise on one photo


class PhotoTracks(NamedTuple):
    """Points in a photo: numbers [N] within its group; where the teacher saw them and where they lie, [N, 2] pixels."""

    point: NDArray[np.int64]
    seen: Points
    place: Points


def triangulate(
    pool: Pool,
    matches: Sequence[PairMatches],
    folder: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fill the cache: groups that have a file are left alone, so a killed pass goes on."""
    make_folder(folder)
    groups: dict[str, list[PairMatches]] = defaultdict(list)
    for pair in matches:
        groups[pool.photos[pair.photos[0]].group].append(pair)
    for done, (group, pairs) in enumerate(sorted(groups.items())):
        path = _file(folder, group)
        if not path.is_file():
            found = _tracks(pool, pairs) if len({p for pair in pairs for p in pair.photos}) >= _MIN_PHOTOS else {}
            with whole_file(path) as temporary:
                np.savez(temporary, **_table(pool, found))  # type: ignore[arg-type]
        report(done + 1, len(groups))


def read_tracks(pool: Pool, folder: Path) -> dict[int, PhotoTracks]:
    """By number of the photo, from a cache filled by `triangulate`. Raises DatasetError."""
    numbers = {photo.name: number for number, photo in enumerate(pool.photos)}
    found: dict[int, PhotoTracks] = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as stored:
                names, *columns = (stored[name] for name in ("photo", "point", "seen", "place"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DatasetError(f"{path} is damaged ({error}): delete it and repeat hfnet train") from error
        for name in np.unique(names):
            if name in numbers:
                found[numbers[name]] = PhotoTracks(*(column[names == name] for column in columns))
    return found


def track_matches(pool: Pool, tracks: Mapping[int, PhotoTracks]) -> list[PairMatches]:
    """Pairs of photos of one group that see enough of the same points, at the points' places."""
    by_group: dict[str, list[int]] = defaultdict(list)
    for photo in sorted(tracks):
        by_group[pool.photos[photo].group].append(photo)
    found = []
    for photos in by_group.values():
        for first, second in combinations(photos, 2):
            one, other = tracks[first], tracks[second]
            _, i, j = np.intersect1d(one.point, other.point, assume_unique=True, return_indices=True)
            moved = np.linalg.norm(one.place[i] - other.place[j], axis=1)
            if len(i) >= _MIN_COMMON and np.median(moved) >= _MIN_MOTION * read_gray(pool.photos[first].path).shape[1]:
                found.append(PairMatches((first, second), one.place[i], other.place[j]))
    return found


def _file(folder: Path, group: str) -> Path:
    return folder / f"{group.replace('/', '__')}.npz"


def _table(pool: Pool, tracks: Mapping[int, PhotoTracks]) -> dict[str, NDArray[np.generic]]:
    rows = [(photo, *tracks[photo]) for photo in sorted(tracks)]
    names = [pool.photos[photo].name for photo, point, *_ in rows for _ in point]
    return {
        "photo": np.array(names, dtype=np.str_),
        "point": np.concatenate([np.zeros(0, np.int64), *(point for _, point, _, _ in rows)]),
        "seen": np.concatenate([np.zeros((0, 2), np.float32), *(seen for *_, seen, _ in rows)]),
        "place": np.concatenate([np.zeros((0, 2), np.float32), *(place for *_, place in rows)]),
    }


def _tracks(pool: Pool, pairs: Sequence[PairMatches]) -> dict[int, PhotoTracks]:
    """Of one group's photos."""
    keypoints, matches = _numbered(pairs)
    found: dict[int, PhotoTracks] = {}
    with tempfile.TemporaryDirectory(prefix="hfnet-tracks-") as folder, quiet():
        database = Path(folder) / "database.db"
        _write_database(database, pool, keypoints, matches)
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads, options.random_seed, options.extract_colors = 1, 0, False
        options.min_model_size = _MIN_PHOTOS
        pycolmap.set_random_seed(0)
        models = pycolmap.incremental_mapping(database, database.parent, database.parent, options)
    first = 0  # number of a model's first point: models of one group have nothing in common
    for model in models.values():
        for photo, tracks in _places(model, keypoints).items():
            known = found.get(photo)
            if known is None or len(tracks.point) > len(known.point):
                found[photo] = tracks._replace(point=tracks.point + first)
        first += max((int(number) + 1 for number in model.points3D), default=0)
    return found


def _numbered(
    pairs: Sequence[PairMatches],
) -> tuple[dict[int, Points], list[tuple[tuple[int, int], NDArray[np.uint32]]]]:
    """Keypoints of each photo, [K, 2] in order, and matches of each two photos as their numbers [M, 2]: one place is
    one keypoint."""
    pairs = _one_for_two_photos(pairs)
    places: dict[int, list[Points]] = defaultdict(list)
    for pair in pairs:
        for photo, xy in zip(pair.photos, (pair.first, pair.second), strict=True):
            places[photo].append(xy)
    keypoints, rows = {}, {}
    for photo, several in places.items():
        keypoints[photo], inverse = np.unique(np.concatenate(several), axis=0, return_inverse=True)
        rows[photo] = iter(np.split(inverse.reshape(-1), np.cumsum([len(xy) for xy in several])[:-1]))
    matches = [
        (pair.photos, np.stack([next(rows[photo]) for photo in pair.photos], axis=1).astype(np.uint32))
        for pair in pairs
    ]
    return keypoints, matches


def _one_for_two_photos(pairs: Sequence[PairMatches]) -> list[PairMatches]:
    """Two photos may have been matched by several teachers."""
    together: dict[tuple[int, int], list[PairMatches]] = defaultdict(list)
    for pair in pairs:
        turned = PairMatches(pair.photos[::-1], pair.second, pair.first)
        one = pair if pair.photos[0] < pair.photos[1] else turned
        together[one.photos].append(one)
    return [
        PairMatches(photos, np.concatenate([p.first for p in several]), np.concatenate([p.second for p in several]))
        for photos, several in together.items()
    ]


def _write_database(
    path: Path,
    pool: Pool,
    keypoints: Mapping[int, Points],
    matches: Sequence[tuple[tuple[int, int], NDArray[np.uint32]]],
) -> None:
    """Photo p is image p + 1. Photos of one size are taken for those of one camera; pixels stay ours."""
    cameras: dict[tuple[int, int], pycolmap.Camera] = {}
    of_photo: dict[int, pycolmap.Camera] = {}
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        for photo in sorted(keypoints):
            height, width = read_gray(pool.photos[photo].path).shape
            if (width, height) not in cameras:
                cameras[width, height] = _write_camera(database, width, height, len(cameras) + 1)
            camera = of_photo[photo] = cameras[width, height]
            image = pycolmap.Image(name=str(photo), camera_id=camera.camera_id, image_id=photo + 1)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=photo + 1, rig_id=camera.camera_id)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(photo + 1, keypoints[photo])
        options = pycolmap.TwoViewGeometryOptions()
        options.ransac.random_seed = 0
        for (first, second), rows in matches:
            sides = [value for p in (first, second) for value in (of_photo[p], keypoints[p].astype(np.float64))]
            geometry = pycolmap.estimate_two_view_geometry(*sides, rows, options)
            database.write_matches(first + 1, second + 1, rows)
            database.write_two_view_geometry(first + 1, second + 1, geometry)


def _write_camera(database: pycolmap.Database, width: int, height: int, number: int) -> pycolmap.Camera:
    focal = _FOCAL * max(width, height)
    params = [focal, (width - 1) / 2, (height - 1) / 2, 0.0]
    camera = pycolmap.Camera(model="SIMPLE_RADIAL", width=width, height=height, params=params, camera_id=number)
    database.write_camera(camera, use_camera_id=True)
    rig = pycolmap.Rig(rig_id=number)
    rig.add_ref_sensor(camera.sensor_id)
    database.write_rig(rig, use_rig_id=True)
    return camera


def _places(model: pycolmap.Reconstruction, keypoints: Mapping[int, Points]) -> dict[int, PhotoTracks]:
    """The points of a model that enough photos tell the place of, in these photos."""
    rows: dict[int, list[tuple[int, Points, Points]]] = defaultdict(list)
    for number, point in model.points3D.items():
        views = {element.image_id: element.point2D_idx for element in point.track.elements}
        if len(views) < _MIN_VIEWS or len(views) < point.track.length() or point.error > _MAX_ERROR_PX:
            continue
        for image_id, index in views.items():
            place, seen = model.images[image_id].project_point(point.xyz), keypoints[image_id - 1][index]
            if place is not None and np.linalg.norm(place - seen) <= _FAR_PX:
                rows[image_id - 1].append((int(number), seen, place.astype(np.float32)))
    columns = {photo: list(zip(*found, strict=True)) for photo, found in rows.items()}
    return {
        photo: PhotoTracks(np.array(point, np.int64), np.stack(seen), np.stack(place))
        for photo, (point, seen, place) in columns.items()
    }
