"""`adopt`: a PyTorch model, unchanged, on Neuronix's engine.

The model is copied, and in the copy each parameter is a disguised `Parameter` (see `neuronix.autograd.disguise`):
torch's ``forward`` computes with it as with any tensor, and the engine records.  Around the copy stands a tree of
`Adopted`, one for each of its modules, which is what a user sees: a `Module` like any other.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, RemovableHandle
from neuronix.autograd.disguise import Disguised, disguise, reveal, torch_code
from neuronix.autograd.errors import UnsupportedError
from neuronix.nn.backward_hooks import Passage
from neuronix.nn.errors import ModuleTypeError
from neuronix.nn.hooks import Hook
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter

__all__ = ["Adopted", "adopt"]

M = TypeVar("M", bound="Adopted")


def adopt(module: torch.nn.Module) -> Adopted:
    """Run a PyTorch model on Neuronix: its ``forward`` untouched, its parameters copied into our own.

    Args:
        module: Any ``torch.nn.Module``; it stays as it is.

    Returns:
        A module that computes what ``module`` computes.  Its parameters are [`Parameter`][neuronix.nn.Parameter]s under
        torch's names, shared where they are shared; its submodules can be called, inspected and hooked as well.

    Raises:
        ModuleTypeError: If ``module`` isn't a ``torch.nn.Module``, or has parameters without a shape.
        UnsupportedError: If torch has compiled it to a script, or it has backward hooks.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> torch.manual_seed(0)
        <...>
        >>> theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        >>> ours = nn.adopt(theirs)
        >>> ours(torch.ones(4, 2)).sum().backward()
        >>> theirs(torch.ones(4, 2)).sum().backward()
        >>> bool(torch.allclose(ours.get_parameter("0.weight").grad, theirs[0].weight.grad))
        True
        >>> ours.train(False).training, theirs.training
        (False, True)
    """
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    _check(module)
    inner = copy.deepcopy(module, _stand_ins(module))
    return _Family(inner).adopted(inner)


def _check(module: Any) -> None:
    if not isinstance(module, torch.nn.Module):
        raise ModuleTypeError(
            f"adopt: a torch.nn.Module is expected, got {type(module).__name__}",
            hint="from_torch and adopt take PyTorch's modules; Neuronix's own need neither",
        )
    for name, part in module.named_modules():
        where = f"adopt: {name or 'the module'} ({type(part).__name__})"
        if isinstance(part, torch.jit.ScriptModule):
            raise UnsupportedError(
                f"{where} is compiled by torch.jit: what it computes can't be seen from Python",
                hint="adopt the module that it was made from",
            )
        if part._backward_hooks or part._backward_pre_hooks:
            raise UnsupportedError(
                f"{where} has backward hooks, which only torch's own differentiation calls",
                hint="remove them, and register them on the adopted modules",
            )
        for key, parameter in part._parameters.items():
            if torch.nn.parameter.is_lazy(parameter):
                raise ModuleTypeError(
                    f"{where}: {key!r} has no shape yet", hint="run the model once in torch, or give it its sizes"
                )


def _stand_ins(module: torch.nn.Module) -> dict[int, Any]:
    """What takes each parameter's place in the copy, wherever it is mentioned: a memo for deepcopy."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for parameter in part._parameters.values():
            if parameter is not None and id(parameter) not in memo:
                ours = Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
                memo[id(parameter)] = _disguised(ours, getattr(parameter, "__dict__", {}))
        for value in [*part._buffers.values(), *vars(part).values()]:
            if isinstance(value, Tensor) and value.requires_grad:  # a result of torch's, which can't be copied
                memo.setdefault(id(value), value.detach().clone())
    return memo


def _disguised(parameter: Parameter, attributes: dict[str, Any] | None = None) -> Disguised:
    made = Disguised(parameter)
    made.__dict__.update(attributes or {})
    made._is_param = True  # what isinstance(x, torch.nn.Parameter) asks
    return made


class Adopted(Module):
    """A module of PyTorch's on Neuronix's engine; [`adopt`][neuronix.nn.adopt] makes it.

    What a `Module` has, it has: parameters and buffers under torch's names, modes, hooks, states.  Other attributes and
    methods are those of the adopted module (``model.config``, ``vae.decode(z)``); a method runs as ``forward`` does.

    Hooks take and give CustomTensors.  They are called wherever the module is called, also by the torch module around
    it.
    """

    torch_module: torch.nn.Module
    """The copy of the torch module that computes; its parameters are disguised."""

    _family: _Family

    def __init__(self, torch_module: torch.nn.Module, family: _Family) -> None:
        super().__init__()
        self.__dict__.update(torch_module=torch_module, _family=family)
        self.__dict__.pop("training")  # the torch module's; see below

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the torch module; tensors in what it returns are CustomTensors."""
        return self._family.run(self.torch_module, args, kwargs)

    def compile_state(self) -> Iterator[tuple[dict[str, Any], bool, Any]]:
        """What [`neuronix.autograd.compile`][] must know: parameters and buffers, and the torch modules' attributes."""
        for module in self.modules():
            torch_module = module.torch_module
            yield module.__dict__, False, (type(torch_module), _attributes(torch_module))
            yield torch_module._buffers, False, None  # the same ones, for as long as the step is traced

    # The torch module's answers

    @property
    def training(self) -> bool:
        """Whether the torch module is in training mode."""
        return self.torch_module.training

    @training.setter
    def training(self, mode: bool) -> None:
        self.torch_module.training = mode

    def train(self: M, mode: bool = True) -> M:
        """Set the mode here and below; a model that keeps parts of itself frozen does so."""
        if not isinstance(mode, bool):
            return super().train(mode)  # the error
        self.torch_module.train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        torch_module = self.__dict__.get("torch_module")
        if torch_module is None or not hasattr(torch_module, name):
            return super().__getattr__(name)
        value = getattr(torch_module, name)
        if getattr(value, "__self__", None) is torch_module and callable(value):
            return functools.wraps(value)(lambda *args, **kwargs: self._family.run(value, args, kwargs))
        return self._family.adopted(value) if isinstance(value, torch.nn.Module) else reveal(value)

    def __setattr__(self, name: str, value: Any) -> None:
        known = {**self._parameter_names, **self._module_names}
        if name in known or isinstance(value, (Parameter, Module, torch.nn.Module)):
            raise ModuleTypeError(
                f"{type(self).__name__}: parameters and submodules of an adopted module can't be replaced ({name!r})",
                hint="change the torch module and adopt it again; values are set by state_dict or parameter.data.copy_",
            )
        if name in self._buffer_names or name == "training" or name in self.__dict__:
            super().__setattr__(name, value)
        else:
            setattr(self.torch_module, name, value)

    def __getitem__(self, index: Any) -> Any:
        found = self.torch_module[index]  # type: ignore[index]
        return self._family.adopted(found) if isinstance(found, torch.nn.Module) else reveal(found)

    def __len__(self) -> int:
        return len(self.torch_module)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        for item in self.torch_module:  # type: ignore[attr-defined]
            yield self._family.adopted(item) if isinstance(item, torch.nn.Module) else item

    def __bool__(self) -> bool:
        return True

    def __contains__(self, item: Any) -> bool:
        return (item.torch_module if isinstance(item, Adopted) else item) in self.torch_module  # type: ignore[operator]

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Any:
        """Call ``hook(module, args)`` before each ``forward``; see [`Module`][neuronix.nn.Module]."""
        return self.torch_module.register_forward_pre_hook(self._bare(hook), prepend=prepend, with_kwargs=with_kwargs)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> Any:
        """Call ``hook(module, args, output)`` after each ``forward``; see [`Module`][neuronix.nn.Module]."""
        return self.torch_module.register_forward_hook(
            self._bare(hook), prepend=prepend, with_kwargs=with_kwargs, always_call=always_call
        )

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_outputs)``; see [`Module`][neuronix.nn.Module]."""
        return RemovableHandle(self._passes().pre_hooks, Hook(hook), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_inputs, grad_outputs)``; see [`Module`][neuronix.nn.Module]."""
        return RemovableHandle(self._passes().hooks, Hook(hook), prepend)

    def _passes(self) -> _Passes:
        if "_own_passes" not in self.__dict__:
            passes = self.__dict__["_own_passes"] = _Passes(self)
            self.register_forward_pre_hook(passes.enter)
            self.register_forward_hook(passes.leave)
        found: _Passes = self.__dict__["_own_passes"]
        return found

    def _bare(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def bare(_: torch.nn.Module, *values: Any) -> Any:
            return disguise(hook(self, *reveal(values)))

        return bare

    def extra_repr(self) -> str:
        """What the torch module says of itself."""
        return self.torch_module.extra_repr()

    def _get_name(self) -> str:
        return type(self.torch_module).__name__

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.torch_module)})


def _attributes(torch_module: torch.nn.Module) -> dict[str, Any]:
    """The attributes of a torch module that are no state."""
    state = ("_parameters", "_buffers", "_modules")
    return {name: value for name, value in vars(torch_module).items() if name not in state}


class _Passes:
    """The backward hooks of an adopted module: its calls, also those by the torch module around it, go through here."""

    def __init__(self, module: Adopted) -> None:
        self.module = module
        self.hooks: dict[int, Hook] = {}
        self.pre_hooks: dict[int, Hook] = {}
        self.calls: list[Passage] = []  # those that are going on

    def enter(self, module: Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        functions = ([hook.function for hook in table.values()] for table in (self.hooks, self.pre_hooks))
        self.calls.append(Passage(self.module, *functions))
        return self.calls[-1].enter(args) if self.hooks or self.pre_hooks else args

    def leave(self, module: Module, args: tuple[Any, ...], result: Any) -> Any:
        passage = self.calls.pop()
        return passage.leave(result) if self.hooks or self.pre_hooks else result


class _Family:
    """All `Adopted` of one model, and the exchange of state with the torch modules that compute.

    Between calls a buffer is the `Adopted`'s, a plain tensor.  During a call the torch module has it, disguised.
    """

    def __init__(self, root: torch.nn.Module) -> None:
        self.members: dict[torch.nn.Module, Adopted] = {}
        self.depth = 0
        self.root = root
        self.take_over()

    def adopted(self, torch_module: torch.nn.Module) -> Adopted:
        """The `Adopted` of a module; one that is met for the first time is taken in."""
        if torch_module not in self.members:
            self.members[torch_module] = Adopted(torch_module, self)
            self._register(torch_module)
        return self.members[torch_module]

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call code of the torch module's with CustomTensors."""
        with self.lent(), torch_code():
            return reveal(function(*disguise(args), **disguise(kwargs)))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Hand the buffers to the torch modules, and take back what they have made of them."""
        if self.depth == 0:
            self._lend()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if self.depth == 0:
                self.take_over()

    def _lend(self) -> None:
        lent: dict[int, Any] = {}  # a buffer that is shared stays shared
        for torch_module, adopted in self.members.items():
            for name in torch_module._buffers:
                buffer = adopted.__dict__[name]
                torch_module._buffers[name] = lent.setdefault(id(buffer), disguise(buffer))

    def take_over(self) -> None:
        """Take in what the torch modules hold now: buffers, and what a call has added."""
        self.adopted(self.root)
        for torch_module in list(self.members):
            self._register(torch_module)

    def _register(self, torch_module: torch.nn.Module) -> None:
        adopted = self.members[torch_module]
        held = adopted.__dict__
        for name, parameter in torch_module._parameters.items():
            if parameter is not None and not (
                isinstance(parameter, Disguised) and isinstance(parameter.custom, Parameter)
            ):
                parameter = torch_module._parameters[name] = _as_parameter(parameter)  # one that a call has made
            held[name] = None if parameter is None else parameter.custom
        for name, buffer in torch_module._buffers.items():
            plain = buffer.custom.data if isinstance(buffer, Disguised) else buffer
            held[name] = torch_module._buffers[name] = plain
        for name, child in torch_module._modules.items():
            held[name] = None if child is None else self.adopted(child)
        held["_parameter_names"] = dict.fromkeys(torch_module._parameters)
        held["_buffer_names"] = {
            name: name not in torch_module._non_persistent_buffers_set for name in torch_module._buffers
        }
        held["_module_names"] = dict.fromkeys(torch_module._modules)


def _as_parameter(tensor: Any) -> Any:
    custom = (
        tensor.custom if isinstance(tensor, Disguised) else CustomTensor(tensor, requires_grad=tensor.requires_grad)
    )
    return _disguised(Parameter(custom.data, requires_grad=custom.requires_grad), getattr(tensor, "__dict__", {}))
