"""Hierarchical localization: retrieval, covisibility, matching, pose, refinement, judgement.

Source: Sarlin et al., CVPR 2019, section 3 and its supplementary material; refinement by a second, guided matching pass
and the judgement of a pose are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import Query, View
from hfnet_core.localization.judgement import judge
from hfnet_core.localization.nearby import NearSearch
from hfnet_core.localization.search import MapSearch
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Localization, NotLocalized, Reason

__all__ = ["Localizer", "View"]


class Localizer:
    """Localizes one camera, or several on one rigid body, in one map.

    Stateless between calls and safe to share between threads.
    """

    def __init__(self, landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> None:
        self.map = landmark_map
        self.config = config or LocalizerConfig()
        self._search = MapSearch(landmark_map, self.config)
        self._near = NearSearch(landmark_map, self.config)

    def localize(self, views: Sequence[View], prior: Pose | None = None) -> Localization:
        """The pose of the rig (of one camera: the camera's), or the reason why there is none.

        views: what each camera shows; one without an image is left out, one that sees nothing of the map costs time
        and nothing else. prior: expected map_from_rig; with it only landmarks near their expected place are matched
        and no other place is considered. Without it the whole map is searched. Raises ConfigError if something is not
        finite, MapError if the descriptors are of another model.
        """
        query = Query.of(views, self.map)
        refusal = self._refuse(query, prior)
        if refusal is not None:
            return refusal
        found = self._search(query) if prior is None else self._near(query, prior)
        if isinstance(found, NotLocalized):
            return found
        refined = self._near.refine(query, found)
        return judge(query, refined, self.map, self.config)

    def _refuse(self, query: Query, prior: Pose | None) -> NotLocalized | None:
        if prior is not None and not prior.is_finite():
            raise ConfigError("the expected pose is not finite")
        if self.map.landmarks == 0 or self.map.keyframes == 0:
            return NotLocalized(Reason.EMPTY_MAP)
        if query.keypoint_count < self.config.min_inliers:
            return NotLocalized(Reason.TOO_FEW_KEYPOINTS, f"{query.keypoint_count}, need {self.config.min_inliers}")
        return None
