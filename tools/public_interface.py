"""Lists each package's public names with their signatures, so that a change of interface is a visible change of a file.

``python tools/public_interface.py --write`` writes packages/*/public_interface.txt, ``--check`` compares them.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("autograd", "nn", "losses", "optim")
HEADING = """\
# The public names of neuronix.{package}: what stands in its __all__, and in that of the modules named there.
# Written by `nox -s interfaces`; a test compares it with the package.
"""


def interface_file(package: str) -> Path:
    """Where a package's list stands."""
    return ROOT / "packages" / f"neuronix-{package}" / "public_interface.txt"


def public_names(module: ModuleType) -> list[str]:
    """A module's ``__all__``; every public module has one."""
    names = getattr(module, "__all__", None)
    if names is None:
        raise AttributeError(f"{module.__name__} is public, so it needs an __all__")
    return list(names)


class Verbatim:
    """Stands for an annotation; its repr, which `str(signature)` takes, is the text that a reader wants."""

    def __init__(self, annotation: object) -> None:
        self.text = annotation_text(annotation)

    def __repr__(self) -> str:
        return self.text


def annotation_text(annotation: object) -> str:
    """An annotation as it stands in the source, or nearly so: names without the modules that they come from."""
    if isinstance(annotation, str):
        return annotation
    text = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"\b(?:typing|collections\.abc|types|neuronix(?:\.\w+)*)\.(?=\w)", "", text).replace(
        "NoneType", "None"
    )


def describe_callable(thing: object) -> str:
    """A signature, without what differs from run to run (addresses of objects)."""
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except ValueError:  # some built-in classes have none
        return "(...)"
    empty = inspect.Signature.empty
    parameters = [
        one if one.annotation is empty else one.replace(annotation=Verbatim(one.annotation))
        for one in signature.parameters.values()
    ]
    returned = signature.return_annotation
    text = str(signature.replace(parameters=parameters, return_annotation=empty))
    text = re.sub(r"<([\w.]+(?: [\w.]+)?)(?: object)? at 0x[0-9a-f]+>", r"<\1>", text)
    return text if returned is empty or isinstance(thing, type) else f"{text} -> {annotation_text(returned)}"


def describe_class(cls: type, path: str) -> Iterator[str]:
    """A class: its call, its bases, and the public members that it defines itself."""
    bases = ", ".join(base.__qualname__ for base in cls.__bases__ if base is not object)
    yield f"class {path}{describe_callable(cls)}" + (f": {bases}" if bases else "")
    annotated = inspect.get_annotations(cls)
    for name in sorted({*vars(cls), *annotated}):
        if name.startswith("_") and name not in OPERATORS:
            continue
        member = vars(cls).get(name, inspect.Parameter.empty)
        if member is inspect.Parameter.empty:
            yield f"    {path}.{name}: {annotation_text(annotated[name])}"
        elif isinstance(member, staticmethod | classmethod):
            yield f"    {path}.{name}{describe_callable(getattr(cls, name))}: {type(member).__name__}"
        elif callable(member) and not isinstance(member, type):
            yield f"    {path}.{name}{describe_callable(member)}"
        elif isinstance(member, property):
            yield f"    {path}.{name}: property{'' if member.fset is None else ', can be set'}"
        else:
            kind = annotation_text(annotated[name]) if name in annotated else type(member).__name__
            yield f"    {path}.{name}: {kind}"


def describe_module(module: ModuleType, seen: dict[int, str]) -> Iterator[str]:
    """All public names of a module, then those of the modules among them; a thing with two names is told once."""
    things = {f"{module.__name__}.{name}": getattr(module, name) for name in sorted(public_names(module))}
    for path, thing in sorted(things.items(), key=lambda item: isinstance(item[1], ModuleType)):
        if id(thing) in seen and callable(thing):
            yield f"{path} = {seen[id(thing)]}"
            continue
        seen[id(thing)] = path
        if isinstance(thing, ModuleType):
            yield f"module {path}"
            yield from describe_module(thing, seen)
        elif isinstance(thing, type):
            yield from describe_class(thing, path)
        elif callable(thing):
            yield f"{path}{describe_callable(thing)}"
        else:
            yield f"{path}: {type(thing).__name__}"


def describe_package(package: str) -> str:
    """The text of a package's list."""
    lines = describe_module(importlib.import_module(f"neuronix.{package}"), {})
    return HEADING.format(package=package) + "\n" + "".join(line + "\n" for line in lines)


def difference(package: str) -> str:
    """What changed since the list was written; empty if nothing did."""
    path = interface_file(package)
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        written.splitlines(), describe_package(package).splitlines(), "written", "package", lineterm="", n=0
    )
    return "\n".join(lines)


# The special methods that say what can be done with an object.
OPERATORS = {
    f"__{name}__"
    for name in (
        "call len iter getitem setitem contains bool float int index complex array "
        "add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv ifloordiv "
        "mod rmod imod pow rpow ipow matmul rmatmul imatmul neg pos abs invert and or xor eq ne lt le gt ge enter exit"
    ).split()
}


def main() -> None:
    """Write the lists, or compare them."""
    parser = argparse.ArgumentParser(description="Public names and signatures of the four packages.")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write packages/*/public_interface.txt")
    mode.add_argument("--check", action="store_true", help="fail where a package differs from its list")
    parser.add_argument("packages", nargs="*", default=PACKAGES, help="of which packages (default: all)")
    options = parser.parse_args()
    differing = False
    for package in options.packages:
        if options.write:
            interface_file(package).write_text(describe_package(package), encoding="utf-8")
        elif changes := difference(package):
            differing = True
            print(changes)
    if differing:
        sys.exit("The interface changed. If that is meant: nox -s interfaces, and commit the lists.")


if __name__ == "__main__":
    main()
