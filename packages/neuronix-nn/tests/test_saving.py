"""`save` and `load`: exact, atomic, without code, and all or nothing."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuronix import nn
from neuronix.autograd import tensor
from neuronix.nn.errors import CheckpointError, MissingPackageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.safetensors"


def same(a: Any, b: Any) -> bool:
    """Whether two states are the same, types and bits included."""
    if isinstance(a, torch.Tensor):
        return (
            type(a) is type(b)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and torch.equal(
                a.reshape(-1).view(torch.uint8),
                b.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8),
            )
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


VALUES: dict[str, Any] = {
    "numbers": [0, -3, 2**70, True, False, 0.1, -0.0, 1e-320, math.inf, -math.inf, math.nan, 1 + 2j],
    "nothing": [None, "", "ünicode \n", (), [], {}, ((1,), [2, (3.5, None)])],
    "keys": {1: "a", "1": "b", 1.5: "c", (1, "x"): "d", None: "f", False: "g"},
    "dtypes": [torch.float32, torch.device("cpu")],
    "counter": Counter({3: 2}),
    "floats": [torch.randn(3, 4, dtype=d) for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16)],
    "integers": [torch.arange(5, dtype=d) for d in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)],
    "bool": torch.tensor([True, False]),
    "scalars": [torch.tensor(3), torch.tensor(0.5, dtype=torch.bfloat16), torch.tensor(True)],
    "empty": [torch.empty(0), torch.empty(3, 0, 2, dtype=torch.int64), torch.empty(0, dtype=torch.bfloat16)],
    "special": torch.tensor([math.nan, math.inf, -0.0, 1e-45]),
    "complex": [torch.randn(2, 3, dtype=torch.complex128), torch.tensor(1 + 2j, dtype=torch.complex64)],
    "random numbers": torch.get_rng_state(),
    "a.b": torch.zeros(1),
    "a": {"b": torch.ones(1)},
}


@pytest.mark.parametrize("name", VALUES)
def test_a_state_comes_back_bit_for_bit(name: str, path: Path) -> None:
    nn.save(VALUES[name], path)
    assert same(nn.load(path), VALUES[name])


def test_all_at_once(path: Path) -> None:
    nn.save(VALUES, str(path))
    assert same(nn.load(str(path)), VALUES)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_becomes_a_tensor_or_a_number(path: Path) -> None:
    strided = torch.arange(6.0).reshape(2, 3).mT
    nn.save({"ours": tensor([1.0], requires_grad=True), "numpy": np.ones(2), "t": strided, "n": np.float32(0.5)}, path)
    state = nn.load(path)
    assert same(
        state, {"ours": torch.tensor([1.0]), "numpy": torch.ones(2).double(), "t": strided.contiguous(), "n": 0.5}
    )
    conjugate = torch.tensor([1 + 2j]).conj()
    nn.save([conjugate, conjugate.imag, OrderedDict(a=1)], path)
    assert same(nn.load(path), [conjugate.resolve_conj(), conjugate.imag.resolve_neg(), {"a": 1}])


def test_tied_tensors_stay_tied_and_views_do_not(path: Path) -> None:
    x = torch.randn(4)
    nn.save({"a": x, "b": [x], "view": x[:2], "numbers": x.view(torch.int32)}, path)
    state = nn.load(path)
    assert state["a"] is state["b"][0]
    state["a"].zero_()
    assert torch.equal(state["view"], x[:2])
    assert torch.equal(state["numbers"], x.view(torch.int32))


def tied_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


def test_a_module_is_its_state(path: Path) -> None:
    model = tied_model()
    model(torch.randn(4, 3))
    nn.save(model, path)
    assert same(dict(nn.load(path)), dict(model.state_dict()))
    other = tied_model()
    nn.load(path, into=other)
    assert same(dict(other.state_dict()), dict(model.state_dict()))
    from safetensors.torch import load_file

    assert set(load_file(path)) == set(model.state_dict()) - {"2.weight"}


def test_files_of_other_programs(path: Path) -> None:
    from safetensors.torch import save_file

    theirs = torch.nn.Linear(3, 2)
    save_file(theirs.state_dict(), path)
    ours = nn.Linear(3, 2)
    nn.load(path, into=ours)
    assert torch.equal(ours.weight.data, theirs.weight.detach())
    torch.save({"model": theirs.state_dict(), "epoch": 3}, path)
    other = nn.Linear(3, 2)
    assert nn.load(path, into={"model": other})["epoch"] == 3
    assert torch.equal(other.weight.data, theirs.weight.detach())


def test_a_generator(path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    torch.randn(5, generator=generator)
    nn.save({"generator": generator}, path)
    expected = torch.randn(5, generator=generator)
    again = torch.Generator()
    nn.load(path, into={"generator": again})
    assert torch.equal(torch.randn(5, generator=again), expected)


def test_loading_runs_no_code(path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    torch.save({"model": Evil()}, path)
    with pytest.raises(CheckpointError, match="could run code"):
        nn.load(path)
    torch.save({"model": Evil()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="could run code"):
        nn.load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value, words",
    [
        ({"a": [1, {"f": len}]}, r"'a\.1\.f' is a builtin_function_or_method"),
        (object(), "what was given is a object"),
        ({"s": {1, 2}}, "'s' is a set"),
        ({frozenset(): 1}, "key frozenset"),
        ({"x": torch.eye(2).to_sparse()}, r"'x' is a torch\.sparse_coo tensor"),
        ({"x": torch.empty(2, device="meta")}, "'x' is a meta tensor"),
        ({"m": nn.Linear}, "'m' is a type"),
    ],
)
def test_what_cannot_be_saved(value: Any, words: str, path: Path) -> None:
    nn.save({"old": 1}, path)
    with pytest.raises(CheckpointError, match=words):
        nn.save(value, path)
    assert nn.load(path) == {"old": 1}
    assert len(list(path.parent.iterdir())) == 1


def test_a_container_in_itself(path: Path) -> None:
    loop: list[Any] = [1]
    loop.append({"again": loop})
    with pytest.raises(CheckpointError, match=r"'1\.again' contains itself"):
        nn.save(loop, path)


# Damage


def state() -> dict[str, Any]:
    torch.manual_seed(0)
    return {"weight": torch.randn(50, 4), "half": torch.randn(7).bfloat16(), "lr": 0.1, "steps": torch.tensor(3)}


def test_a_truncated_file(path: Path) -> None:
    nn.save(state(), path)
    whole = path.read_bytes()
    for length in [0, 1, 3, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            nn.load(path)


def test_every_damaged_byte_is_noticed(path: Path) -> None:
    nn.save(state(), path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        for bit in (0, 6):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                loaded = nn.load(path)
            except CheckpointError:
                continue
            assert same(loaded, state()), position  # as in the name of the format, which nothing depends on


def test_a_description_that_says_something_else(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, path, {"neuronix": '{"tensor": "b"}', "neuronix.crc32": "{}"})
    with pytest.raises(CheckpointError, match="damaged"):
        nn.load(path)
    # A header of more bytes than there are.
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(CheckpointError, match="damaged"):
        nn.load(path)


def test_damaged_torch_files(path: Path) -> None:
    torch.save({"a": torch.ones(100)}, path)
    whole = path.read_bytes()
    for length in (5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            nn.load(path)
    path.write_bytes(b"\x80\x02garbage")
    with pytest.raises(CheckpointError):
        nn.load(path)


def test_no_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        nn.load(path)
    with pytest.raises(FileNotFoundError):
        nn.save({}, path.parent / "missing" / "file")


# Loading into objects


def test_everything_that_does_not_fit_is_listed_and_nothing_changes(path: Path) -> None:
    saved = {"model": {"0.weight": torch.zeros(3, 3), "extra": torch.zeros(1), "0.bias": torch.zeros(4)}, "other": 1}
    nn.save(saved, path)
    model, second = tied_model(), nn.Linear(2, 2)
    before = [{name: value.clone() for name, value in m.state_dict().items()} for m in (model, second)]
    with pytest.raises(CheckpointError) as caught:
        nn.load(path, into={"model": model, "second": second, "third": 3})
    for words in ("'second': the file has no such entry", "'third': the file", "'third': int has no load_state_dict"):
        assert words in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        nn.load(path, into={"model": model, "other": second})
    text = str(caught.value)
    for words in ("'1.running_mean'", "'2.bias'", "'extra'", "size mismatch for 0.bias", "other: expected state_dict"):
        assert words in text
    for m, values in zip((model, second), before, strict=True):
        assert same(dict(m.state_dict()), values)


def test_what_was_loaded_before_the_misfit_is_taken_back(path: Path) -> None:
    nn.save({"first": nn.Linear(2, 2), "second": nn.Linear(3, 2)}, path)
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    weight, values = first.weight, first.weight.data.clone()
    with pytest.raises(CheckpointError, match=r"second: .*\n.*size mismatch for weight"):
        nn.load(path, into={"first": first, "second": second})
    assert first.weight is weight
    assert torch.equal(first.weight.data, values)
    theirs = torch.nn.Linear(2, 2)  # torch's own loads what fits before it raises
    kept = theirs.weight.detach().clone()
    nn.save({"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="size mismatch for bias"):
        nn.load(path, into=theirs)
    assert torch.equal(theirs.weight, kept)
    nn.save([1], path)
    with pytest.raises(CheckpointError, match="the file holds list"):
        nn.load(path, into={"first": first})


# Atomic


def saves_and_dies(path: Path, moment: str, ready: int) -> None:
    """Save once; then save again and die in the middle of it."""
    import safetensors.torch

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)  # OpenMP's other threads don't come along in a fork, and would be waited for
    write = safetensors.torch.save_file

    def half(tensors: Any, filename: str, metadata: Any) -> None:
        write(tensors, filename, metadata)
        os.truncate(filename, os.path.getsize(filename) // 2)
        die()

    nn.save({"n": 1, "x": torch.ones(1000)}, path)
    if moment == "write":
        safetensors.torch.save_file = half
    elif moment != "any":
        setattr(os, moment, die)
    os.write(ready, b".")
    for n in range(2, 100_000):
        nn.save({"n": n, "x": torch.full((100_000,), float(n))}, path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("moment", ["write", "fsync", "replace", "any"])
def test_a_kill_in_the_middle_of_a_save_leaves_the_old_file_whole(moment: str, path: Path) -> None:
    import safetensors.torch  # noqa: F401  # before the fork: quicker

    listen, ready = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            saves_and_dies(path, moment, ready)
        finally:
            os._exit(1)  # it must never come back into pytest
    os.read(listen, 1)
    if moment == "any":  # while some later save is under way
        first = path.stat().st_ino
        while path.stat().st_ino == first:
            pass
        os.kill(process, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    os.close(listen)
    os.close(ready)
    loaded = nn.load(path)
    assert loaded["n"] == 1 if moment != "any" else loaded["n"] >= 2
    assert loaded["x"].unique().tolist() == [float(loaded["n"])]
    nn.save({"n": 3}, path)
    assert nn.load(path) == {"n": 3}


def test_an_exception_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nn.save({"n": 1}, path)

    def fails(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        nn.save({"n": 2}, path)
    assert nn.load(path) == {"n": 1}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="links and modes of files as on POSIX")
def test_links_and_modes_are_kept(path: Path) -> None:
    nn.save({"n": 1}, path)
    path.chmod(0o640)
    link = path.with_name("latest")
    link.symlink_to(path.name)
    nn.save({"n": 2}, link)
    assert link.is_symlink()
    assert nn.load(path) == {"n": 2}
    assert path.stat().st_mode & 0o777 == 0o640


def test_without_safetensors(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nn.save({"n": 1}, path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for call in (lambda: nn.save({}, path), lambda: nn.load(path)):
        with pytest.raises(MissingPackageError, match=r"neuronix-nn\[save\]"):
            call()


def test_the_description_is_plain_json(path: Path) -> None:
    nn.save({"a": (1, torch.ones(1))}, path)
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    metadata = json.loads(whole[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["neuronix"]) == {"dict": [["a", {"tuple": [1, {"tensor": "a.1"}]}]]}
