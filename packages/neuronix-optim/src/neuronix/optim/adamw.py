"""Adam with decoupled weight decay."""

from typing import ClassVar

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.adam import fused_adam, largest, moments
from neuronix.optim.arithmetic import add_quotient_, average_, average_square_
from neuronix.optim.groups import Options, Params, State
from neuronix.optim.optimizer import Optimizer


class AdamW(Optimizer):
    r"""Adam with decoupled weight decay: every coordinate steps by about the learning rate.

    $$
    \begin{aligned}
    m &\leftarrow \beta_1 m + (1-\beta_1) g, &\qquad \hat m &= m / (1 - \beta_1^t) \\
    v &\leftarrow \beta_2 v + (1-\beta_2) g^2, & \hat v &= v / (1 - \beta_2^t) \\
    \theta &\leftarrow \theta - \gamma \left( \hat m / (\sqrt{\hat v} + \epsilon) + \lambda\theta \right)
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        betas: β₁ and β₂, the part of the two moving averages that stays at each step.
        eps: ε, which keeps the quotient finite.
        weight_decay: λ, which shrinks the parameter itself and doesn't enter the averages.
        amsgrad: Whether to divide by the largest v so far (Reddi et al. 2018).
        maximize: Whether to ascend.
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        capturable: Accepted for torch's sake; nothing depends on it.
        differentiable: Must be false.
        fused: Whether to use a fused kernel; `None` uses it where it can.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import AdamW
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.0)
        >>> (w * tensor([1.0, 1000.0])).sum().backward()
        >>> optimizer.step()  # the same step for both
        >>> w.data
        tensor([0.9000, 0.9000])

    References:
        I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, Algorithm 2; its α times η is
        `lr`, which as in torch multiplies the decay too. S. Reddi, S. Kale, S. Kumar, "On the convergence of Adam and
        beyond", ICLR 2018, Algorithm 2.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused. `amsgrad` may be turned on between
        steps.
    """

    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    fixed_options: ClassVar[Options] = {"decoupled_weight_decay": True}
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])
        checks.flag(self._name, "amsgrad", h["amsgrad"])

    def initial_state(self, theta: Tensor, h: Options) -> State:  # line 2
        return moments(theta, h)

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, (beta1, beta2), t = h["lr"], h["betas"], state["step"]  # line 4
        theta.mul_(1 - lr * h["weight_decay"])  # line 12, its second half: the decay is of the old theta
        m = average_(state["exp_avg"], beta1, grad)  # line 7
        v = average_square_(state["exp_avg_sq"], beta2, grad)  # line 8
        if h["amsgrad"]:
            v = largest(state, v)
        # line 12, its first half, with lines 9 and 10: m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ)
        add_quotient_(theta, -lr / (1 - beta1**t), m, (v / (1 - beta2**t)).sqrt_().add_(h["eps"]))

    def update_fused(self, thetas: list[Tensor], grads: list[Tensor], states: list[State], h: Options) -> bool:
        return fused_adam(torch._fused_adamw_, thetas, grads, states, h)
