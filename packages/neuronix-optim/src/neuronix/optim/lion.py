"""Lion, the optimizer that a search over programs found: steps by the sign of a momentum."""

import torch
from torch import Tensor

from neuronix.optim.arithmetic import add_scaled_, average_
from neuronix.optim.groups import Options, Params, State
from neuronix.optim.optimizer import Optimizer


class Lion(Optimizer):
    r"""Evolved sign momentum: every coordinate steps by the learning rate, up or down.

    $$
    \begin{aligned}
    c &= \beta_1 m + (1-\beta_1) g \\
    \theta &\leftarrow \theta - \gamma \left( \operatorname{sign}(c) + \lambda\theta \right) \\
    m &\leftarrow \beta_2 m + (1-\beta_2) g
    \end{aligned}
    $$

    One average a parameter is half of AdamW's memory. The authors suggest a learning rate 3 to 10 times smaller than
    AdamW's, and a weight decay as many times larger.

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        betas: β₁, by which the momentum and the gradient are mixed for the step, and β₂, the part of the momentum that
            stays.
        weight_decay: λ, which shrinks the parameter itself and doesn't enter the momentum.
        maximize: Whether to ascend.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Lion
        >>> w = tensor([1.0, 1.0, 1.0], requires_grad=True)
        >>> optimizer = Lion([w], lr=0.1, weight_decay=0.0)
        >>> (w * tensor([-1.0, 0.0, 1000.0])).sum().backward()
        >>> optimizer.step()
        >>> w.data
        tensor([1.1000, 1.0000, 0.9000])

    References:
        X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, Algorithm 2; the lines below are
        counted from its "while". The defaults of `betas` and `weight_decay` are those of optax, that of `lr` is the
        authors'.

    Differs from torch:
        torch has no Lion. The state is named as AdamW's is, `exp_avg`. A complex parameter steps by the signs of its
        real and imaginary part.
    """

    state_names = ("exp_avg",)
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.99),
        weight_decay: float = 1e-3,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {"exp_avg": torch.zeros_like(theta)}  # "initialize": m_0 = 0

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, (beta1, beta2) = h["lr"], h["betas"]
        m = state["exp_avg"]
        c = beta1 * m + (1 - beta1) * grad  # line 4: c_t
        theta.mul_(1 - lr * h["weight_decay"])  # line 5: θ_t, by its decay and by the sign
        add_scaled_(theta, -lr, c.sign_())
        average_(m, beta2, grad)  # line 7: m_t
