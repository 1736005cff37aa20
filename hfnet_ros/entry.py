"""What `ros2 run hfnet_ros localization_node` and `mapping_node` start."""

import signal

__all__ = ["localization_node", "mapping_node"]


def localization_node() -> int:
    """The node's main, whose exit status is returned."""
    # A ctrl-C while modules load would be swallowed by some of them; main() handles it once they are there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hfnet_ros.localization_node import main

    return main()


def mapping_node() -> int:
    """The node's main, whose exit status is returned."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as above
    from hfnet_ros.live.mapping_node import main

    return main()
