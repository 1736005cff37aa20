# HF-Net with TensorRT on Jetson, JetPack 6 (L4T r36, Ubuntu 22.04, Python 3.10). UNTESTED: written without a Jetson at hand.
#   docker build -f config/docker/tensorrt-l4t.Dockerfile -t hfnet:l4t .
#   docker run --rm --runtime nvidia --network host -v hfnet-engines:/home/hfnet/.cache hfnet:l4t
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

RUN apt-get update && apt-get install -y --no-install-recommends \
    curl gnupg python3-venv python3-dev python3-libnvinfer g++ \
    && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key -o /usr/share/keyrings/ros.gpg \
    && echo "deb [signed-by=/usr/share/keyrings/ros.gpg] http://packages.ros.org/ros2/ubuntu jammy main" \
    > /etc/apt/sources.list.d/ros2.list \
    && apt-get update && apt-get install -y --no-install-recommends ros-humble-ros-base \
    && rm -rf /var/lib/apt/lists/*

# The engine cache accepts files of its own user only, so that user is fixed here and keeps its home in a volume.
RUN useradd --create-home --uid 1500 --groups video hfnet
USER hfnet
WORKDIR /home/hfnet
ENV PATH=/home/hfnet/venv/bin:/usr/local/cuda/bin:$PATH
# JetPack's TensorRT bindings and ROS are packages of the system's Python.
RUN python3 -m venv --system-site-packages venv && pip install --no-cache-dir 'pycuda>=2024.1'

# A workspace as in docs/robot.md: requirements by pip, the package by colcon with this environment's interpreter.
COPY --chown=hfnet . /home/hfnet/ws/src/hfnet_ros
RUN pip install --no-cache-dir 'numpy<2' '/home/hfnet/ws/src/hfnet_ros[tensorrt,bags]' && pip uninstall -y hfnet_ros \
    && pip install --no-cache-dir colcon-common-extensions && mkdir -p -m 700 /home/hfnet/.cache \
    && cd ws && . /opt/ros/humble/setup.sh && python -m colcon build --packages-select hfnet_ros
VOLUME /home/hfnet/.cache
ENTRYPOINT ["/bin/bash", "-c", "source /home/hfnet/ws/install/setup.bash && exec \"$@\"", "--"]
CMD ["ros2", "run", "hfnet_ros", "hfnet", "engine", "info"]
