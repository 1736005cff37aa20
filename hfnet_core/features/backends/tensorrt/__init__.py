"""The network on TensorRT: graphs it can take, engines built once and cached, execution through pycuda.

Importing this package needs neither TensorRT nor a GPU; `device.load_libraries` says whether both are there.
"""
