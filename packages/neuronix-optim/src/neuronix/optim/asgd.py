"""Gradient descent that also averages the points it has passed."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, choose, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class ASGD(Optimizer):
    r"""Averaged stochastic gradient descent: the mean of the parameters over the run is kept beside them.

    $$
    \begin{aligned}
    \theta &\leftarrow (1 - \lambda \eta_t) \, \theta - \eta_t \, g, \qquad
    \eta_t = \gamma / (1 + \lambda \gamma (t - 1))^{\alpha} \\
    \bar\theta &\leftarrow \bar\theta + \mu_t (\theta - \bar\theta), \qquad \mu_t = 1 / \max(1, t - 1 - t_0)
    \end{aligned}
    $$

    Up to step t₀ + 2 the mean is the point itself, as μ is 1; from there on it is the mean of all points.

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        lambd: λ, which shrinks the parameter and lets the learning rate fall.
        alpha: α, the power of the fall.
        t0: t₀, the step at which the averaging starts.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        differentiable: Must be false.
        capturable: Accepted for torch's sake; nothing depends on it.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import ASGD
        >>> w = tensor([1.0], requires_grad=True)
        >>> optimizer = ASGD([w], lr=0.25, lambd=0.0, t0=0.0)
        >>> for _ in range(4):
        ...     optimizer.zero_grad()
        ...     (w - 2).abs().sum().backward()
        ...     optimizer.step()  # to 1.25, 1.5, 1.75, 2.0
        >>> optimizer.state[w]["ax"]  # the mean of the last three
        tensor([1.7500])

    References:
        B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
        Optimization 30(4), 1992. The learning rate is that of L. Bottou's code, as in W. Xu, "Towards optimal one pass
        large scale learning with averaged stochastic gradient descent", 2011.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
    """

    state_names = ("ax",)
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        for name in ("lambd", "alpha", "t0"):
            checks.number(self._name, name, h[name])

    def initial_state(self, theta: Tensor, h: Options) -> State:
        count = count_of_steps()
        return {
            "step": count,
            "eta": torch.full_like(count, float(h["lr"])),
            "mu": torch.ones_like(count),
            "ax": torch.zeros_like(theta),
        }

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, lambd, t = h["lr"], h["lambd"], state["step"]
        grad = with_penalty(grad, theta, h["weight_decay"])
        eta, mu = state["eta"].double(), state["mu"].double()
        theta.mul_(1 - lambd * eta)
        add_scaled_(theta, -eta, grad)
        add_scaled_(state["ax"], mu, theta - state["ax"])
        # those of the next step
        state["eta"].fill_(lr / (1 + lambd * lr * t) ** h["alpha"])
        state["mu"].fill_(1 / choose(t - h["t0"] > 1, t - h["t0"], 1.0))
