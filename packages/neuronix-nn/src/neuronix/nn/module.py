"""`Module`: parameters, buffers and submodules under their names, and a `forward` that uses them.

A module's attributes are ordinary ones; beside them it keeps three tables of *names*, in the order of registration:
which attributes are parameters, which are buffers and which are submodules.  Everything else here goes through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, RemovableHandle
from neuronix.autograd.errors import UnsupportedError
from neuronix.nn import hooks, moving, state
from neuronix.nn.errors import ModuleAttributeError, ModuleKeyError, ModuleTypeError, ModuleValueError
from neuronix.nn.hooks import Hook
from neuronix.nn.parameter import Parameter

__all__ = ["Module"]

M = TypeVar("M", bound="Module")

# What __init__ makes first; asking for it before that means that __init__ wasn't called.
_TABLES = ("_buffer_names", "_module_names", "_parameter_names", "training", *hooks.TABLES)


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
        Buffers are plain torch tensors.  ``load_state_dict`` changes nothing if it raises, and with ``assign=True``
        keeps the parameters and replaces their values.  ``to`` and its kin keep the parameters too.  There are no hooks
        for all modules at once, and no backward hooks of the old kind (``register_backward_hook``).
    """

    training: bool
    """Whether layers such as dropout and batch normalisation behave as during training."""

    _parameter_names: dict[str, None]
    _buffer_names: dict[str, bool]  # the value says whether it belongs to the state_dict
    _module_names: dict[str, None]
    _forward_pre_hooks: dict[int, Hook]
    _forward_hooks: dict[int, Hook]
    _backward_pre_hooks: dict[int, Hook]
    _backward_hooks: dict[int, Hook]
    _state_dict_pre_hooks: dict[int, Hook]
    _state_dict_hooks: dict[int, Hook]
    _load_state_dict_pre_hooks: dict[int, Hook]
    _load_state_dict_post_hooks: dict[int, Hook]

    _version: int = 1
    """Stands in the metadata of a state; a class raises it when its state changes."""

    def __init__(self) -> None:
        # Past our own __setattr__, which needs these tables.
        self.__dict__.update(
            training=True,
            _parameter_names={},
            _buffer_names={},
            _module_names={},
            **{table: {} for table in hooks.TABLES},
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
        if self._forward_pre_hooks or self._forward_hooks or self._backward_pre_hooks or self._backward_hooks:
            return hooks.call_with_hooks(self, args, kwargs)
        return self.forward(*args, **kwargs)

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
        return RemovableHandle(self._forward_pre_hooks, Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each ``forward``.

        Args:
            hook: What it returns, if it isn't ``None``, takes the place of the output.
            prepend: Put it before the hooks that are there.
            with_kwargs: Call ``hook(module, args, kwargs, output)`` instead.
            always_call: Call it even if something raises; the output is then ``None`` unless there is one.

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
        return RemovableHandle(self._forward_hooks, Hook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_outputs)`` when the gradients of the module's outputs are there.

        Args:
            hook: Takes a tuple with the gradient of each output, ``None`` for one without; what it returns, if it isn't
                ``None``, takes the tuple's place.
            prepend: Put it before the hooks that are there.

        Returns:
            A handle whose ``remove()`` takes the hook away.
        """
        return RemovableHandle(self._backward_pre_hooks, Hook(hook), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_inputs, grad_outputs)`` when the gradients of the module's inputs are there.

        If no input requires grad it is called with those of the outputs, and ``None`` for each input.  While a module
        has backward hooks, it works on copies of its inputs.

        Args:
            hook: Takes a tuple with the gradient of each positional argument, ``None`` for one without, and a tuple for
                the outputs; what it returns, if it isn't ``None``, takes the first tuple's place.
            prepend: Put it before the hooks that are there.

        Returns:
            A handle whose ``remove()`` takes the hook away.

        Example:
            >>> import torch
            >>> from neuronix import nn
            >>> from neuronix.autograd import tensor
            >>> layer = nn.LeakyReLU(0.5)
            >>> handle = layer.register_full_backward_hook(lambda module, inputs, outputs: print(inputs, outputs))
            >>> layer(tensor([-1.0, 2.0], requires_grad=True)).sum().backward()
            (tensor([0.5000, 1.0000]),) (tensor([1., 1.]),)
        """
        return RemovableHandle(self._backward_hooks, Hook(hook), prepend)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before the module's state is collected."""
        return RemovableHandle(self._state_dict_pre_hooks, Hook(hook))

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, metadata)`` once it is collected; it may change ``state_dict``."""
        return RemovableHandle(self._state_dict_hooks, Hook(hook))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call a hook before a state is loaded, to rename old keys, say.

        Args:
            hook: Called as ``hook(module, state_dict, prefix, metadata, strict, missing_keys, unexpected_keys,
                error_msgs)``; it may change ``state_dict``, which is a copy, and the lists.

        Returns:
            A handle whose ``remove()`` takes the hook away.
        """
        return RemovableHandle(self._load_state_dict_pre_hooks, Hook(hook))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` once a state is loaded; it may change the two lists."""
        return RemovableHandle(self._load_state_dict_post_hooks, Hook(hook))

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

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with the dotted name ``target``.

        Raises:
            ModuleAttributeError: If there is none.
        """
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        found = getattr(owner, name)
        if name not in owner._buffer_names:
            raise ModuleAttributeError(f"{target!r} is a {type(found).__name__}, not a buffer")
        return found  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place of the submodule with the dotted name ``target``.

        Args:
            target: The name; all but its last part must be there.
            module: The new module.
            strict: Whether the last part must be there too.

        Raises:
            ModuleValueError: If the name is empty, or ``module`` isn't one.
            ModuleAttributeError: If there is no such place.
        """
        if not target:
            raise ModuleValueError("cannot set the submodule without a target name")
        if not isinstance(module, Module):
            raise ModuleValueError(f"{target!r} can't become a {type(module).__name__}: a Module is expected")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if (strict or hasattr(parent, name)) and not isinstance(getattr(parent, name), Module):
            raise ModuleAttributeError(f"{target!r} is a {type(getattr(parent, name)).__name__}, not a module")
        setattr(parent, name, module)

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
            **kwargs: ``device``, ``dtype``, ``non_blocking``, ``memory_format`` (for tensors of 4 and 5 axes).

        Returns:
            The module.

        Raises:
            ModuleTypeError: If the dtype isn't a floating-point or complex one.
        """
        return self._apply(moving.mover(*args, **kwargs))

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        """Put ``fn(tensor)`` in the place of each parameter's values and gradient and of each buffer."""
        moving.convert(self, fn, recurse)
        return self

    def type(self: M, dst_type: torch.dtype) -> M:
        """Convert all parameters and buffers, integers too."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def to_empty(self: M, *, device: str | torch.device | int | None, recurse: bool = True) -> M:
        """Move to a device without copying the values: they are whatever is in memory there."""
        return self._apply(lambda tensor: torch.empty_like(tensor, device=device), recurse)

    def share_memory(self: M) -> M:
        """Move parameters and buffers to memory that other processes can use."""
        return self._apply(lambda tensor: tensor.share_memory_())  # type: ignore[no-untyped-call]

    def float(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.float32``."""
        return self._apply(moving.as_dtype(torch.float32))

    def double(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.float64``."""
        return self._apply(moving.as_dtype(torch.float64))

    def half(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.float16``."""
        return self._apply(moving.as_dtype(torch.float16))

    def bfloat16(self: M) -> M:
        """Move floating-point parameters and buffers to ``torch.bfloat16``."""
        return self._apply(moving.as_dtype(torch.bfloat16))

    def cpu(self: M) -> M:
        """Move parameters and buffers to the CPU."""
        return self.to("cpu")

    def cuda(self: M, device: int | torch.device | None = None) -> M:
        """Move parameters and buffers to a CUDA device."""
        return self.to("cuda" if device is None else device)

    # State

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Parameters and persistent buffers by their dotted names.

        Args:
            destination: A dictionary to add them to, instead of a new one.
            prefix: Put before each name.
            keep_vars: Give the parameters themselves, not their values.

        Returns:
            An ordered dictionary of plain torch tensors in torch's order, which share the module's memory.
        """
        return state.collect(self, destination, prefix, keep_vars)

    def get_extra_state(self) -> Any:
        """What belongs to the state beside tensors; a class that has such a thing defines this and its twin.

        Raises:
            UnsupportedError: Here, because there is none.
        """
        raise UnsupportedError(f"{type(self).__name__} has no extra state", hint="define get_extra_state in the class")

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` has returned.

        Raises:
            UnsupportedError: Here, because there is none.
        """
        raise UnsupportedError(f"{type(self).__name__} has no extra state", hint="define set_extra_state in the class")

    def _prepare_state(self, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
        """Bring a state of an older version of the class, by ``metadata["version"]``, to what it is now."""

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
        return state.load(self, state_dict, strict, assign)

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
