# HF-Net with TensorRT on x86-64. UNTESTED: written without a GPU at hand.
#   docker build -f config/docker/tensorrt-x86.Dockerfile -t hfnet:tensorrt .
#   docker run --rm --gpus all -v hfnet-engines:/home/hfnet/.cache hfnet:tensorrt engine info
FROM nvidia/cuda:12.6.3-devel-ubuntu24.04

RUN apt-get update && apt-get install -y --no-install-recommends python3-venv python3-dev g++ \
    && rm -rf /var/lib/apt/lists/*

# The engine cache accepts files of its own user only, so that user is fixed here and keeps its home in a volume.
RUN useradd --create-home --uid 1500 hfnet
USER hfnet
WORKDIR /home/hfnet
ENV PATH=/home/hfnet/venv/bin:/usr/local/cuda/bin:$PATH
RUN python3 -m venv venv && pip install --no-cache-dir tensorrt-cu12==10.13.3.9 'pycuda>=2024.1'

COPY --chown=hfnet . /home/hfnet/hfnet_ros
RUN pip install --no-cache-dir '/home/hfnet/hfnet_ros[tensorrt,ros]' && mkdir -p -m 700 /home/hfnet/.cache
VOLUME /home/hfnet/.cache
ENTRYPOINT ["hfnet"]
CMD ["engine", "info"]
