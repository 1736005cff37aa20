"""The HF-Net architecture as data: layers, variable names and shapes.

Source: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large Scale", CVPR 2019; the
layer table, names and shapes follow the released TensorFlow graph. Both the ONNX builder and the torch network
read this one table, so a checkpoint means the same to both. Kernels are in TensorFlow's layout: convolution
HWIO, depthwise [3, 3, C, 1], fully connected [in, out].
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BATCH_NORM_EPSILON",
    "DETECTOR_CELL",
    "EXACT_CONVOLUTIONS",
    "LAYERS",
    "LOCAL_LAYER",
    "Block",
    "NetworkSpec",
    "variable_shapes",
]

BATCH_NORM_EPSILON = 1e-3
DETECTOR_CELL = 8  # pixels per side of a detector cell; both image sides are cropped to a multiple of it
STEM_CHANNELS = 24
# What INT8 leaves alone: the image itself, and channels whose ranges differ most. Rounding the second of them alone
# takes the worst hundredth of the shipped network's descriptors to a cosine of .75, all after the third to .98.
EXACT_CONVOLUTIONS = ("MobilenetV2/Conv", "MobilenetV2/expanded_conv/depthwise", "MobilenetV2/expanded_conv/project")
DETECTOR_CHANNELS = 128
DETECTOR_CLASSES = DETECTOR_CELL * DETECTOR_CELL + 1  # one class per pixel and a dustbin


@dataclass(frozen=True)
class Block:
    """One inverted-residual block: 1x1 expand, 3x3 depthwise with `stride`, 1x1 project."""

    scope: str
    inputs: int
    expanded: int
    stride: int
    outputs: int

    @property
    def has_expand(self) -> bool:
        return self.expanded != self.inputs

    @property
    def is_residual(self) -> bool:
        return self.stride == 1 and self.inputs == self.outputs


def _blocks() -> tuple[Block, ...]:
    table = [
        (16, 1, 1),
        (24, 6, 2),
        (24, 6, 1),
        (24, 6, 2),
        (48, 6, 1),
        (96, 6, 1),
        (48, 6, 2),
        (48, 6, 1),
        (48, 6, 1),
        (48, 6, 1),
        (72, 6, 1),
        (72, 6, 1),
        (72, 6, 1),
        (120, 6, 2),
        (120, 6, 1),
        (120, 6, 1),
        (240, 6, 1),
    ]
    blocks, inputs = [], STEM_CHANNELS
    for index, (outputs, expansion, stride) in enumerate(table):
        scope = "MobilenetV2/expanded_conv" + (f"_{index}" if index else "")
        blocks.append(Block(scope, inputs, inputs * expansion, stride, outputs))
        inputs = outputs
    return tuple(blocks)


LAYERS = _blocks()  # layers 2..18; the stem `MobilenetV2/Conv` is layer 1
WORD_TEMPERATURE = 0.02  # of a local descriptor's membership in words, in squared distances
LOCAL_LAYER = 6  # the first LOCAL_LAYER blocks and the stem (layers 1..7) feed the local heads


@dataclass(frozen=True)
class NetworkSpec:
    """Sizes of the heads and the convention that places descriptors.

    local_dim: channels of the local descriptor map (released: 256).
    global_dim: size of the global descriptor (released: 4096).
    clusters: number of VLAD clusters.
    intermediate_dim: channels of a projection between what is pooled and VLAD; 0 for none (released: 0). For layer 18
        it is a 1x1 convolution with bias, for local descriptors a matrix.
    pool_local: False pools layer 18, as released. True pools the local descriptors, weighted by the probability of a
        keypoint: there are no layers 8-18, and words take the place of learned memberships.
    corner_aligned: True samples descriptors as the released model does, at x * (Wc - 1) / (W - 1); False at the
        geometric cell centres, (x - 3.5) / 8.
    """

    local_dim: int = 256
    global_dim: int = 4096
    clusters: int = 32
    intermediate_dim: int = 0
    corner_aligned: bool = True
    pool_local: bool = False

    @property
    def vlad_dim(self) -> int:
        return self.intermediate_dim or (self.local_dim if self.pool_local else LAYERS[-1].outputs)


def _batch_norm(scope: str, channels: int, gamma: bool = True) -> dict[str, tuple[int, ...]]:
    names = ["beta", "gamma", "moving_mean", "moving_variance"] if gamma else ["beta", "moving_mean", "moving_variance"]
    return {f"{scope}/BatchNorm/{name}": (channels,) for name in names}


def variable_shapes(spec: NetworkSpec, global_head: bool = True) -> dict[str, tuple[int, ...]]:
    """Name and shape of every variable of a network, under the released names.

    With the default spec these are the 276 variables of the released checkpoint. `global_head=False` leaves out
    what only the global descriptor needs (layers 8-18 and the global head).
    """
    shapes: dict[str, tuple[int, ...]] = {"MobilenetV2/Conv/weights": (3, 3, 1, STEM_CHANNELS)}
    shapes |= _batch_norm("MobilenetV2/Conv", STEM_CHANNELS)
    for block in LAYERS if global_head and not spec.pool_local else LAYERS[:LOCAL_LAYER]:
        if block.has_expand:
            shapes[f"{block.scope}/expand/weights"] = (1, 1, block.inputs, block.expanded)
            shapes |= _batch_norm(f"{block.scope}/expand", block.expanded)
        shapes[f"{block.scope}/depthwise/depthwise_weights"] = (3, 3, block.expanded, 1)
        shapes |= _batch_norm(f"{block.scope}/depthwise", block.expanded)
        shapes[f"{block.scope}/project/weights"] = (1, 1, block.expanded, block.outputs)
        shapes |= _batch_norm(f"{block.scope}/project", block.outputs)
    local_inputs = LAYERS[LOCAL_LAYER - 1].outputs
    heads = (("descriptor", spec.local_dim, spec.local_dim), ("detector", DETECTOR_CHANNELS, DETECTOR_CLASSES))
    for head, hidden, outputs in heads:
        shapes[f"local_head/{head}/Conv/weights"] = (3, 3, local_inputs, hidden)
        shapes |= _batch_norm(f"local_head/{head}/Conv", hidden)
        shapes[f"local_head/{head}/Conv_1/weights"] = (1, 1, hidden, outputs)
        shapes[f"local_head/{head}/Conv_1/biases"] = (outputs,)
    if not global_head:
        return shapes
    if spec.pool_local:
        shapes["global_head/local_vlad/projection"] = (spec.local_dim, spec.vlad_dim)
        shapes["global_head/local_vlad/words"] = (spec.clusters, spec.vlad_dim)
        return shapes | _reduction(spec)
    if spec.intermediate_dim:
        shapes["global_head/intermediate_proj/weights"] = (1, 1, LAYERS[-1].outputs, spec.intermediate_dim)
        shapes["global_head/intermediate_proj/biases"] = (spec.intermediate_dim,)
    shapes["global_head/vlad/memberships/weights"] = (1, 1, spec.vlad_dim, spec.clusters)
    shapes |= _batch_norm("global_head/vlad/memberships", spec.clusters, gamma=False)
    shapes["global_head/vlad/clusters"] = (1, 1, 1, spec.clusters, spec.vlad_dim)
    return shapes | _reduction(spec)


def _reduction(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    scope = "global_head/dimensionality_reduction"
    return {
        f"{scope}/weights": (spec.clusters * spec.vlad_dim, spec.global_dim),
        f"{scope}/biases": (spec.global_dim,),
    }
