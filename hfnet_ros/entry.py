"""What `ros2 run hfnet_ros localization_node` starts."""

import signal

__all__ = ["localization_node"]


def localization_node() -> int:
    """The node's main, whose exit status is returned."""
    # A ctrl-C while modules load would be swallowed by some of them; main() handles it once they are there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hfnet_ros.localization_node import main

    return main()
