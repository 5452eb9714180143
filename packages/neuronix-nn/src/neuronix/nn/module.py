"""`Module`: parameters, buffers and submodules under their names, and a `forward` that uses them.

A module's attributes are ordinary ones; beside them it keeps three tables of *names*, in the order of registration:
which attributes are parameters, which are buffers and which are submodules.  Everything else here goes through them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import UnsupportedError
from neuronix.nn import state
from neuronix.nn.errors import ModuleAttributeError, ModuleKeyError, ModuleTypeError, StateDictError
from neuronix.nn.hooks import RemovableHandle
from neuronix.nn.parameter import Parameter

__all__ = ["Module"]

M = TypeVar("M", bound="Module")

# What __init__ makes first; asking for it before that means that __init__ wasn't called.
_TABLES = ("_buffer_names", "_forward_hooks", "_forward_pre_hooks", "_module_names", "_parameter_names", "training")


class Module:
    """The base of all layers, losses and models.

    A subclass creates its parameters and submodules in ``__init__``, by assigning them, and says in ``forward`` what it
    computes.  Calling the module calls ``forward``.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = nn.Linear(4, 8)
        ...         self.out = nn.Linear(8, 2)
        ...     def forward(self, x):
        ...         return self.out(self.hidden(x).relu())
        >>> net = Net()
        >>> net
        Net(
          (hidden): Linear(in_features=4, out_features=8, bias=True)
          (out): Linear(in_features=8, out_features=2, bias=True)
        )
        >>> net(torch.ones(3, 4)).shape
        torch.Size([3, 2])
        >>> list(net.state_dict())
        ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']

    Differs from torch:
        Buffers are plain torch tensors.  There are no backward hooks on modules and no ``state_dict`` hooks; a
        parameter's own ``register_hook`` is there.  ``load_state_dict`` changes nothing if it raises.
    """

    training: bool
    """Whether layers such as dropout and batch normalisation behave as during training."""

    _parameter_names: dict[str, None]
    _buffer_names: dict[str, bool]  # the value says whether it belongs to the state_dict
    _module_names: dict[str, None]
    _forward_pre_hooks: dict[int, tuple[Callable[..., Any], bool]]  # the hook, and whether it takes keyword arguments
    _forward_hooks: dict[int, tuple[Callable[..., Any], bool]]

    def __init__(self) -> None:
        # Past our own __setattr__, which needs these tables.
        self.__dict__.update(
            training=True,
            _parameter_names={},
            _buffer_names={},
            _module_names={},
            _forward_pre_hooks={},
            _forward_hooks={},
        )

    # Calling

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result; each subclass defines it.

        Raises:
            UnsupportedError: Here, because the base class computes nothing.
        """
        raise UnsupportedError(
            f"{type(self).__name__} has no forward", hint="define `def forward(self, x)` in the class"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call ``forward``, between the hooks if there are any."""
        if self._forward_pre_hooks or self._forward_hooks:
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs in list(self._forward_pre_hooks.values()):
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is None:
                continue
            if with_kwargs:
                args, kwargs = changed
            else:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            result = result if changed is None else changed
        return result

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before each ``forward``.

        Args:
            hook: What it returns, if it isn't ``None``, takes the place of the arguments.
            prepend: Put it before the hooks that are there.
            with_kwargs: Call ``hook(module, args, kwargs)`` instead, which returns ``None`` or ``(args, kwargs)``.

        Returns:
            A handle whose ``remove()`` takes the hook away.
        """
        return RemovableHandle(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each ``forward``.

        Args:
            hook: What it returns, if it isn't ``None``, takes the place of the output.
            prepend: Put it before the hooks that are there.
            with_kwargs: Call ``hook(module, args, kwargs, output)`` instead.

        Returns:
            A handle whose ``remove()`` takes the hook away.

        Example:
            >>> import torch
            >>> from neuronix import nn
            >>> layer = nn.Flatten()
            >>> with layer.register_forward_hook(lambda module, args, out: print(tuple(out.shape))):
            ...     _ = layer(torch.zeros(2, 3, 4))
            (2, 12)
        """
        return RemovableHandle(self._forward_hooks, (hook, with_kwargs), prepend)

    # Registering

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
            return
        if isinstance(value, Module):
            self.add_module(name, value)
            return
        tables = self.__dict__
        if value is not None:
            if name in tables.get("_parameter_names", ()):
                raise ModuleTypeError(
                    f"cannot assign {type(value).__name__!r} as parameter {name!r} of {type(self).__name__}",
                    hint=f"wrap it, as in nn.Parameter(value), or change the values with {name}.data.copy_(value)",
                )
            if name in tables.get("_module_names", ()):
                raise ModuleTypeError(
                    f"cannot assign {type(value).__name__!r} as child module {name!r} of {type(self).__name__}",
                    hint="a Module or None is expected",
                )
            if name in tables.get("_buffer_names", ()):
                value = _as_buffer(self, name, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        for table in (self._parameter_names, self._buffer_names, self._module_names):
            table.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        # Called only for what isn't there.
        if name in _TABLES:
            raise ModuleAttributeError(
                f"{type(self).__name__} has no {name!r} yet", hint="call super().__init__() first in its __init__"
            )
        known = [*self._parameter_names, *self._buffer_names, *self._module_names]
        raise ModuleAttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}",
            hint=f"its parameters, buffers and submodules: {', '.join(known)}" if known else None,
        )

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register a parameter; ``None`` registers that there is none, as for the bias of a layer without bias.

        Raises:
            ModuleTypeError: If ``param`` is neither.
            ModuleKeyError: If the name is empty, contains a dot, or is that of something else.
        """
        if param is not None and not isinstance(param, Parameter):
            raise ModuleTypeError(
                f"cannot register {type(param).__name__!r} as parameter {name!r} of {type(self).__name__}",
                hint="wrap it, as in nn.Parameter(value)",
            )
        if param is not None and param.grad_fn is not None:
            raise ModuleTypeError(f"parameter {name!r} must be a leaf, not the result of {param.grad_fn.name!r}")
        self._register(name, param, self._parameter_names, None)

    def register_buffer(self, name: str, tensor: Tensor | CustomTensor | None, persistent: bool = True) -> None:
        """Register a torch tensor that belongs to the module's state and isn't trained, such as a running mean.

        Args:
            name: Its name.
            tensor: The tensor, or ``None`` for none.
            persistent: Whether it is part of the ``state_dict``.

        Raises:
            ModuleTypeError: If ``tensor`` isn't one.
            ModuleKeyError: If the name is empty, contains a dot, or is that of something else.
        """
        self._register(name, _as_buffer(self, name, tensor), self._buffer_names, persistent)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a submodule.

        Raises:
            ModuleTypeError: If ``module`` isn't one.
            ModuleKeyError: If the name is empty, contains a dot, or is that of something else.
        """
        if module is not None and not isinstance(module, Module):
            raise ModuleTypeError(f"{type(module).__name__} {name!r} is not a Module subclass")
        self._register(name, module, self._module_names, None)

    register_module = add_module

    def _register(self, name: str, value: Any, table: dict[str, Any], entry: Any) -> None:
        if not isinstance(name, str):
            raise ModuleTypeError(f"a name must be a string, got {type(name).__name__}")
        if not name or "." in name:
            raise ModuleKeyError(f"{type(self).__name__}: the name {name!r} is empty or contains '.'")
        if name not in table:
            if value is None or not isinstance(value, (Parameter, Module)):
                if hasattr(self, name):
                    raise ModuleKeyError(f"{type(self).__name__} has an attribute {name!r} already")
            elif callable(getattr(type(self), name, None)):
                raise ModuleKeyError(f"{name!r} is a method of {type(self).__name__} and can't be a name in it")
            self._forget(name)
            table[name] = entry
        self.__dict__[name] = value

    # Walking

    def _members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Module, str, Any]]:
        """Each registered parameter or buffer: its full name, its module, its name there, its value."""
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name in getattr(module, table):
                value = module.__dict__[name]
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, module, name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Each parameter with its dotted name; one that is shared appears once, under its first name."""
        for path, _, _, value in self._members("_parameter_names", prefix, recurse, remove_duplicate):
            yield path, value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Each parameter, once; ``recurse=False`` leaves those of submodules out."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Each buffer with its dotted name."""
        for path, _, _, value in self._members("_buffer_names", prefix, recurse, remove_duplicate):
            yield path, value

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Each buffer."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def compile_state(self) -> Iterator[tuple[dict[str, Any], bool, Any]]:
        """What [`neuronix.autograd.compile`][] must know of this module: all attributes of all modules in it."""
        for module in self.modules():
            yield module.__dict__, False, type(module)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The submodules that are registered here, with their names; each once."""
        seen: set[int] = set()
        for name in self._module_names:
            module = self.__dict__[name]
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The submodules that are registered here."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their dotted names; a shared one appears once."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name in self._module_names:
            module = self.__dict__[name]
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def get_submodule(self, target: str) -> Module:
        """The submodule with the dotted name ``target``; the module itself for ``""``.

        Raises:
            ModuleAttributeError: If there is none.
        """
        found = self
        for name in target.split(".") if target else ():
            found = getattr(found, name)
            if not isinstance(found, Module):
                raise ModuleAttributeError(f"{name!r} in {target!r} is a {type(found).__name__}, not a module")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with the dotted name ``target``.

        Raises:
            ModuleAttributeError: If there is none.
        """
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), name)
        if not isinstance(found, Parameter):
            raise ModuleAttributeError(f"{target!r} is a {type(found).__name__}, not a parameter")
        return found

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` with each module, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # Modes

    def train(self: M, mode: bool = True) -> M:
        """Set ``training`` here and below.  It changes what layers compute, never whether it is differentiable.

        Raises:
            ModuleTypeError: If ``mode`` isn't a boolean.
        """
        if not isinstance(mode, bool):
            raise ModuleTypeError(f"training mode is expected to be boolean, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Set ``training`` to ``False`` here and below."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set whether gradients are computed with respect to the parameters."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: ``None``, or zeros with ``set_to_none=False``."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    # Moving

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Move parameters and buffers, in place: each parameter stays the same object.

        Args:
            *args: A device, a floating-point dtype (integers stay as they are), both, or a tensor whose device and
                dtype to take.
            **kwargs: ``device``, ``dtype``, ``non_blocking``.

        Returns:
            The module.

        Raises:
            ModuleTypeError: If the dtype isn't a floating-point or complex one.
        """
        device, dtype, non_blocking = _destination(*args, **kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise ModuleTypeError(f"to() only accepts floating point or complex dtypes, got {dtype}")

        def move(tensor: Tensor) -> Tensor:
            follows = tensor.is_floating_point() or tensor.is_complex()
            return tensor.to(device=device, dtype=dtype if follows else None, non_blocking=non_blocking)

        for parameter in self.parameters():
            grad = parameter.grad
            parameter.data = move(parameter.data)
            if grad is not None:
                parameter.grad = move(grad)
        for _, module, name, buffer in self._members("_buffer_names", "", True, False):
            module.__dict__[name] = move(buffer)
        return self

    def float(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.float32``."""
        return self.to(torch.float32)

    def double(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.float64``."""
        return self.to(torch.float64)

    def half(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.float16``."""
        return self.to(torch.float16)

    def bfloat16(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.bfloat16``."""
        return self.to(torch.bfloat16)

    def cpu(self: M) -> M:
        """Move parameters and buffers to the CPU."""
        return self.to("cpu")

    def cuda(self: M, device: int | torch.device | None = None) -> M:
        """Move parameters and buffers to a CUDA device."""
        return self.to("cuda" if device is None else device)

    # State

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> OrderedDict[str, Any]:
        """Parameters and persistent buffers by their dotted names.

        Args:
            prefix: Put before each name.
            keep_vars: Give the parameters themselves, not their values.

        Returns:
            Plain torch tensors in torch's order, which share the module's memory.
        """
        return state.collect(self, prefix, keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> state.IncompatibleKeys:
        """Copy a state into the parameters and buffers.

        Args:
            state_dict: Values by dotted name: torch tensors (from us or from torch), CustomTensors or arrays.
            strict: Whether names that are missing or unexpected are an error.
            assign: Use the given tensors instead of copying their values.

        Returns:
            The names that are missing and those that are unexpected.

        Raises:
            StateDictError: If names (with ``strict``) or shapes don't fit.  It lists all of them; nothing is changed.

        Example:
            >>> import torch
            >>> from neuronix import nn
            >>> nn.Linear(3, 2).load_state_dict(torch.nn.Linear(3, 2).state_dict())
            <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise ModuleTypeError(f"expected state_dict to be dict-like, got {type(state_dict).__name__}")
        plan = state.compare(self, state_dict)
        problems = plan.problems(strict)
        if problems:
            lines = "\n  ".join(problems)
            raise StateDictError(f"Error(s) in loading state_dict for {self._get_name()}, nothing loaded:\n  {lines}")
        plan.carry_out(assign)
        return plan.incompatible

    # Showing

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's repr; subclasses say it."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _shown_children(self) -> list[tuple[str, str]]:
        """What the repr says of submodules: names, and texts."""
        return [(name, repr(self.__dict__[name])) for name in self._module_names]

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n")
        lines = extra if extra != [""] else []
        single = len(lines) <= 1
        children = ["\n  ".join(f"({name}): {text}".split("\n")) for name, text in self._shown_children()]
        if single and not children:
            return f"{self._get_name()}({''.join(lines)})"
        return f"{self._get_name()}(\n  " + "\n  ".join([*lines, *children]) + "\n)"

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name[0].isdigit()]


def _as_buffer(module: Module, name: str, value: Any) -> Tensor | None:
    if isinstance(value, CustomTensor):
        value = value.data
    if value is not None and not isinstance(value, Tensor):
        raise ModuleTypeError(
            f"cannot assign {type(value).__name__!r} object to buffer {name!r} of {type(module).__name__}",
            hint="a torch tensor or None is required",
        )
    return None if value is None else value.detach() if value.requires_grad else value


def _destination(
    *args: Any,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
) -> tuple[torch.device | str | int | None, torch.dtype | None, bool]:
    """The device and dtype that the arguments of ``to`` mean."""
    for argument in args:
        if isinstance(argument, (Tensor, CustomTensor)):
            device, dtype = argument.device, argument.dtype
        elif isinstance(argument, torch.dtype):
            dtype = argument
        elif isinstance(argument, bool):
            non_blocking = argument
        elif isinstance(argument, (str, int, torch.device)):
            device = argument
        elif argument is not None:
            raise ModuleTypeError(f"to(): {argument!r} is neither a device nor a dtype nor a tensor")
    return device, dtype, non_blocking
