"""What a mapping node knows about itself."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.node.diagnostics import Health

__all__ = ["Mapping", "MappingHealth"]


@dataclass(frozen=True)
class Mapping:
    """How far a map is.

    keyframes: recorded. backlog: images that wait. version: number of the newest since the node was configured, 0 for
    none. age_s: since it was made. in_map, landmarks: of it. solving: what the next version is at, "" for nothing.
    own_share, solver_share: of one processor core, lately.
    """

    keyframes: int = 0
    backlog: int = 0
    version: int = 0
    age_s: float | None = None
    in_map: int = 0
    landmarks: int = 0
    solving: str = ""
    own_share: float = 0.0
    solver_share: float = 0.0


class MappingHealth(Health):
    """`Health` with how far the map is in place of where the robot is."""

    COUNTED = ("dropped", "refused")

    def __init__(self) -> None:
        self._mapping = Mapping()
        super().__init__()

    def tell(self, mapping: Mapping) -> None:
        """How far it is now."""
        with self._lock:
            self._mapping = mapping

    def _usual(self) -> str:
        now = self._mapping
        said = f"{now.keyframes} keyframes, {now.in_map} in version {now.version}"
        solving = f"; {now.solving}" if now.solving else ""
        return f"{self._state}: {said}{solving}" if now.keyframes else super()._usual()

    def _result_values(self) -> dict[str, str]:
        now = self._mapping
        return {
            "keyframes": str(now.keyframes),
            "images waiting": str(now.backlog),
            "map version": str(now.version),
            "map version age [s]": "" if now.age_s is None else f"{now.age_s:.1f}",
            "keyframes in map": str(now.in_map),
            "keyframes not in map yet": str(max(0, now.keyframes - now.in_map)),
            "landmarks in map": str(now.landmarks),
            "solving": now.solving,
            "share of a core, recording": f"{now.own_share:.2f}",
            "share of a core, solving": f"{now.solver_share:.2f}",
        }

    def _traffic_values(self) -> dict[str, str]:
        values = super()._traffic_values()
        return {
            name: value for name, value in values.items() if name not in ("poses out [Hz]", "images processed [Hz]")
        }
