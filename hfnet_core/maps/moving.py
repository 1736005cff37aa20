"""A map in another frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hfnet_core.geometry import Pose, Similarity
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["transformed"]


def transformed(landmark_map: LandmarkMap, new_from_old: Similarity) -> LandmarkMap:
    """Keyframes, landmarks and what is known of look-alikes in a new frame; provenance and frame_id as they were."""
    poses = [new_from_old.move(landmark_map.map_from_camera(index)) for index in range(landmark_map.keyframes)]
    alike = [new_from_old.move(Pose.from_matrix(pose)) for pose in landmark_map.alike_poses]
    return replace(
        landmark_map,
        keyframe_poses=np.array([pose.matrix()[:3] for pose in poses]).reshape(-1, 3, 4),
        landmarks_xyz=new_from_old.apply(landmark_map.landmarks_xyz).astype(np.float32),
        alike_poses=np.array([pose.matrix()[:3] for pose in alike]).reshape(-1, 3, 4),
        landmark_sigmas_m=(landmark_map.landmark_sigmas_m * new_from_old.scale).astype(np.float32),
        pose_sigma_m=landmark_map.pose_sigma_m * new_from_old.scale,
    )
