"""What the documents say about the tree is so: links, paths, modules, versions, sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pages import PAGES, ROOT

from hfnet_core import __version__
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.limits import LIMITS
from hfnet_core.types import CAMERA_PARAMETERS

FOLDERS = sorted(
    path.relative_to(ROOT) for path in (*ROOT.glob("hfnet_core/*/README.md"), ROOT / "hfnet_ros/README.md")
)


def module_file(name: str) -> Path | None:
    """The file of a module of this tree, which need not be importable here (ROS, torch)."""
    path = ROOT.joinpath(*name.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)


def test_the_readme_is_short() -> None:
    words = len((ROOT / "README.md").read_text().split())
    assert words <= 700, f"README.md has {words} words"


@pytest.mark.parametrize("page", [*PAGES, *FOLDERS], ids=str)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", [*PAGES, *FOLDERS], ids=str)
def test_files_of_the_code_that_pages_name_are_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    for name in re.findall(
        r"`((?:hfnet_core|hfnet_ros|test|config|launch|docs|maps)/[\w./-]*)`", (ROOT / page).read_text()
    ):
        assert (ROOT / name).exists(), f"{page}: {name}"


@pytest.mark.parametrize("readme", FOLDERS, ids=str)
def test_a_folder_says_what_it_is_in_a_few_lines(readme: Path) -> None:
    text = (ROOT / readme).read_text()
    if readme.parent.name != "models":
        assert len(text.splitlines()) <= 14
        for name in re.findall(r"`([\w/]+\.(?:py|html))`", text):
            assert (ROOT / readme).parent.joinpath(name).exists() or (ROOT / name).exists(), f"{readme}: {name}"


def test_every_stage_has_a_readme() -> None:
    layers = re.findall(r"^    hfnet_core\.(\w+)", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    folders = {name for name in layers if (ROOT / "hfnet_core" / name).is_dir()}
    assert len(folders) > 8
    assert folders <= {readme.parent.name for readme in FOLDERS}


def test_modules_of_the_api_pages_are_there() -> None:
    named = [
        (page, name)
        for page in PAGES
        for name in re.findall(r"^::: ([\w.]+)$", (ROOT / page).read_text(), re.MULTILINE)
    ]
    assert named
    for page, name in named:
        assert module_file(name), f"{page}: {name}"


def test_modules_that_the_changelog_sends_to_are_there() -> None:
    table = re.findall(
        r"^ *\| (`hfnet_core.*?) \| (`hfnet_core.*?) \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert table
    for before, now in table:
        target = re.findall(r"`(hfnet_core[\w.]*)(\.\*)?`", now)[0]
        names = re.findall(r"`[\w.]*\.(\w+)`", before.split(" (")[0]) if target[1] else [""]
        for name in names:
            module = f"{target[0]}.{name}".rstrip(".")
            assert module_file(module), f"CHANGELOG.md: {before} is not in {module}"


def test_package_weights_and_citation_have_one_version() -> None:
    weights = open_backend().info.version
    assert weights.split(".")[:2] == __version__.split(".")[:2]
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == __version__


def test_the_projects_address_stands_in_one_place() -> None:
    address = re.search(r'^URL = "https://(.+?)"', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert address
    suffixes = {".py", ".md", ".xml", ".cfg", ".yml", ".yaml", ".cff", ".toml", ".ipynb"}
    files = [path for path in ROOT.glob("*") if path.suffix in suffixes]
    files += [
        path for top in ("docs", "config", "hfnet_core", "hfnet_ros", "launch") for path in (ROOT / top).rglob("*")
    ]
    holders = [
        path.name for path in files if path.suffix in suffixes and path.is_file() and address[1] in path.read_text()
    ]
    assert holders == ["setup.py"]


def test_limits_are_as_the_page_on_security_says() -> None:
    told = re.findall(
        r"^\| `(HFNET_MAX_\w+)` \| (\d+ \w+) \| (.+?) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE
    )
    assert told == [(limit.variable, f"{limit.default} {limit.unit}", limit.help) for limit in LIMITS]


def test_every_camera_model_is_named() -> None:
    text = "".join((ROOT / page).read_text() for page in PAGES if page.name.startswith("formats"))
    assert not [model for model in CAMERA_PARAMETERS if not re.search(rf"\b{model}\b", text)]


@pytest.mark.parametrize("name", ["one-image", "paper"])
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    cells = json.loads((ROOT / f"docs/{name}.ipynb").read_text())["cells"]
    assert any(cell["cell_type"] == "code" for cell in cells)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_the_hooks_before_a_commit_are_linters_of_make() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"].replace(".venv/bin/", "").replace(" --force-exclude", "") for hook in local["hooks"]]
    recipe = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    steps = [line.replace("$(BIN)/", "").replace(" --check", "").strip() for line in recipe.splitlines()[1:]]
    assert len(hooks) == 4
    assert set(hooks) <= {step.removesuffix(" .") for step in steps}


def test_pages_of_the_site_are_in_its_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().split("nav:")[1].split("markdown_extensions:")[0]
    for page in (page for page in PAGES if page.parts[0] == "docs"):
        assert str(page.relative_to("docs")) in menu, f"{page} is not in mkdocs.yml"
