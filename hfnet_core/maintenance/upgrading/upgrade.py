"""A map described anew, by another network: poses, cameras and frame stay, features and landmarks are new."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfnet_core.config import MapBuildConfig, MapCareConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.maintenance.joint import typical_depth
from hfnet_core.maintenance.upgrading.keyframe_images import Redescribed, redescribed
from hfnet_core.mapping.bundle import TIGHTER
from hfnet_core.mapping.keyframe_bundle import KeyframeBundle
from hfnet_core.mapping.keyframes.reading import BuildTools, Keyframe
from hfnet_core.mapping.solving.reconstruction import Scene, observations, settle
from hfnet_core.maps import statistics
from hfnet_core.maps.assembly import assemble_map
from hfnet_core.maps.description import recording_number
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.options import BagOptions

__all__ = ["Upgraded", "upgrade_map"]

_log = logging.getLogger(__name__)
_FEWEST = 2  # keyframes of a map
_NAMED = 5  # keyframes in a message
_MIN_AGREEMENT = 0.15  # of the matches agree with the map's poses; between images of other places a tenth does
_MIN_TO_JUDGE = 100  # matches


@dataclass(frozen=True, eq=False)
class Upgraded:
    """The new map, and the names of keyframes that it lacks because their images are not in the recordings."""

    landmark_map: LandmarkMap
    missing: tuple[str, ...]


def upgrade_map(
    landmark_map: LandmarkMap,
    bags: Sequence[Path],
    tools: BuildTools,
    options: BagOptions | Sequence[BagOptions] | None = None,
    max_missing: float = MapCareConfig.max_missing,
) -> Upgraded:
    """Describe a map's keyframes with the extractor of `tools`, from the recordings that the map was made of.

    Keyframe poses, cameras, frame, place on Earth and the uncertainty of the frame stay as they are, and the scales it
    has landmarks at, to which the settings may add. max_missing: share
    of the keyframes that may lack their image. Raises DatasetError when more do, when the images do not fit the poses,
    and as Bag does; MapError for a map whose keyframes have no stamps, or when nothing can be triangulated.
    """
    if (landmark_map.keyframe_stamps_ns < 0).all():
        raise MapError(
            "the map's keyframes have no stamps by which to find their images: it was imported; import it again with "
            "`hfnet map import --images` and the new network"
        )
    several = tools.config.multi_scale or len(landmark_map.scale_factors) > 0
    tools = replace(tools, config=replace(tools.config, multi_scale=several))
    found = redescribed(landmark_map, bags, tools, options)
    missing = tuple(name for index, name in enumerate(landmark_map.keyframe_names) if index not in found)
    if len(missing) > max_missing * landmark_map.keyframes or len(found) < _FEWEST:
        raise DatasetError(
            f"{', '.join(map(str, bags))}: the images of {len(missing)} of {landmark_map.keyframes} keyframes are not "
            f"there ({_listed(missing)}): give all recordings that the map was made of, or allow it with "
            "--max-missing"
        )
    return Upgraded(_solved(landmark_map, found, tools), missing)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _solved(landmark_map: LandmarkMap, found: dict[int, Redescribed], tools: BuildTools) -> LandmarkMap:
    """Matched, and triangulated with the poses as they are."""
    kept = sorted(found)
    config = replace(tools.config, refine_poses=False, refine_intrinsics=False)
    state = KeyframeBundle(_keyframes(landmark_map, found), config, tools.workspace, {})
    pairs = {*_covisible(landmark_map, kept, config.pairs_per_keyframe), *state.pairs(typical_depth(landmark_map))}
    state.match(sorted(pairs), tools.progress)
    _check_poses(state)
    scene = _triangulated(landmark_map, state, config)
    points, rows, errors = observations(scene, config, state.scaled(config.max_reprojection_error_px))
    measured = state.with_depth(points, rows)
    state.check_landmarks(len(measured.xyz))
    if len(landmark_map.landmark_hits):
        _log.info("the landmarks are new: how often visits found the ones before again is forgotten")
    told = {
        **statistics.counts(len(kept), len(measured.xyz), len(measured.rows)),
        **({"landmarks_by_depth": count} if (count := int((measured.sigma_m > 0).sum())) else {}),
        **statistics.reprojection(errors),
        "pairs_matched": len(state.matches),
    }
    built = assemble_map(
        names=[landmark_map.keyframe_names[index] for index in kept],
        stamps_ns=landmark_map.keyframe_stamps_ns[kept].tolist(),
        view_cameras=landmark_map.keyframe_cameras[kept].tolist(),
        poses=[landmark_map.map_from_camera(index) for index in kept],
        cameras=landmark_map.cameras,
        given_cameras=landmark_map.given_cameras,
        features=[found[index].features for index in kept],
        points=measured.xyz,
        rows=measured.rows,
        landmark_sigmas_m=measured.sigma_m,
        pose_sigma=(landmark_map.pose_sigma_m, landmark_map.pose_sigma_rad),
        model_hash=tools.extractor.info.model_hash,
        frame_id=landmark_map.frame_id,
        provenance=_provenance(landmark_map, len(kept), told, tools),
        descriptor_dtype=landmark_map.observation_descriptors.dtype.name,
    )
    return replace(built, keyframe_poses=landmark_map.keyframe_poses[kept])  # to the bit


def _keyframes(landmark_map: LandmarkMap, found: dict[int, Redescribed]) -> list[Keyframe]:
    return [
        Keyframe(
            landmark_map.keyframe_names[index],
            int(landmark_map.keyframe_stamps_ns[index]),
            recording_number(landmark_map.keyframe_names[index]),
            landmark_map.cameras[landmark_map.keyframe_cameras[index]],
            landmark_map.map_from_camera(index),
            item.features,
            item.key,
            ranges=item.ranges,
        )
        for index, item in sorted(found.items())
    ]


def _covisible(landmark_map: LandmarkMap, kept: Sequence[int], most: int) -> set[tuple[int, int]]:
    """Pairs of the kept keyframes, by their place among them: each with those that share most landmarks with it."""
    place = {keyframe: index for index, keyframe in enumerate(kept)}
    pairs: set[tuple[int, int]] = set()
    for keyframe, index in place.items():
        near = [place[other] for other in landmark_map.covisible_with(keyframe)[0].tolist() if other in place]
        pairs.update((min(index, other), max(index, other)) for other in near[:most])
    return pairs


def _check_poses(state: KeyframeBundle) -> None:
    """Raises DatasetError when the matches say that the images are of other places than the keyframes were."""
    total = sum(len(found) for found in state.matches.values())
    agreeing = sum(len(found) for found in state.verified(1.0).values())
    if total >= _MIN_TO_JUDGE and agreeing < _MIN_AGREEMENT * total:
        raise DatasetError(
            f"only {agreeing} of {total} matches between the keyframes' images agree with the map's poses: give the "
            "recordings that the map was made of; with several cameras --image-topic in the order of its making"
        )


def _triangulated(landmark_map: LandmarkMap, state: KeyframeBundle, config: MapBuildConfig) -> Scene:
    """Points with the tolerances of a build: narrow where its poses were refined, as given ones need otherwise."""
    refined = landmark_map.pose_sigma_m > 0
    scene = state.triangulate(TIGHTER if refined else 1.0)
    settle(scene, config, state.scaled(config.max_reprojection_error_px))
    return scene


def _provenance(landmark_map: LandmarkMap, keyframes: int, told: dict[str, Any], tools: BuildTools) -> dict[str, Any]:
    """The map's own, with this step in its history."""
    info, before = tools.extractor.info, landmark_map.provenance
    step = {
        "step": "upgrade",
        "keyframes": keyframes,
        "missing": landmark_map.keyframes - keyframes,
        "model_before": {**before.get("model", {}), "hash": landmark_map.model_hash},
    }
    known = {name: value for name, value in before.get("statistics", {}).items() if name != "landmarks_by_depth"}
    return {
        **before,
        "statistics": {**known, **told},
        "history": [*before.get("history", []), step],
        "model": {"name": info.name, "version": info.version},
    }
