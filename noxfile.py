"""Everything that a contributor runs: `nox -l` lists it, `nox -s NAME` runs one, and none needs anything prepared.

A session makes its own environment in `.nox/`, with the versions of constraints.txt. What follows `--` is handed on.
"""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.10.16"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "no" if "CI" in os.environ else "yes"
nox.options.sessions = ["lint", "types", "imports", "tests"]

ROOT = Path(__file__).parent
PACKAGES = ("autograd", "nn", "losses", "optim")  # siblings first
FOLDERS = {package: Path("packages", f"neuronix-{package}") for package in PACKAGES}
PROJECTS = {package: nox.project.load_toml(ROOT / FOLDERS[package] / "pyproject.toml") for package in PACKAGES}
HOUSE = nox.project.load_toml(ROOT / "pyproject.toml")

# With this set, each start compiles torch's sources again (two seconds).
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# uv neither downloads a Python of its own nor gives up on a large wheel on a slow line.
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
os.environ.setdefault("UV_HTTP_TIMEOUT", "300")


def find_links() -> str:
    """Folders of wheels that pip is set up to use on this machine: uv doesn't read pip's settings."""
    if "UV_FIND_LINKS" in os.environ:
        return os.environ["UV_FIND_LINKS"]
    links = os.environ.get("PIP_FIND_LINKS", "")
    if not links:
        ask = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
        links = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    return ",".join(links.split())


if FIND_LINKS := find_links():
    os.environ["UV_FIND_LINKS"] = FIND_LINKS


def siblings(package: str) -> list[str]:
    """The packages that this one declares, each after those that it needs itself."""
    names = {Requirement(line).name for line in PROJECTS[package]["project"]["dependencies"]}
    return [other for other in PACKAGES if f"neuronix-{other}" in names]


def editable(*packages: str) -> list[str]:
    """What pip needs to install these packages from their folders: siblings aren't on an index."""
    return [argument for package in packages for argument in ("-e", f"./{FOLDERS[package].as_posix()}")]


def group(*names: str) -> list[str]:
    """Requirements of the groups of the root's pyproject.toml."""
    return [requirement for name in names for requirement in HOUSE["dependency-groups"][name]]


def test_group(*packages: str) -> list[str]:
    """Requirements of the packages' own tests."""
    groups = [PROJECTS[package]["dependency-groups"]["test"] for package in packages]
    return sorted({requirement for group in groups for requirement in group})


def install(session: nox.Session, *arguments: str) -> None:
    """Install with the pinned versions."""
    session.install("-c", "constraints.txt", *arguments)


def run_pytest(session: nox.Session, *arguments: str, measure: list[str], paths: list[str]) -> None:
    """Run pytest; a part of the tests (anything after ``--``) is run without measuring coverage."""
    asked = session.posargs
    if any("/" in word or word.endswith((".py", ".md")) for word in asked if not word.startswith("-")):
        paths = []
    if measure and not asked:
        arguments += (*(f"--cov=neuronix.{package}" for package in measure), "--cov-report=term:skip-covered")
    coverage_file = str(Path(session.virtualenv.location).resolve() / "coverage.sqlite")
    # The tensors of tests are small: threads would take longer to meet than to compute, on a busy machine many times.
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    session.run(
        "pytest",
        *arguments,
        *asked,
        *paths,
        env={"COVERAGE_FILE": coverage_file, "OMP_NUM_THREADS": threads},
        # `nox -s tests -- -k conv` finds something in one package and nothing in another.
        success_codes=[0, 5] if asked else [0],
    )


@nox.session
@nox.parametrize("package", [nox.param(package, id=package) for package in (*PACKAGES, "integration")])
def tests(session: nox.Session, package: str) -> None:
    """All tests, or one package's: nox -s "tests(nn)"; a part of them: nox -s "tests(nn)" -- -k conv."""
    if package == "integration":
        install(session, *editable(*PACKAGES), *test_group(*PACKAGES), *group("examples", "integration"))
        pages = ["docs", "README.md", "CONTRIBUTING.md"]
        run_pytest(session, measure=[], paths=["tests-integration", *pages])  # each package measures itself
        return
    install(session, *editable(*siblings(package), package), *test_group(package))
    folder = FOLDERS[package].as_posix()
    # The folder holds tests, doctests of the sources, and pages whose Python blocks run.
    run_pytest(session, "--doctest-modules", measure=[package], paths=[folder])


@nox.session
@nox.parametrize("package", [nox.param(package, id=package) for package in (*PACKAGES, "integration")])
def nightly(session: nox.Session, package: str) -> None:
    """The tests that draw programs and samples, with thousands of new ones; nox -s "nightly(autograd)"."""
    install(session, *editable(*PACKAGES), *test_group(*PACKAGES), *group("examples", "integration"))
    session.env["NEURONIX_NIGHTLY"] = "1"
    run_pytest(session, measure=[], paths=["tests-integration" if package == "integration" else str(FOLDERS[package])])


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely bugs (ruff). To mend what can be mended: nox -s lint -- --fix."""
    install(session, *group("lint"))
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the four packages, the tools and the examples (mypy --strict)."""
    install(session, *editable(*PACKAGES), *group("types"))
    session.run("mypy", *session.posargs)
    scripts = [path.as_posix() for folder in ("tools", "examples", "benchmarks") for path in Path(folder).glob("*.py")]
    for script in ["noxfile.py", *sorted(scripts)]:  # one at a time: scripts aren't modules of one program
        session.run("mypy", script, silent=True)


@nox.session
def imports(session: nox.Session) -> None:
    """Arrows between the packages: who may import whom (import-linter)."""
    install(session, *group("imports"))
    sources = os.pathsep.join(str(ROOT / folder / "src") for folder in FOLDERS.values())
    session.run("lint-imports", *session.posargs, env={"PYTHONPATH": sources})


@nox.session
def interfaces(session: nox.Session) -> None:
    """Write each package's public names and signatures to its public_interface.txt; a test compares them."""
    install(session, *editable(*PACKAGES))
    session.run("python", "tools/public_interface.py", *(session.posargs or ["--write"]))


def build_archives(session: nox.Session, packages: tuple[str, ...]) -> Path:
    """Build wheel and sdist of the packages into dist/, which holds nothing else afterwards."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in packages:
        with session.chdir(FOLDERS[package]):
            session.run("hatchling", "build", "-d", str(dist))
    return dist


@nox.session
def build(session: nox.Session) -> None:
    """Wheels and sdists, into dist/; each wheel is installed alone, with nothing but what it declares, and imported."""
    install(session, *group("build"))
    dist = build_archives(session, PACKAGES)
    session.run("python", "tools/check_build.py", "archives", str(dist))
    links = {"UV_FIND_LINKS": ",".join(filter(None, [str(dist), FIND_LINKS]))}
    for package in PACKAGES:
        home = Path(session.create_tmp()) / f"only-{package}"
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        wheel = next(dist.glob(f"neuronix_{package}-*.whl"))
        session.run("uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        # Siblings come from this build: an index or an older build of the same version must not stand in for them.
        fresh = [argument for other in PACKAGES for argument in ("--refresh-package", f"neuronix-{other}")]
        target = ["--python", str(python), "-c", "constraints.txt", *fresh]
        session.run("uv", "pip", "install", "--quiet", *target, str(wheel), env=links)
        # -I: neither this folder nor PYTHONPATH may lend a module.
        command = [str(python), "-I", "tools/check_build.py", "installed", package, *siblings(package)]
        session.run(*command, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into site/; every warning is an error. To read while writing: nox -s docs -- serve."""
    install(session, *group("docs"))
    env = {"NO_MKDOCS_2_WARNING": "1"}  # we know: docs/decisions
    if address := HOUSE["tool"]["neuronix"]["repository"]:
        env["NEURONIX_REPOSITORY"] = address
    if session.posargs[:1] == ["serve"]:
        session.run("mkdocs", *session.posargs, env=env)
    else:
        session.run("mkdocs", "build", "--strict", "--clean", *session.posargs, env=env)


@nox.session
def quickstart(session: nox.Session) -> None:
    """The main job: learn to read handwritten digits, beside PyTorch. Its options: nox -s quickstart -- --help."""
    install(session, *editable(*PACKAGES), *PROJECTS["autograd"]["project"]["optional-dependencies"]["draw"])
    install(session, *group("examples"))
    session.run("python", "examples/digits.py", *session.posargs)
    # What the example measured are the last lines that a reader sees.
    logging.getLogger("nox").addFilter(lambda record: "quickstart was successful" not in record.getMessage())


@nox.session
@nox.parametrize("name", [nox.param(path.stem, id=path.stem) for path in sorted(ROOT.glob("examples/*.py"))])
def examples(session: nox.Session, name: str) -> None:
    """All programs in examples/, or one: nox -s "examples(hessian)"; in seconds: nox -s examples -- --short."""
    install(session, *editable(*PACKAGES), *PROJECTS["autograd"]["project"]["optional-dependencies"]["draw"])
    install(session, *group("examples"))
    session.run("python", f"examples/{name}.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed and memory beside PyTorch. To fail where a limit is missed: nox -s bench -- --check."""
    install(session, *editable(*PACKAGES), *group("examples"))
    for path in sorted(Path("benchmarks").glob("*.py")):
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8"):  # the others are modules of these programs
            session.run("python", str(path), *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Time, memory and size beside JAX, tinygrad and others, installed into .nox/peers: nox -s peers -- --write."""
    install(session, *editable(*PACKAGES), *group("examples"))
    session.run("python", "benchmarks/peers.py", *session.posargs)


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """One environment with everything editable, for your editor and shell: .venv, or nox -s dev -- FOLDER."""
    home = Path(session.posargs[0] if session.posargs else ".venv")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        session.run(sys.executable, "-m", "venv", str(home))
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    installer = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    tools = [*test_group(*PACKAGES), *group(*HOUSE["dependency-groups"]), "nox[uv]", "pre-commit"]
    session.run(*installer, "-c", "constraints.txt", *editable(*PACKAGES), *tools)
    session.log(f"Ready: source {home}/bin/activate && pytest packages/neuronix-autograd && pre-commit install")


@nox.session
@nox.parametrize("package", [nox.param(package, id=package) for package in PACKAGES])
def release(session: nox.Session, package: str) -> None:
    """Bump, changelog, build, and the tag to push: nox -s "release(optim)" -- minor (or major, patch, 1.2.3)."""
    install(session, *group("build"))
    folder = FOLDERS[package]

    def version(*change: str) -> str:
        with session.chdir(folder):
            return str(session.run("hatchling", "version", *change, silent=True)).strip().splitlines()[-1]

    changelog = folder / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    head, found, entries = text.partition("## Unreleased\n")
    if not found or not entries.partition("\n## ")[0].strip():
        session.error(f"{changelog} has no entry under 'Unreleased': say there what a user gets from this release")
    if session.posargs and session.posargs[0] != version():
        version(session.posargs[0])
    number = version()
    if f"\n## {number} " in text:
        session.error(f"{number} is released already: say what this is, as in  nox -s 'release({package})' -- minor")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    changelog.write_text(f"{head}## Unreleased\n\n## {number} ({today})\n{entries}", encoding="utf-8")
    build_archives(session, (package,))
    session.run("python", "tools/check_build.py", "archives", "dist")
    for other in PACKAGES:
        for asked in map(Requirement, PROJECTS[other]["project"]["dependencies"]):
            if asked.name == f"neuronix-{package}" and number not in asked.specifier:
                session.warn(
                    f"neuronix-{other} asks for {asked}, which leaves {number} out: widen it, then run `build`"
                )
    tag = f"neuronix-{package}-v{number}"
    session.log(f"Read the change, then: git commit -am 'Release {tag}' && git tag {tag} && git push origin HEAD {tag}")


if __name__ == "__main__":
    nox.main()
