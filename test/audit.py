"""Known vulnerabilities of what is installed, for `make lint`: asked of pip-audit where it can reach its data."""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 120
_SKIPPED = "pip-audit: SKIPPED, it cannot reach its data"


def main() -> int:
    """0 where nothing is known or nothing can be asked, 1 with a line for each vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(
            [*command, "--timeout", "10"], check=False, capture_output=True, text=True, timeout=SECONDS
        )
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        print(f"{_SKIPPED} ({type(error).__name__})")
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        print(f"{_SKIPPED} (it knows none of {len(packages)} packages)")
        return 0
    found = [(package, known) for package in asked for known in package["vulns"]]
    for package, known in found:
        fixed = ", ".join(known["fix_versions"]) or "no version"
        print(f"pip-audit: {package['name']} {package['version']}: {known['id']}, mended in {fixed}")
    print(f"pip-audit: {len(asked)} of {len(packages)} packages asked about, {len(found)} vulnerabilities known")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
