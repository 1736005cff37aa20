"""Features as files: the original repository's `.npz`, hloc's `.h5`. See docs/formats.md."""
