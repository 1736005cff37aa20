"""Packaging for colcon (ament_python) and pip alike."""

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "hfnet_ros"
URL = "https://github.com/hfnet-ros/hfnet_ros"  # a placeholder, in this one place, until the project has a home
HERE = Path(__file__).parent
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
EVALUATION = ["evo", "matplotlib"]
TRAINING = ["torch>=2.2", "kornia>=0.9", "onnx>=1.15", "google-crc32c>=1.5"]


def files(pattern):
    """Paths relative to this folder, as setuptools wants them."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.glob(pattern))


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
        (f"lib/{NAME}", files("hfnet_ros/executables/*")),  # found by `ros2 run`, whoever installed us
    ],
    python_requires=">=3.10",
    install_requires=[
        "setuptools",
        "numpy>=1.26",
        "scipy>=1.10",
        "opencv-python-headless>=4.8",
        "onnxruntime>=1.17",
        "pycolmap>=4.0",
        "pyceres>=2.5",  # the solver pycolmap is built with, for priors on poses
        "rosbags>=0.11.9",
        "safetensors>=0.4",
        "PyYAML>=6.0",
        "threadpoolctl>=3",
        "typer>=0.12",
        "rich>=13",
    ],
    extras_require={
        "ros": ROS_WHEELS,
        "eval": EVALUATION,
        "large": ["faiss-cpu>=1.9"],
        "distributed": ["dask>=2024.1", "distributed>=2024.1"],
        "video": ["av>=12"],  # H.264 and H.265 in recordings
        "openvino": ["openvino>=2024.4"],
        "tensorrt": ["pycuda>=2024.1", "onnx>=1.15"],  # TensorRT itself comes with JetPack or as tensorrt-cu12
        "train": TRAINING,
        "import": ["onnx>=1.15", "google-crc32c>=1.5"],
        "docs": [*EVALUATION, "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "mkdocs-jupyter>=0.25"],
        "dev": [
            "pytest>=8",
            "pytest-xdist",
            "pytest-timeout",
            "pytest-rerunfailures",
            "hypothesis",
            "google-crc32c>=1.5",
            "onnx>=1.15",
            "ruff",
            "mypy",
            "import-linter>=2.6",
        ],
    },
    entry_points={
        "console_scripts": ["hfnet = hfnet_core.cli.main:main"],
    },
    zip_safe=False,
)
