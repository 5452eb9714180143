"""Adam with the largest gradient instead of the root of the mean square."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_quotient_, average_, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class Adamax(Optimizer):
    r"""Adam in the infinity norm: every coordinate is divided by the largest gradient that it has seen lately.

    $$
    \begin{aligned}
    g &\leftarrow \nabla f(\theta) + \lambda\theta \\
    m &\leftarrow \beta_1 m + (1-\beta_1) g, \qquad u \leftarrow \max(\beta_2 u, |g| + \epsilon) \\
    \theta &\leftarrow \theta - \frac{\gamma}{1 - \beta_1^t} \, m / u
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        betas: β₁ and β₂, the part of the two moving averages that stays at each step.
        eps: ε, which keeps the quotient finite where no gradient has come yet.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        differentiable: Must be false.
        capturable: Accepted for torch's sake; nothing depends on it.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Adamax
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = Adamax([w], lr=0.1)
        >>> (w * tensor([1.0, 1000.0])).sum().backward()
        >>> optimizer.step()  # the same step for both
        >>> w.data
        tensor([0.9000, 0.9000])

    References:
        D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 2.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
    """

    state_names = ("exp_avg", "exp_inf")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {"step": count_of_steps(), "exp_avg": torch.zeros_like(theta), "exp_inf": torch.zeros_like(theta)}

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        (beta1, beta2), t = h["betas"], state["step"]
        grad = with_penalty(grad, theta, h["weight_decay"])
        m = average_(state["exp_avg"], beta1, grad)
        u = state["exp_inf"].mul_(beta2)
        torch.maximum(u, grad.abs().add_(h["eps"]), out=u)
        add_quotient_(theta, -h["lr"] / (1 - beta1**t), m, u)
