"""Training of HF-Net; the only part of the library that needs torch.

    hfnet train POOL OUTPUT --teacher-weights aliked-n16.pth

retrains the shipped weights from a pool of photos (see `pool.py` for its layout): keypoints of a teacher, then layers
1-7 with the local heads, then the global head (see `recipe.py`). The budget is in minutes and the
learning rate follows the share that is spent, so the command ends in time on any machine; repeated after a kill, it
goes on from the last checkpoint.

    hfnet train --recipe paper IMAGES... OUTPUT --local-teacher superpoint=FILE --global-teacher netvlad=FILE

distills two teachers as in the paper (see `paper_recipe.py`). `hfnet export CHECKPOINT MODEL` writes a checkpoint as
ONNX.
"""
