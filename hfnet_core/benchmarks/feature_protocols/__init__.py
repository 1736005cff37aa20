"""The HF-Net paper's evaluations of features and retrieval: HPatches, SfM with depth maps, retrieval by pose."""
