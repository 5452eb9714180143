"""What stands in two places agrees, and what belongs in one place stands in one."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_modules import benchmark
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
HOUSE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECTS = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
PINS = {
    canonicalize_name(requirement.name): requirement
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}
# The lines that a stranger pastes.
SET_UP = 'python3 -m venv .venv && .venv/bin/pip install -q "nox[uv]" && .venv/bin/nox -s '
SKIPPED_FOLDERS = {".git", ".nox", "site", "dist", "node_modules"}


def tracked_text_files() -> list[Path]:
    """The project's files, without what sessions and tools leave behind."""
    inside = [path for path in ROOT.rglob("*") if not SKIPPED_FOLDERS & {*path.relative_to(ROOT).parts}]
    hidden = re.compile(r"\.(venv|.*_cache|hypothesis)")
    kept = [path for path in inside if not any(hidden.match(part) for part in path.relative_to(ROOT).parts)]
    return [path for path in kept if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".txt"}]


def requirements() -> list[Requirement]:
    """Everything that a package or a session asks for."""
    lines: list[str] = [line for group in HOUSE["dependency-groups"].values() for line in group]
    for project in PROJECTS:
        lines += project["project"]["dependencies"] + project["dependency-groups"]["test"]
        lines += [line for extra in project["project"].get("optional-dependencies", {}).values() for line in extra]
    return [requirement for requirement in map(Requirement, lines) if not requirement.name.startswith("neuronix-")]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    (pin,) = PINS[canonicalize_name(requirement.name)].specifier
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)


def test_pins_name_public_versions() -> None:
    # With `+cpu`, the file would work only where that build of torch is known.
    assert [str(pin) for pin in PINS.values() if any(Version(one.version).local for one in pin.specifier)] == []


def test_lower_bounds_of_siblings_are_their_versions() -> None:
    for project in PROJECTS:
        for requirement in map(Requirement, project["project"]["dependencies"]):
            if requirement.name.startswith("neuronix-"):
                name = requirement.name.removeprefix("neuronix-")
                about = ROOT / "packages" / requirement.name / "src" / "neuronix" / name / "__about__.py"
                version = re.search(r'__version__ = "(.+)"', about.read_text(encoding="utf-8"))
                assert version is not None
                assert requirement.specifier.contains(version.group(1))


def test_pre_commit_runs_the_pinned_tools() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks: list[dict[str, Any]] = [hook for repository in config["repos"] for hook in repository["hooks"]]
    asked = [Requirement(line) for hook in hooks for line in hook.get("additional_dependencies", [])]
    assert len(asked) >= 3
    for requirement in asked:
        assert requirement.specifier == PINS[canonicalize_name(requirement.name)].specifier


def test_public_address_stands_in_one_place() -> None:
    address = re.compile(r"https?://\S*neuronix", re.IGNORECASE)
    allowed = ROOT / "pyproject.toml"
    naming = [path for path in tracked_text_files() if address.search(path.read_text(encoding="utf-8"))]
    assert {*naming} <= {allowed}


@pytest.mark.parametrize("session", ["quickstart", "tests"])
def test_readme_has_the_command_to_paste(session: str) -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert SET_UP + session in [line.strip() for line in lines]


def test_ci_finds_the_test_command_in_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m 1 -E '(.+)' README.md", script)
    assert pattern is not None
    found = subprocess.run(
        ["grep", "-m", "1", "-E", pattern.group(1), "README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == SET_UP + "tests"


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/**/*.yml")), ids=lambda path: path.name)
def test_workflows_and_templates_can_be_read(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_workflow_says_which_entries_nobody_has_run() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert "run by anybody yet" in jobs["elsewhere"]["name"]
    assert jobs["elsewhere"]["continue-on-error"] is True


def test_the_engine_proper_stays_small() -> None:
    # docs/decisions/0010-folders-around-the-engine.md says what counts, and why it isn't less.
    folder = ROOT / "packages/neuronix-autograd/src/neuronix/autograd"
    around = {"__about__.py", "__init__.py", "compiled_sums.py", "drawing.py"}
    code_lines = benchmark("peer_programs.worker").code_lines
    assert sum(code_lines(path) for path in folder.glob("*.py") if path.name not in around) <= 1_200
