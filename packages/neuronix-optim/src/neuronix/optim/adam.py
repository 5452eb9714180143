"""Adam: gradient descent by the quotient of two moving averages."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_quotient_, average_, average_square_, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class Adam(Optimizer):
    r"""Adaptive moment estimation: every coordinate steps by about the learning rate, whatever its scale.

    $$
    \begin{aligned}
    g &\leftarrow \nabla f(\theta) + \lambda\theta \\
    m &\leftarrow \beta_1 m + (1-\beta_1) g, &\qquad \hat m &= m / (1 - \beta_1^t) \\
    v &\leftarrow \beta_2 v + (1-\beta_2) g^2, & \hat v &= v / (1 - \beta_2^t) \\
    \theta &\leftarrow \theta - \gamma \, \hat m / (\sqrt{\hat v} + \epsilon)
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        betas: β₁ and β₂, the part of the two moving averages that stays at each step.
        eps: ε, which keeps the quotient finite.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        amsgrad: Whether to divide by the largest v so far (Reddi et al. 2018).
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        capturable: Accepted for torch's sake; nothing depends on it.
        differentiable: Must be false.
        fused: Whether to use a fused kernel; `None` uses it where it can.
        decoupled_weight_decay: Whether λ shrinks the parameter itself, as in [`AdamW`][neuronix.optim.AdamW].

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Adam
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = Adam([w], lr=0.1)
        >>> (w * tensor([1.0, 1000.0])).sum().backward()
        >>> optimizer.step()  # the same step for both
        >>> w.data
        tensor([0.9000, 0.9000])

    References:
        D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1; the lines below are
        counted from its "while". S. Reddi, S. Kale, S. Kumar, "On the convergence of Adam and beyond", ICLR 2018,
        Algorithm 2.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused. `amsgrad` may be turned on between
        steps.
    """

    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
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
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])
        checks.flag(self._name, "amsgrad", h["amsgrad"])
        checks.flag(self._name, "decoupled_weight_decay", h["decoupled_weight_decay"])

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return moments(theta, h)

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, (beta1, beta2), t = h["lr"], h["betas"], state["step"]  # line 1
        if h["decoupled_weight_decay"]:
            theta.mul_(1 - lr * h["weight_decay"])
        else:
            grad = with_penalty(grad, theta, h["weight_decay"])  # line 2
        m = average_(state["exp_avg"], beta1, grad)  # line 3
        v = average_square_(state["exp_avg_sq"], beta2, grad)  # line 4
        if h["amsgrad"]:
            v = largest(state, v)
        # line 7, with lines 5 and 6: m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ)
        add_quotient_(theta, -lr / (1 - beta1**t), m, (v / (1 - beta2**t)).sqrt_().add_(h["eps"]))

    def update_fused(self, thetas: list[Tensor], grads: list[Tensor], states: list[State], h: Options) -> bool:
        kernel = torch._fused_adamw_ if h["decoupled_weight_decay"] else torch._fused_adam_
        return fused_adam(kernel, thetas, grads, states, h)


def moments(theta: Tensor, h: Options) -> State:
    """Return the state of Adam and AdamW before the first step."""
    state = {"step": count_of_steps(), "exp_avg": torch.zeros_like(theta), "exp_avg_sq": torch.zeros_like(theta)}
    if h["amsgrad"]:
        state["max_exp_avg_sq"] = torch.zeros_like(theta)
    return state


def largest(state: State, v: Tensor) -> Tensor:
    """Return the largest second moment so far, with which v̂ never decreases: Reddi et al., Algorithm 2."""
    if "max_exp_avg_sq" not in state:  # amsgrad was turned on between steps
        state["max_exp_avg_sq"] = torch.zeros_like(v)
    return torch.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])


def fused_adam(
    kernel: Callable[..., Any], thetas: list[Tensor], grads: list[Tensor], states: list[State], h: Options
) -> bool:
    """Take a step of Adam or AdamW by its `kernel`."""
    if h["amsgrad"]:
        for theta, state in zip(thetas, states, strict=True):
            if "max_exp_avg_sq" not in state:
                state["max_exp_avg_sq"] = torch.zeros_like(theta)
    steps = [state["step"] for state in states]
    torch._foreach_add_(steps, 1)
    kernel(
        thetas,
        grads,
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [state["max_exp_avg_sq"] for state in states] if h["amsgrad"] else [],
        steps,
        lr=h["lr"],
        beta1=h["betas"][0],
        beta2=h["betas"][1],
        weight_decay=h["weight_decay"],
        eps=h["eps"],
        amsgrad=h["amsgrad"],
        maximize=h["maximize"],
    )
    return True
