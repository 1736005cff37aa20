"""`hfnet map build` as an executable of the package: `ros2 run hfnet_ros build_map BAG -o MAP`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rclpy.utilities import remove_ros_args

from hfnet_core.cli.main import main as hfnet

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Build a map; what launch files append for nodes (--ros-args ...) is ignored. Exits as `hfnet` does."""
    given = remove_ros_args(list(sys.argv if args is None else ["build_map", *args]))
    sys.argv = ["hfnet", "map", "build", *given[1:]]
    hfnet()


if __name__ == "__main__":
    main()
