"""Whether two folders hold the same answers: compare.py ONE OTHER, each with features.npz and poses.txt."""

import sys
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from hfnet_core.recordings.tum import read_tum

SAME_PX, LEAST_SHARE = 0.01, 0.99  # keypoints so near are the same; the weakest of them may fall out elsewhere
DESCRIPTOR, POSE_M, TURN_DEG = 1e-3, 1e-3, 0.01  # largest differences


def main(one: Path, other: Path) -> int:
    first, second = np.load(one / "features.npz"), np.load(other / "features.npz")
    assert first.files and first.files == second.files, "not the same images"
    shares, local, whole, shift_px = [], [], [], []
    for name in (file.partition("/")[2] for file in first.files if file.startswith("keypoints/")):
        here, there = first[f"keypoints/{name}"], second[f"keypoints/{name}"]
        distance, nearest = cKDTree(there).query(here)
        same = distance <= SAME_PX
        shares.append(same.sum() / max(len(here), len(there)))
        shift_px.append(distance[same].max(initial=0.0))
        a, b = first[f"local descriptors/{name}"][same], second[f"local descriptors/{name}"][nearest[same]]
        local.append(np.abs(a - b).max(initial=0.0))
        whole.append(np.abs(first[f"global descriptor/{name}"] - second[f"global descriptor/{name}"]).max())
    poses, others = [{row.stamp_ns: row.pose for row in read_tum(folder / "poses.txt")} for folder in (one, other)]
    apart = [poses[stamp].inverse() @ others[stamp] for stamp in poses.keys() & others.keys()]
    metres = max((float(np.linalg.norm(pose.translation)) for pose in apart), default=np.nan)
    turns = [np.degrees(np.arccos(np.clip((np.trace(pose.rotation) - 1) / 2, -1, 1))) for pose in apart]
    print(f"features of {len(shares)} images; {len(poses)} poses here, {len(others)} there, {len(apart)} of the same")
    print(f"the same keypoints: {np.mean(shares):.2%}, least {min(shares):.2%}, at most {max(shift_px):.2g} px apart")
    print(f"descriptors differ by at most {max(local):.2g} (local), {max(whole):.2g} (global)")
    print(f"poses by at most {1e3 * metres:.4f} mm, {max(turns, default=np.nan):.5f} degrees")
    good = (
        len(apart) == len(poses) == len(others) > 0
        and min(shares) >= LEAST_SHARE
        and max(*local, *whole) <= DESCRIPTOR
        and metres <= POSE_M
        and max(turns) <= TURN_DEG
    )
    print("the same answers" if good else "NOT the same answers")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
