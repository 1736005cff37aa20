"""What the shipped network finds in the first images of a folder, written to a file: features.py IMAGES OUTPUT."""

import sys
from pathlib import Path

import numpy as np

from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.images.reading import read_image

extractor = Extractor(open_backend())
found = {}
for file in sorted(Path(sys.argv[1]).iterdir())[:6]:
    features = extractor.extract(read_image(file))
    found[f"keypoints/{file.name}"] = features.keypoints_px
    found[f"local descriptors/{file.name}"] = features.descriptors
    found[f"global descriptor/{file.name}"] = features.global_descriptor
np.savez(Path(sys.argv[2]), **found)
