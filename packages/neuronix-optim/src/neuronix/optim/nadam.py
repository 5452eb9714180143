"""Adam with Nesterov's momentum."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_quotient_, average_, average_square_, scale_, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class NAdam(Optimizer):
    r"""Adam that looks ahead: its step uses the momentum that the next step will have.

    $$
    \begin{aligned}
    \mu_t &= \beta_1 \left(1 - \tfrac12 \, 0.96^{t\psi}\right), \qquad
    m \leftarrow \beta_1 m + (1-\beta_1) g, \qquad v \leftarrow \beta_2 v + (1-\beta_2) g^2 \\
    \hat m &= \frac{\mu_{t+1} \, m}{1 - \prod_{i=1}^{t+1} \mu_i} + \frac{(1-\mu_t) \, g}{1 - \prod_{i=1}^{t} \mu_i},
    \qquad \hat v = v / (1 - \beta_2^t) \\
    \theta &\leftarrow \theta - \gamma \, \hat m / (\sqrt{\hat v} + \epsilon)
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        betas: β₁ and β₂, the part of the two moving averages that stays at each step.
        eps: ε, which keeps the quotient finite.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        momentum_decay: ψ, how fast the momentum warms up.
        decoupled_weight_decay: Whether λ shrinks the parameter itself instead, as in AdamW.
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        capturable: Accepted for torch's sake; nothing depends on it.
        differentiable: Must be false.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import NAdam
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = NAdam([w], lr=0.1)
        >>> (w * tensor([1.0, 1000.0])).sum().backward()
        >>> optimizer.step()  # the same step for both
        >>> bool(w.data[0] == w.data[1] < 1)
        True

    References:
        T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016, Algorithm 2.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
    """

    state_names = ("exp_avg", "exp_avg_sq")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])
        checks.at_least_zero(self._name, "momentum_decay", h["momentum_decay"])
        checks.flag(self._name, "decoupled_weight_decay", h["decoupled_weight_decay"])

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {
            "step": count_of_steps(),
            "mu_product": torch.ones_like(count_of_steps()),
            "exp_avg": torch.zeros_like(theta),
            "exp_avg_sq": torch.zeros_like(theta),
        }

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, (beta1, beta2), t = h["lr"], h["betas"], state["step"]
        if h["decoupled_weight_decay"]:
            theta.mul_(1 - lr * h["weight_decay"])
        else:
            grad = with_penalty(grad, theta, h["weight_decay"])
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * h["momentum_decay"]))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * h["momentum_decay"]))
        product = scale_(state["mu_product"], mu).double()  # kept in single precision by default, as in torch
        m = average_(state["exp_avg"], beta1, grad)
        v = average_square_(state["exp_avg_sq"], beta2, grad)
        root = (v / (1 - beta2**t)).sqrt_().add_(h["eps"])
        # m̂ has two parts, of the gradient and of the momentum to come
        add_quotient_(theta, -lr * (1 - mu) / (1 - product), grad, root)
        add_quotient_(theta, -lr * mu_next / (1 - product * mu_next), m, root)
