"""What all optimizers share: parameter groups, the step, and the exchange of state.

An algorithm states its options, its state and one `update` (read `adamw.py` first); this file does the rest. What a
caller may pass as parameters is settled in `groups.py`, how they are stepped together in `stepping.py`, what may be
loaded in `loading.py`.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar, TypeVar, overload

import torch
from torch import Tensor

from neuronix.autograd import RemovableHandle, enable_grad
from neuronix.optim import checks, groups, hooks, loading
from neuronix.optim.errors import OptimizerRuntimeError
from neuronix.optim.groups import Options, Params, State
from neuronix.optim.hooks import Hook, Hooks
from neuronix.optim.stepping import Member, step_group

T = TypeVar("T")


class Optimizer(ABC):
    """Changes parameters by their gradients, one `update` a parameter.

    A subclass is one algorithm. It hands its options to `__init__` as `defaults` and writes `initial_state`, `update`
    and, for options that others don't have, `check_options`. Groups, absent gradients, `maximize`, complex numbers, the
    count of steps and saved state are handled here.

    Args:
        params: The parameters; or pairs `(name, parameter)`; or parameter groups, which are dicts that hold such a list
            under `"params"` together with the options that differ from `defaults`. A parameter is anything that has
            `.data`, a torch tensor, and `.grad`, a torch tensor or `None`.
        defaults: The options of a group that doesn't state its own.

    Attributes:
        param_groups: One dict a group: its options, its `"params"` and, if names were given, its `"param_names"`.
        state: For each parameter, what the algorithm remembers of it.
        defaults: The options of a group that doesn't state its own.

    Raises:
        OptimizerError: No parameters, one that is given twice, or an impossible option.
        OptimizerTypeError: Something that isn't a parameter.

    Example:
        A new algorithm, sign descent, in full:

        >>> import torch
        >>> from neuronix.optim import Optimizer
        >>> class SignDescent(Optimizer):
        ...     def __init__(self, params, lr=0.1):
        ...         super().__init__(params, {"lr": lr})
        ...     def initial_state(self, theta, h):
        ...         return {}
        ...     def update(self, theta, grad, state, h):
        ...         theta.sub_(h["lr"] * grad.sign())
        >>> w = torch.tensor([1.0, 2.0])
        >>> w.grad = torch.tensor([5.0, -0.5])
        >>> SignDescent([w]).step()
        >>> w
        tensor([0.9000, 2.1000])

    Differs from torch:
        A parameter given twice in one group is an error, not a warning. A group's dict is copied: the caller's stays as
        it was. A gradient that doesn't fit is found before any parameter changes. A loaded state is checked and copied
        before it replaces anything. Gradients must be dense. `step` leaves torch's grad mode alone: a closure that uses
        torch's own differentiation runs in the mode of the caller.
    """

    state_names: ClassVar[tuple[str, ...]] = ()
    """Names of the state that has the shape of its parameter; a loaded state is checked against it."""

    fixed_options: ClassVar[Options] = {}
    """Entries that every group has and nobody can change; torch writes them into its saved states."""

    takes_lists: ClassVar[bool] = False
    """Whether `update` also works on a `TensorList` (`tensor_list.py`): it treats every entry
    alike, and uses only methods and functions of tensors."""

    def __init__(self, params: Params, defaults: Options) -> None:
        checks.common_options(self._name, defaults)
        self.check_options(defaults)
        self.defaults: Options = {**defaults, **self.fixed_options}
        self.state: defaultdict[Any, State] = defaultdict(dict)
        self.param_groups: list[Options] = []
        self._hooks = Hooks()
        self._opt_called = False  # schedulers warn when they come before the first step
        for group in groups.as_groups(self._name, params):
            self.add_param_group(group)

    def check_options(self, h: Options) -> None:  # noqa: B027  # many have nothing more to check
        """Raise an error if the algorithm can't work with an option of the group `h`.

        What many algorithms share (`lr`, `betas`, `weight_decay`, `momentum`, `maximize`, the choice of an
        implementation) has been checked.
        """

    def check_parameter(self, described: str, theta: Tensor) -> None:  # noqa: B027  # most work on any
        """Raise an error if the algorithm can't work on a parameter with the values `theta`."""

    def layouts(self, h: Options) -> tuple[torch.layout, ...]:
        """Return the layouts that a gradient may have: dense, if the algorithm doesn't say otherwise."""
        return (torch.strided,)

    @abstractmethod
    def initial_state(self, theta: Tensor, h: Options) -> State:
        """Return what the algorithm remembers of a parameter before its first step.

        A tensor without axes under the name `step` (see `count_of_steps`) is counted up before every `update`.
        """

    @abstractmethod
    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        """Take one step for one parameter, in place.

        Args:
            theta: The parameter's values; changed in place.
            grad: The gradient to descend, of the same shape; not to be changed.
            state: What the algorithm remembers of this parameter: tensors to be changed in place; what is added is
                remembered from now on. `state["step"]` is the number of this step, from 1.
            h: The options of the parameter's group. A number among them, like the count of steps, may be a tensor
                without axes, whose value isn't known while a step is traced.
        """

    def update_fused(self, thetas: list[Tensor], grads: list[Tensor], states: list[State], h: Options) -> bool:
        """Take the step for many parameters by a fused kernel of torch, if there is one.

        `update` is the definition, and this gives what it gives. It is asked for contiguous real parameters of single
        or double precision, which all have the same dtype, device and names of state.

        Args:
            thetas: The parameters' values; changed in place.
            grads: Their gradients as they are: `h["maximize"]` hasn't been looked at.
            states: What is remembered of each; changed in place. The steps haven't been counted yet.
            h: The options of their group; all numbers are Python's.

        Returns:
            Whether the step was taken.
        """
        return False

    def initialize_state(self) -> None:
        """Make what is remembered of each parameter that requires grad and hasn't had a step yet.

        A step does so itself, for each parameter when its first gradient has come. Before a step is compiled or its
        memory is counted, one may want all of it there.
        """
        for group in self.param_groups:
            for param in group["params"]:
                if getattr(param, "requires_grad", True) and not self.state[param]:
                    self.state[param].update(self.initial_state(param.data.detach(), group))

    def compile_state(self) -> Iterator[tuple[dict[Any, Any], bool, Any]]:
        """What `neuronix.autograd.compile` must know: options, whose numbers may change, and what is remembered."""
        for group in self.param_groups:
            yield group, True, type(self)
            for param in group["params"]:
                yield self.state[param], False, None

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], T]) -> T: ...

    def step(self, closure: Callable[[], T] | None = None) -> T | None:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and its gradients and returns the loss. It is called once, before the update,
                with gradients enabled.

        Returns:
            What `closure` returned, or `None`.

        Raises:
            OptimizerRuntimeError: A gradient doesn't fit its parameter; no parameter was changed.
        """
        args: tuple[Any, ...] = (self,) if closure is None else (self, closure)
        kwargs: dict[str, Any] = {}
        for hook in self._hooks("before a step"):
            changed = hook(self, args, kwargs)
            if changed is not None:
                args, kwargs = hooks.arguments(self._name, changed)
        loss = self.take_step(*args[1:], **kwargs)
        for hook in self._hooks("after a step"):
            hook(self, args, kwargs)
        self._opt_called = True
        return loss

    def take_step(self, closure: Callable[[], T] | None = None) -> T | None:
        """Do what `step` does, between its hooks."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        # Every gradient is checked before the first parameter changes.
        ready = [self._ready(group) for group in self.param_groups]
        for members, group in zip(ready, self.param_groups, strict=True):
            if members:
                step_group(self, self._with_state(members, group), group)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Args:
            set_to_none: Set `.grad` to `None`. If false, fill it with zeros: the next step then sees a gradient of
                zero, and momentum and weight decay still move the parameter.
        """
        if set_to_none:
            for group in self.param_groups:
                for param in group["params"]:
                    param.grad = None
            return
        for param in self._params():
            if param.grad is not None:
                param.grad.detach().zero_()

    def add_param_group(self, param_group: Options) -> None:
        """Add parameters with options of their own, such as layers that are unfrozen during training.

        Args:
            param_group: `"params"` (a parameter, a list of them, or a list of pairs `(name, parameter)`), and options;
                those that are missing are taken from `defaults`.

        Raises:
            OptimizerError: A parameter is known already, or an option is impossible.
            OptimizerTypeError: Something isn't a parameter.
            OptimizerKeyError: `"params"` is missing.
        """
        group = groups.as_group(self._name, param_group, self.defaults)
        checks.common_options(self._name, group)
        self.check_options(group)
        for position, param in enumerate(group["params"]):
            self.check_parameter(f"parameter number {position} of group {len(self.param_groups)}", param.data)
        groups.check_membership(self._name, group, self.param_groups)
        self.param_groups.append(group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state in torch's format, as plain torch tensors.

        Returns:
            `"state"`: what is remembered of each parameter, by its number in the order of the groups; and
            `"param_groups"`: the options, with those numbers under `"params"`. As in torch the tensors are the
            optimizer's own, which later steps change: `copy.deepcopy` keeps a snapshot.

        Example:
            >>> import torch
            >>> from neuronix.optim import SGD
            >>> w = torch.zeros(2)
            >>> w.grad = torch.ones(2)
            >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
            >>> optimizer.step()
            >>> optimizer.state_dict()["state"]
            {0: {'momentum_buffer': tensor([1., 1.])}}
        """
        for hook in self._hooks("before saving"):
            hook(self)
        saved = self.saved_state()
        for hook in self._hooks("after saving"):
            changed = hook(self, saved)
            saved = saved if changed is None else changed
        return saved

    def saved_state(self) -> dict[str, Any]:
        """Do what `state_dict` does, between its hooks."""
        numbers = {id(param): number for number, param in enumerate(self._params())}
        return {
            "state": {numbers[id(param)]: dict(kept) for param, kept in self.state.items() if kept},
            "param_groups": [
                {
                    **{option: value for option, value in group.items() if option != "params"},
                    "params": [numbers[id(param)] for param in group["params"]],
                }
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of another optimizer of this algorithm, Neuronix's or torch's.

        Parameters are matched by their order. Tensors are copied, to the dtype and device of their parameter. Make a
        scheduler before loading: making one sets learning rates.

        Args:
            state_dict: What `state_dict()` of either library returned.

        Raises:
            OptimizerError: Groups or shapes don't match, or an option is impossible; nothing was changed.
            OptimizerKeyError: An entry is missing; nothing was changed.
        """
        for hook in self._hooks("before loading"):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        checks.holds(self._name, "the loaded state", state_dict, ["state", "param_groups"])
        loaded_groups = loading.loaded_groups(self, state_dict["param_groups"])
        loaded_state = loading.loaded_state(self, state_dict, loaded_groups)
        self.param_groups, self.state = loaded_groups, loaded_state
        for hook in self._hooks("after loading"):
            hook(self)

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Have `hook(optimizer, args, kwargs)` called before each step.

        Args:
            hook: It gets the arguments of the step, `args` beginning with the optimizer. It returns `None`, or new
                `(args, kwargs)`.

        Returns:
            A handle, whose `remove()` takes the hook off. Copies and pickles of the optimizer have no hooks.

        Example:
            >>> import torch
            >>> from neuronix.optim import SGD
            >>> w = torch.zeros(2)
            >>> w.grad = torch.ones(2)
            >>> optimizer = SGD([w], lr=0.1)
            >>> handle = optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: print("before", w))
            >>> optimizer.step()
            before tensor([0., 0.])
            >>> handle.remove()
            >>> optimizer.step()
        """
        return self._hooks.add(self._name, "before a step", hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Have `hook(optimizer, args, kwargs)` called after each step; see `register_step_pre_hook`."""
        return self._hooks.add(self._name, "after a step", hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have `hook(optimizer)` called before each `state_dict`, before other such hooks if `prepend`."""
        return self._hooks.add(self._name, "before saving", hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have `hook(optimizer, state_dict)` called after each `state_dict`; what it returns, if it does, is saved."""
        return self._hooks.add(self._name, "after saving", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have `hook(optimizer, state_dict)` called before each loading; what it returns, if it does, is loaded."""
        return self._hooks.add(self._name, "before loading", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have `hook(optimizer)` called after each loading."""
        return self._hooks.add(self._name, "after loading", hook, prepend)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _params(self) -> Iterator[Any]:
        return chain.from_iterable(group["params"] for group in self.param_groups)

    def _ready(self, group: Options) -> list[tuple[Any, Tensor, Tensor]]:
        """Return the parameters of a group that have a gradient, each of which fits, with values and gradient."""
        ready = []
        layouts = self.layouts(group)
        for position, param in enumerate(group["params"]):
            grad = param.grad
            if grad is None:
                continue
            # detach() shares torch's version counter, so that torch notices when a value it saved has changed; `.data`
            # of a torch tensor would hide it. `.data` of a CustomTensor is the very tensor.
            theta = param.detach() if isinstance(param, Tensor) else param.data
            problem = groups.misfit(theta, grad, layouts)
            if problem:
                name = repr(group["param_names"][position]) if "param_names" in group else f"number {position}"
                raise OptimizerRuntimeError(
                    f"{self._name}.step: the gradient of parameter {name} {problem}; no parameter was changed."
                )
            ready.append((param, theta, grad.detach() if grad.requires_grad else grad))
        return ready

    def _with_state(self, ready: list[tuple[Any, Tensor, Tensor]], group: Options) -> list[Member]:
        members = []
        for param, theta, grad in ready:
            state = self.state[param]
            if not state:
                state.update(self.initial_state(theta, group))
            members.append((theta, grad, state))
        return members

    def __repr__(self) -> str:
        hidden = {"params", "param_names", *checks.IMPLEMENTATIONS, *self.fixed_options}
        lines = [f"{self._name}("]
        for index, group in enumerate(self.param_groups):
            numbers = sum(param.data.numel() for param in group["params"])
            names = f" ({', '.join(group['param_names'])})" if "param_names" in group else ""
            lines.append(f"  group {index}: {len(group['params'])} tensors of {numbers:,} numbers{names}")
            lines.append(
                "    " + ", ".join(f"{option}={value}" for option, value in group.items() if option not in hidden)
            )
        return "\n".join([*lines, ")"])
