"""Shared by all tests: the builders beside this file are importable by their names."""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

try:
    from hypothesis import settings
except ImportError:  # its tests skip themselves
    pass
else:  # a busy machine is slow, which says nothing of the code
    settings.register_profile("no_deadline", deadline=None)
    settings.load_profile("no_deadline")
# What this machine's user has measured or built must not decide what the tests see.
_cache = tempfile.TemporaryDirectory(prefix="hfnet-tests-")
os.environ["XDG_CACHE_HOME"] = _cache.name
