"""`save` and `load`: the state of modules, optimizers, schedulers and numbers in one safetensors file.

A file holds the tensors, readable by everything that reads safetensors, and in its metadata a description of how they
hang together, as JSON.  Nothing in it is a program: loading a file can't run code.

* `save` writes beside the old file and puts the new one in its place when it is whole (`os.replace`).
* Each tensor and the description have a checksum, so a file that was damaged is noticed before anything is loaded.
* `load(path, into=…)` loads into all objects or, if one of them refuses, into none.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import uuid
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from neuronix.nn.errors import CheckpointError, MissingPackageError
from neuronix.nn.structure import Packed, pack, unpack

__all__ = ["load", "save"]

_STRUCTURE = "neuronix"  # the metadata's entries
_CHECKSUMS = "neuronix.crc32"
_TORCH_FILES = (b"PK\x03\x04", b"\x80")  # a zip archive, and before torch 1.6 a pickle


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Save a state to a safetensors file, all or nothing: whatever happens meanwhile, the old file stays whole.

    Args:
        obj: A module, an optimizer, a scheduler or another object with ``state_dict()``; a tensor, number, string or
            ``None``; or dicts, lists and tuples of these.  A ``torch.Generator`` is saved as its state.
        path: The file; what is there is replaced.

    Raises:
        CheckpointError: If something in ``obj`` can't be saved; it says where it is.  Or if the disk is full.
        FileNotFoundError: If the folder doesn't exist.
        MissingPackageError: If safetensors isn't installed.

    Example:
        >>> import tempfile, torch
        >>> from neuronix import nn
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = f"{folder.name}/checkpoint.safetensors"
        >>> model = nn.Linear(2, 1)
        >>> nn.save({"model": model, "epoch": 3, "best": (0.5, None)}, path)
        >>> state = nn.load(path)
        >>> list(state["model"]), state["epoch"], state["best"]
        (['weight', 'bias'], 3, (0.5, None))
        >>> again = nn.Linear(2, 1)
        >>> _ = nn.load(path, into={"model": again})
        >>> torch.equal(again.weight.data, model.weight.data)
        True
        >>> folder.cleanup()

    Differs from torch:
        ``torch.save`` writes a pickle, in place of the old file: a program that ends meanwhile leaves half a file.
    """
    safetensors = _safetensors()
    packed = pack(obj)
    structure = json.dumps(packed.structure)
    checksums = {name: _checksum(tensor) for name, tensor in packed.tensors.items()}
    checksums[""] = zlib.crc32(structure.encode())
    metadata = {"format": "pt", _STRUCTURE: structure, _CHECKSUMS: json.dumps(checksums)}
    try:
        _replace(path, lambda temporary: safetensors.torch.save_file(packed.tensors, temporary, metadata))
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{os.fspath(path)}: the file can't be written ({error})") from error


def load(path: str | os.PathLike[str], into: Any = None, *, device: torch.device | str = "cpu") -> Any:
    """Load a file of [`save`][neuronix.nn.save], another safetensors file, or a checkpoint of ``torch.save``.

    Args:
        path: The file.
        into: An object with ``load_state_dict`` whose state the file is; or a dict of such objects, each of which takes
            the entry of its name.  A ``torch.Generator`` takes its state.
        device: Where the tensors are to live.

    Returns:
        What was saved, with a state for each object; tensors are plain torch tensors.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is truncated, damaged, or could run code; or if its state doesn't fit ``into``:
            then the error lists everything that doesn't, and no object has changed.
        MissingPackageError: If safetensors isn't installed.
    """
    with open(path, "rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its header, which may be any eight bytes, and then the header: "{".
    from_torch = start.startswith(_TORCH_FILES) and start[8:] != b"{"
    state = _load_torch(path, device) if from_torch else _load_safetensors(path, device)
    if into is not None:
        _distribute(path, state, into)
    return state


# Writing


def _replace(path: str | os.PathLike[str], write: Callable[[str], Any]) -> None:
    """Write a file beside ``path`` and put it in its place."""
    target = Path(os.path.realpath(path))  # what a link points to
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        write(str(temporary))
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # on the disk before its name is
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _checksum(tensor: Tensor) -> int:
    start = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, start) if tensor.numel() else start


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingPackageError(
            "save and load need the package safetensors, which isn't installed",
            hint='pip install "neuronix-nn[save]"',
        ) from error
    package: ModuleType = safetensors
    return package


# Reading


def _load_safetensors(path: str | os.PathLike[str], device: torch.device | str) -> Any:
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            # Copies: what safetensors gives is the file's own memory, and would change with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # no dict
    except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
        raise _damaged(path, f"it can't be read as safetensors ({error})") from error
    if _STRUCTURE not in metadata and _CHECKSUMS not in metadata:
        return {name: tensor.to(device) for name, tensor in tensors.items()}  # another program's
    try:
        structure = metadata[_STRUCTURE]
        checksums = json.loads(metadata[_CHECKSUMS])
        wrong = [name for name, tensor in tensors.items() if checksums[name] != _checksum(tensor)]
        intact = checksums[""] == zlib.crc32(structure.encode())
        if wrong or not intact or len(checksums) != len(tensors) + 1:
            raise _damaged(path, f"checksums don't fit: {', '.join(map(repr, wrong)) or 'its description'}")
        return unpack(Packed(json.loads(structure), {name: tensor.to(device) for name, tensor in tensors.items()}))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise _damaged(path, f"its description can't be read ({error!r})") from error


def _load_torch(path: str | os.PathLike[str], device: torch.device | str) -> Any:
    try:
        with open(path, "rb") as file:  # a file, because torch takes the name's ending for its format
            return torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{os.fspath(path)}: a checkpoint of torch.save that holds more than tensors and numbers isn't loaded, "
            f"because loading it could run code ({str(error).splitlines()[0]})",
            hint="save a state_dict() with torch.save and load that",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _damaged(path, f"torch.load can't read it ({error})") from error


def _damaged(path: str | os.PathLike[str], why: str) -> CheckpointError:
    return CheckpointError(
        f"{os.fspath(path)}: the file is truncated or damaged: {why}; nothing was loaded",
        hint="take another copy of it",
    )


# Loading into objects


def _distribute(path: str | os.PathLike[str], state: Any, into: Any) -> None:
    """Load states into objects: into all, or into none."""
    objects = into if isinstance(into, dict) else {"": into}
    states = state if isinstance(into, dict) else {"": state}
    problems = _misfits(objects, states)
    before: list[tuple[Any, Any]] = []
    if not problems:
        for name, thing in objects.items():
            before.append((thing, deepcopy(_state_of(thing))))
            try:
                _put(thing, states[name])
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
                problems.append(f"{name or type(thing).__name__}: {error}")
    if problems:
        for thing, held in before:
            _put(thing, held)
        lines = "\n".join(problems).replace("\n", "\n  ")
        raise CheckpointError(f"{os.fspath(path)}: the state doesn't fit; no object has changed:\n  {lines}")


def _misfits(objects: dict[str, Any], states: Any) -> list[str]:
    if not isinstance(states, dict):
        return [f"the file holds {type(states).__name__}, not states by name"]
    known = ", ".join(map(repr, states))
    found = [f"{name!r}: the file has no such entry (it has {known})" for name in objects if name not in states]
    return found + [
        f"{name!r}: {type(thing).__name__} has no load_state_dict"
        for name, thing in objects.items()
        if not isinstance(thing, torch.Generator) and not hasattr(thing, "load_state_dict")
    ]


def _state_of(thing: Any) -> Any:
    return thing.get_state() if isinstance(thing, torch.Generator) else thing.state_dict()


def _put(thing: Any, state: Any) -> None:
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    else:
        thing.load_state_dict(state)
