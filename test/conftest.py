"""Shared by all tests: the builders beside this file are importable by their names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

try:
    from hypothesis import settings
except ImportError:  # its tests skip themselves
    pass
else:  # a busy machine is slow, which says nothing of the code
    settings.register_profile("no_deadline", deadline=None)
    settings.load_profile("no_deadline")
