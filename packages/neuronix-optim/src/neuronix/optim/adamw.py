"""Adam with decoupled weight decay."""

from typing import ClassVar

import torch
from torch import Tensor

from neuronix.optim import checks
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
        No `foreach`, `capturable`, `differentiable` and `fused`, which choose among torch's implementations. NaN and
        infinite options are refused. `amsgrad` may be turned on between steps.
    """

    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    implementation_flags: ClassVar[Options] = {
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": True,
    }

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
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "lr", h["lr"])
        checks.decay_rates(self._name, h["betas"])
        checks.at_least_zero(self._name, "eps", h["eps"])
        checks.at_least_zero(self._name, "weight_decay", h["weight_decay"])
        checks.flag(self._name, "amsgrad", h["amsgrad"])
        checks.flag(self._name, "maximize", h["maximize"])

    def initial_state(self, theta: Tensor, h: Options) -> State:  # line 2
        # torch counts the steps in a tensor on the CPU, whose dtype is the default one.
        count = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        return {
            "step": torch.zeros((), dtype=count),
            "exp_avg": torch.zeros_like(theta),
            "exp_avg_sq": torch.zeros_like(theta),
        }

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, (beta1, beta2), eps = h["lr"], h["betas"], h["eps"]
        t = state["step"].add_(1).double()  # line 4
        theta.mul_(1 - lr * h["weight_decay"])  # line 12, its second half: the decay is of the old theta
        m = state["exp_avg"].mul_(beta1).add_((1 - beta1) * grad)  # line 7
        v = state["exp_avg_sq"].mul_(beta2).add_((1 - beta2) * grad * grad)  # line 8
        if h["amsgrad"]:  # Reddi et al., Algorithm 2: v̂ never decreases
            if "max_exp_avg_sq" not in state:
                state["max_exp_avg_sq"] = torch.zeros_like(v)
            v = torch.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        m_hat = m / (1 - beta1**t)  # line 9
        v_hat = v / (1 - beta2**t)  # line 10
        theta.sub_(lr * m_hat / (v_hat.sqrt() + eps))  # line 12, its first half

    def update_together(self, thetas: list[Tensor], grads: list[Tensor], states: list[State], h: Options) -> bool:
        if h["amsgrad"]:
            for state in states:
                if "max_exp_avg_sq" not in state:
                    state["max_exp_avg_sq"] = torch.zeros_like(state["exp_avg_sq"])
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            thetas,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if h["amsgrad"] else [],
            steps,
            lr=float(h["lr"]),
            beta1=float(h["betas"][0]),
            beta2=float(h["betas"][1]),
            weight_decay=float(h["weight_decay"]),
            eps=float(h["eps"]),
            amsgrad=h["amsgrad"],
            maximize=h["maximize"],
        )
        return True
