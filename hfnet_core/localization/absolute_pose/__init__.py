"""The pose of a camera, or of several on one body, from correspondences most of which may be wrong.

`ransac.solve_absolute_pose` asks `p3p` for poses by the hundred, and `problem` what each of them explains.
"""
