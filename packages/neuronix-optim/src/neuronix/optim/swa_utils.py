"""Averages of a model's weights over training: the mean (SWA), or an exponential moving average (EMA).

The module and its names are those of `torch.optim.swa_utils`. Models are those of Neuronix or of torch: anything with
`parameters()`, `buffers()` and a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from itertools import chain
from math import cos, pi
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from neuronix.autograd import no_grad
from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError, OptimizerTypeError
from neuronix.optim.lr_scheduler.groups import numbers
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, check_last_epoch, copied

__all__ = [
    "AveragedModel",
    "SWALR",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
MultiAverage: TypeAlias = Callable[[list[Tensor], list[Tensor], Tensor], None]


def get_swa_avg_fn() -> Average:
    """Return the rule of the mean of all models so far: $a + (x - a) / (n + 1)$ for the (n + 1)-th model x.

    Example:
        >>> import torch
        >>> from neuronix.optim.swa_utils import get_swa_avg_fn
        >>> get_swa_avg_fn()(torch.tensor(3.0), torch.tensor(9.0), torch.tensor(2))  # of 3, 3 and 9
        tensor(5.)
    """

    def mean(average: Tensor, value: Tensor, count: Tensor) -> Tensor:
        return average + (value - average) / (count + 1)

    return mean


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """Return the rule of an exponential moving average: $d a + (1 - d) x$.

    Args:
        decay: d, the part of the average that stays, from 0 to 1.

    Raises:
        OptimizerError: `decay` isn't from 0 to 1.

    Example:
        >>> import torch
        >>> from neuronix.optim.swa_utils import get_ema_avg_fn
        >>> get_ema_avg_fn(0.75)(torch.tensor(4.0), torch.tensor(8.0), torch.tensor(1))
        tensor(5.)
    """
    checks.within("get_ema_avg_fn", "decay", decay, 0, 1)

    def moving(average: Tensor, value: Tensor, count: Tensor) -> Tensor:
        return decay * average + (1 - decay) * value

    return moving


def get_swa_multi_avg_fn() -> MultiAverage:
    """Return the rule of the mean of all models so far, for a list of tensors, in place.

    Example:
        >>> import torch
        >>> from neuronix.optim.swa_utils import get_swa_multi_avg_fn
        >>> averages = [torch.tensor(3.0)]
        >>> get_swa_multi_avg_fn()(averages, [torch.tensor(9.0)], torch.tensor(2))
        >>> averages
        [tensor(5.)]
    """
    return _for_each(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """Return the rule of an exponential moving average, for a list of tensors, in place.

    Args:
        decay: The part of the average that stays, from 0 to 1.

    Raises:
        OptimizerError: `decay` isn't from 0 to 1.

    Example:
        >>> import torch
        >>> from neuronix.optim.swa_utils import get_ema_multi_avg_fn
        >>> averages = [torch.tensor(4.0)]
        >>> get_ema_multi_avg_fn(0.75)(averages, [torch.tensor(8.0)], torch.tensor(1))
        >>> averages
        [tensor(5.)]
    """
    return _for_each(get_ema_avg_fn(decay))


def _for_each(rule: Average) -> MultiAverage:
    def all_of_them(averages: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        for average, value in zip(averages, values, strict=True):
            average.copy_(rule(average, value.to(average.device), count.to(average.device)))

    return all_of_them


class AveragedModel:
    """A copy of a model whose parameters are an average over those that the model had.

    Args:
        model: The model that is trained. It is copied; the first `update_parameters` copies its values.
        device: Where the average is kept; `None` for where the model is.
        avg_fn: The rule, from an average, a value, and how many values it holds, to a new average; `None` for the mean.
        multi_avg_fn: The rule for lists of tensors, in place; instead of `avg_fn`.
        use_buffers: Whether to average buffers too. If not, they are copied: they are the model's last.

    Attributes:
        module: The average, a model like the one that was given.
        n_averaged: How many models it holds, a tensor.

    Raises:
        OptimizerError: Both rules are given.
        OptimizerTypeError: `model` has no parameters.

    Example:
        An exponential moving average:

        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
        >>> class Line:
        ...     def __init__(self):
        ...         self.slope = tensor([4.0], requires_grad=True)
        ...     def parameters(self):
        ...         return iter([self.slope])
        ...     def buffers(self):
        ...         return iter([])
        ...     def __call__(self, x):
        ...         return self.slope * x
        >>> model = Line()
        >>> average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75))
        >>> average.update_parameters(model)
        >>> model.slope.data.fill_(8.0)
        tensor([8.])
        >>> average.update_parameters(model)  # 0.75 * 4 + 0.25 * 8
        >>> average(2.0).data
        tensor([10.])

    References:
        P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018. B. Polyak,
        A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992.

    Differs from torch:
        It isn't a Module: this package works without one. It can be called, and has a module's `parameters`, `buffers`,
        `named_parameters`, `train`, `eval`, `state_dict` and `load_state_dict`, with torch's keys. Models of both
        libraries are averaged.
    """

    module: Any
    n_averaged: Tensor

    def __init__(
        self,
        model: Any,
        device: int | torch.device | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        if avg_fn is not None and multi_avg_fn is not None:
            raise OptimizerError("AveragedModel: only one of `avg_fn` and `multi_avg_fn` can be given, got both.")
        if not callable(getattr(model, "parameters", None)) or not callable(getattr(model, "buffers", None)):
            raise OptimizerTypeError(
                f"AveragedModel: `model` must have parameters() and buffers(), got {checks.described(model)}."
            )
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.n_averaged = torch.tensor(0, dtype=torch.long, device=device)
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the average as a model."""
        return self.module(*args, **kwargs)

    __call__ = forward

    def update_parameters(self, model: Any) -> None:
        """Take the present values of `model` into the average.

        Raises:
            OptimizerRuntimeError: `model` has other shapes than the average; nothing was changed.
        """
        averages, values = list(self._averaged(self.module)), list(self._averaged(model))
        if [each.shape for each in averages] != [each.shape for each in values]:
            raise OptimizerRuntimeError(
                f"AveragedModel: the model has {len(values)} parameters of other shapes than the average's "
                f"{len(averages)}."
            )
        buffers = [] if self.use_buffers else list(zip(_buffers(self.module), _buffers(model), strict=True))
        if self.n_averaged == 0:
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
        else:
            rule = self.multi_avg_fn or _for_each(self.avg_fn or get_swa_avg_fn())
            rule(averages, values, self.n_averaged)
        for kept, buffer in buffers:
            kept.copy_(buffer)
        self.n_averaged += 1

    def _averaged(self, model: Any) -> Iterator[Tensor]:
        values = (param.data.detach() for param in model.parameters())
        return chain(values, _buffers(model)) if self.use_buffers else values

    def parameters(self) -> Iterator[Any]:
        """The parameters of the average."""
        return iter(self.module.parameters())

    def buffers(self) -> Iterator[Any]:
        """The count of models, and the buffers of the average."""
        return chain([self.n_averaged], self.module.buffers())

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """The parameters of the average with their names, which begin with `module.`."""
        return ((f"module.{name}", param) for name, param in self.module.named_parameters())

    def train(self, mode: bool = True) -> AveragedModel:
        """Let the average behave as in training."""
        self.module.train(mode)
        return self

    def eval(self) -> AveragedModel:
        """Let the average behave as in use."""
        return self.train(False)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state under torch's keys: `n_averaged`, and the model's behind `module.`."""
        return {"n_averaged": self.n_averaged} | {f"module.{k}": v for k, v in self.module.state_dict().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of an average, Neuronix's or torch's.

        Raises:
            OptimizerKeyError: There is no `n_averaged`.
        """
        checks.holds("AveragedModel", "the loaded state", state_dict, ["n_averaged"])
        self.module.load_state_dict(
            {key.removeprefix("module."): value for key, value in state_dict.items() if key != "n_averaged"}
        )
        self.n_averaged.copy_(state_dict["n_averaged"])


class SWALR(LRScheduler):
    r"""Brings the learning rates from where they are to a constant, at which models are then averaged.

    $$ \gamma_t = (1 - \alpha_t) \, \gamma_0 + \alpha_t \, \gamma_{swa} $$

    where α rises from 0 to 1 in `anneal_epochs`, along half a cosine or a line.

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        swa_lr: The constant; one for all groups, or a list with one for each.
        anneal_epochs: The number of epochs of the way there.
        anneal_strategy: `"cos"` or `"linear"`.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.swa_utils import SWALR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = SWALR(optimizer, swa_lr=0.2, anneal_epochs=2, anneal_strategy="linear")
        >>> for _ in range(4):
        ...     print(f"{scheduler.get_last_lr()[0]:.2f}")
        ...     optimizer.step()
        ...     scheduler.step()
        1.00
        0.60
        0.20
        0.20
    """

    def __init__(
        self,
        optimizer: Scheduled,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        ends = numbers(self._name, "swa_lr", optimizer, swa_lr)
        checks.one_of(self._name, "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = checks.integer(self._name, "anneal_epochs", anneal_epochs, 0)
        check_last_epoch(self._name, optimizer, last_epoch)
        for group, end in zip(optimizer.param_groups, ends, strict=True):
            group["swa_lr"] = end
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        step = max(1, self._step_count) if self.anneal_epochs == 0 else self._step_count
        before, now = self._part(step - 1), self._part(step)
        lrs = []
        for group in self.optimizer.param_groups:
            # Where the way began, from where it is; another schedule may have changed the learning rate meanwhile.
            end = group.get("swa_lr", group["lr"])
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            lrs.append(copied(end) * now + start * (1 - now))
        return lrs

    def _part(self, step: int) -> float:
        """Return α."""
        x = min(1.0, max(0.0, step / max(1, self.anneal_epochs)))
        return (1 - cos(pi * x)) / 2 if self._anneal_strategy == "cos" else x


def update_bn(loader: Iterable[Any], model: Any, device: int | torch.device | None = None) -> None:
    """Compute the running statistics of batch normalisations anew: those of the average are of no single model.

    Args:
        loader: Batches; of a tuple or list the first entry is the model's input.
        model: A model, or an [`AveragedModel`][neuronix.optim.swa_utils.AveragedModel], of Neuronix or of torch.
        device: Where the batches are moved; `None` to leave them.

    Example:
        >>> import torch
        >>> from neuronix.optim.swa_utils import AveragedModel, update_bn
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1))
        >>> average = AveragedModel(model)
        >>> update_bn([torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])], average)
        >>> average.module[0].running_mean  # of 1 and 5
        tensor([3.])
    """
    module = model.module if isinstance(model, AveragedModel) else model
    norms = [each for each in module.modules() if any(kind.__name__ == "_BatchNorm" for kind in type(each).__mro__)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = module.training
    module.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        with no_grad(), torch.no_grad():
            for batch in loader:
                x = batch[0] if isinstance(batch, (list, tuple)) else batch
                model(x if device is None else x.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.train(was_training)


def _buffers(model: Any) -> Iterator[Tensor]:
    """Yield the buffers of a model as torch tensors."""
    return (getattr(buffer, "data", buffer).detach() for buffer in model.buffers())
