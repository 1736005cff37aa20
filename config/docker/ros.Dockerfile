# The node and the map on a computer or Jetson without GPU work: ROS's own image, a workspace as in docs/robot.md. UNTESTED:
# written where no container runs.
#   docker build -f config/docker/ros.Dockerfile --build-arg ROS=jazzy -t hfnet:ros .        (or ROS=humble; amd64, arm64)
#   docker run --rm --network host -v $PWD:/maps hfnet:ros ros2 launch hfnet_ros localization.launch.py map:=/maps/hall.hfmap
ARG ROS=jazzy
FROM ros:${ROS}-ros-base
ARG ROS

RUN apt-get update && apt-get install -y --no-install-recommends \
    python3-venv python3-opencv python3-scipy python3-yaml ros-${ROS}-cv-bridge \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
# Ubuntu's Python is externally managed; this environment sees ROS's packages and what apt installed.
RUN python3 -m venv --system-site-packages venv && touch venv/COLCON_IGNORE \
    && venv/bin/pip install --no-cache-dir onnxruntime threadpoolctl typer rich rosbags colcon-common-extensions
COPY . src/hfnet_ros
RUN . /opt/ros/${ROS}/setup.sh && . venv/bin/activate && python -m colcon build --packages-select hfnet_ros
RUN printf '#!/bin/bash\n. /ws/install/setup.bash\nexec "$@"\n' > /entry && chmod +x /entry
ENTRYPOINT ["/entry"]
CMD ["ros2", "launch", "hfnet_ros", "localization.launch.py", "--show-args"]
