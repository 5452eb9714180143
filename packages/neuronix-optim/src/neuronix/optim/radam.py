"""Adam with a rectified variance."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, average_, average_square_, choose, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class RAdam(Optimizer):
    r"""Adam that doesn't trust its second moment while few gradients have been seen.

    $$
    \begin{aligned}
    m &\leftarrow \beta_1 m + (1-\beta_1) g, \qquad v \leftarrow \beta_2 v + (1-\beta_2) g^2, \qquad
    \hat m = m / (1 - \beta_1^t) \\
    \rho_\infty &= \frac{2}{1-\beta_2} - 1, \qquad \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \qquad
    r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}} \\
    \theta &\leftarrow \theta - \gamma \, \hat m \, r_t \sqrt{1 - \beta_2^t} / (\sqrt v + \epsilon)
    \quad\text{if } \rho_t > 5, \text{ else} \quad \theta - \gamma \, \hat m
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        betas: β₁ and β₂, the part of the two moving averages that stays at each step.
        eps: ε, which keeps the quotient finite.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        decoupled_weight_decay: Whether λ shrinks the parameter itself instead, as in AdamW.
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        capturable: Accepted for torch's sake; nothing depends on it.
        differentiable: Must be false.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import RAdam
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = RAdam([w], lr=0.1)
        >>> (w * tensor([1.0, 3.0])).sum().backward()
        >>> optimizer.step()  # a step of momentum still
        >>> w.data
        tensor([0.9000, 0.7000])

    References:
        L. Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020, Algorithm 2, which asks
        for ρ above 4; torch and the authors' code ask for 5.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
    """

    state_names = ("exp_avg", "exp_avg_sq")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])
        checks.flag(self._name, "decoupled_weight_decay", h["decoupled_weight_decay"])

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {"step": count_of_steps(), "exp_avg": torch.zeros_like(theta), "exp_avg_sq": torch.zeros_like(theta)}

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, (beta1, beta2), t = h["lr"], h["betas"], state["step"]
        if h["decoupled_weight_decay"]:
            theta.mul_(1 - lr * h["weight_decay"])
        else:
            grad = with_penalty(grad, theta, h["weight_decay"])
        m = average_(state["exp_avg"], beta1, grad)
        v = average_square_(state["exp_avg_sq"], beta2, grad)
        bias2 = 1 - beta2**t
        rho_inf = 2 / (1 - beta2) - 1  # the length of the average of squares, at last and at present
        rho = rho_inf - 2 * t * beta2**t / bias2
        squared = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
        r = choose(rho > 5, squared, 0.0) ** 0.5
        adapted = choose(rho > 5, r * bias2**0.5 / v.sqrt().add_(h["eps"]), 1.0)
        add_scaled_(theta, -lr / (1 - beta1**t), m * adapted)
