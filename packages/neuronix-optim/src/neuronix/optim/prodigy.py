"""Prodigy: Adam that finds its learning rate."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, average_, average_square_
from neuronix.optim.errors import OptimizerError
from neuronix.optim.groups import Options, Params, State
from neuronix.optim.optimizer import Optimizer

T = TypeVar("T")


class Prodigy(Optimizer):
    r"""Adam with a learning rate that grows to the distance between the start and the solution.

    $$
    \begin{aligned}
    m &\leftarrow \beta_1 m + (1-\beta_1) \, d g, \qquad v \leftarrow \beta_2 v + (1-\beta_2) \, d^2 g^2 \\
    r &\leftarrow \sqrt{\beta_2} \, r + (1-\sqrt{\beta_2}) \, \gamma d^2 \langle g, \theta_0 - \theta \rangle, \qquad
    s \leftarrow \sqrt{\beta_2} \, s + (1-\sqrt{\beta_2}) \, \gamma d^2 g \\
    \theta &\leftarrow \theta - \gamma d \, m / (\sqrt v + d \epsilon) \\
    d &\leftarrow \max(d, \; r / \lVert s \rVert_1)
    \end{aligned}
    $$

    For a convex function $r / \lVert s \rVert_1$ is at most the distance D of the start from the solution (in the
    largest coordinate), and a step of about D is the right one. So d is one number for all parameters, starts tiny, and
    grows until it is as large as it may be. `lr` stays at 1; a schedule of it, such as a cosine, goes on top.

    Args:
        params: The parameters, or parameter groups. They are real.
        lr: γ, a factor of the learning rate that is found; a number or a tensor of one element.
        betas: β₁ and β₂, the part of the two moving averages that stays at each step.
        eps: ε, which keeps the quotient finite.
        weight_decay: λ, which shrinks the parameter itself by γ d λ, as in AdamW.
        d0: The d of the first step: far too small is fine.
        d_coef: A factor of r / ‖s‖₁: larger makes d larger. The same for all groups.
        maximize: Whether to ascend.

    Raises:
        OptimizerError: An impossible value, or a complex parameter.

    Example:
        Far away and from a tiny step, to the solution, with nothing to tune:

        >>> import torch
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Prodigy
        >>> w = tensor([300.0, -20.0], requires_grad=True)
        >>> optimizer = Prodigy([w])
        >>> for _ in range(600):
        ...     optimizer.zero_grad()
        ...     ((w - torch.tensor([1.0, 2.0])) ** 2).sum().backward()
        ...     optimizer.step()
        >>> bool(((w.data - torch.tensor([1.0, 2.0])).abs() < 0.5).all())
        True

    References:
        K. Mishchenko, A. Defazio, "Prodigy: an expeditiously adaptive parameter-free learner", ICML 2024, Algorithm 4;
        the lines below are counted from its "for". The decoupled weight decay is that of the authors' program, which
        differs in one thing: before ε it takes the d that the step has found, not the one that it began with.

    Differs from torch:
        torch has no Prodigy.
    """

    state_names = ("exp_avg", "exp_avg_sq", "s", "start")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        *,
        maximize: bool = False,
    ) -> None:
        checks.positive(self._name, "d0", d0)
        # A group has its own `d`, which is the same for all: an option, so that it is saved with the others.
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "d0": d0,
            "d_coef": d_coef,
            "d": torch.tensor(float(d0), dtype=torch.float64),  # changed in place, also while a step is traced
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])
        for name in ("d0", "d_coef", "d"):
            checks.positive(self._name, name, h[name])

    def check_parameter(self, described: str, theta: Tensor) -> None:
        if theta.is_complex():
            raise OptimizerError(f"{self._name}: parameters must be real; {described} is {theta.dtype}.")

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {
            "exp_avg": torch.zeros_like(theta),
            "exp_avg_sq": torch.zeros_like(theta),
            "s": torch.zeros_like(theta),
            "r": theta.new_zeros(()),  # the part of this parameter
            "start": theta.clone(),
        }

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, (beta1, beta2), d = h["lr"], h["betas"], h["d"]
        # r and s hold d²; as only their quotient counts, (d / d₀)² does as well, and doesn't underflow.
        stays, weight = beta2**0.5, (1 - beta2**0.5) * lr * (d / h["d0"]) ** 2
        m = average_(state["exp_avg"], beta1, grad * d)  # line 3
        v = average_square_(state["exp_avg_sq"], beta2, grad * d)  # line 4
        add_scaled_(state["r"].mul_(stays), weight, (grad * (state["start"] - theta)).sum())  # line 5
        add_scaled_(state["s"].mul_(stays), weight, grad)  # line 6
        theta.mul_(1 - lr * d * h["weight_decay"])
        add_scaled_(theta, -lr * d, m / v.sqrt().add_(d * h["eps"]))  # line 9

    def take_step(self, closure: Callable[[], T] | None = None) -> T | None:
        loss = super().take_step(closure)
        self._grow()
        return loss

    def _grow(self) -> None:
        """Let d be the new estimate, if it is larger: lines 7 and 8, over all parameters together."""
        states = [self.state[param] for param in self._params() if self.state.get(param)]
        if not states:
            return
        r = torch.stack([state["r"].double() for state in states]).sum()
        s = torch.stack([state["s"].abs().sum(dtype=torch.float64) for state in states]).sum()
        distance = torch.where(s > 0, r / s, 0.0)
        for group in self.param_groups:
            group["d"].copy_(torch.maximum(group["d"], group["d_coef"] * distance))
