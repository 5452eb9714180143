"""Checks what the session `build` built: the archives' contents, and a wheel installed alone.

Run as ``python check_build.py archives dist`` and, by the Python of an environment that holds one package and what it
declares, as ``python -I check_build.py installed nn autograd`` (the package, then the siblings that may be there).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("autograd", "nn", "losses", "optim")


def fail(message: str) -> None:
    """End with a sentence."""
    sys.exit(f"check_build: {message}")


def sources(package: str) -> dict[str, bytes]:
    """The files of a package's sources, by their path from `neuronix/` on."""
    home = ROOT / "packages" / f"neuronix-{package}" / "src"
    files = [path for path in home.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in files}


def check_wheel(path: Path, package: str) -> None:
    """A wheel holds exactly the package's part of the namespace, its licence, and nothing at the top level."""
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        if names != sources(package).keys():
            fail(f"{path.name} differs from the sources in {sorted(names ^ sources(package).keys())}")
        if "neuronix/__init__.py" in names:
            fail(f"{path.name} has neuronix/__init__.py, which hides the other packages of the namespace")
        if f"neuronix/{package}/py.typed" not in names:
            fail(f"{path.name} has no py.typed")
        licences = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        if [archive.read(name) for name in licences] != [(ROOT / "LICENSE").read_bytes()]:
            fail(f"{path.name} has no LICENSE, or another one than the root")


def check_sdist(path: Path, package: str) -> None:
    """An sdist holds the sources, the tests and what a reader wants to read."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", *(f"src/{name}" for name in sources(package))}
    if missing := wanted - names:
        fail(f"{path.name} lacks {sorted(missing)}")
    if not any(name.startswith("tests/test_") for name in names):
        fail(f"{path.name} has no tests")


def check_archives(dist: Path) -> None:
    """Check every archive of a folder."""
    archives = sorted(path for path in dist.iterdir() if path.name.startswith("neuronix_"))
    for path in archives:
        package = path.name.split("-")[0].removeprefix("neuronix_")
        (check_wheel if path.suffix == ".whl" else check_sdist)(path, package)
        print(f"{path.name}: contents as they should be")
    if not archives or len(archives) % 2:
        fail(f"{dist} should hold one wheel and one sdist a package: {[path.name for path in archives]}")


def check_installed(package: str, siblings: list[str]) -> None:
    """Import the package; the siblings that it declares are there, from this build, and no other one is."""
    module = importlib.import_module(f"neuronix.{package}")
    for name in PACKAGES:
        spec = importlib.util.find_spec(f"neuronix.{name}")
        if name not in (package, *siblings):
            if spec is not None:
                fail(f"neuronix.{name} is importable beside neuronix.{package}, which doesn't declare it")
            continue
        if spec is None or spec.origin is None:
            fail(f"neuronix.{name} isn't importable, though neuronix.{package} declares it")
        distribution = importlib.metadata.distribution(f"neuronix-{name}")
        for path, content in sources(name).items():
            if Path(str(distribution.locate_file(path))).read_bytes() != content:
                fail(f"the installed {path} isn't the one of this build")
    absent = [name for name in PACKAGES if name not in (package, *siblings)]
    version = importlib.metadata.version(f"neuronix-{package}")
    print(f"neuronix.{package} {version}: {len(module.__all__)} public names; with {siblings}, without {absent}")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "archives":
        check_archives(Path(arguments[0]))
    else:
        check_installed(arguments[0], arguments[1:])
