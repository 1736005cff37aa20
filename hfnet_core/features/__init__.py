"""The network, the runtimes that execute it, and the way from its outputs to keypoints and descriptors."""
