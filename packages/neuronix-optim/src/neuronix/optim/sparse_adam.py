"""Adam for gradients that name the rows they are about."""

from typing import Any

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, average_, average_square_, like_sparse
from neuronix.optim.errors import OptimizerError
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class SparseAdam(Optimizer):
    r"""Adam for sparse gradients: rows that a gradient doesn't name stay as they are, and so do their averages.

    $$
    \begin{aligned}
    m_i &\leftarrow \beta_1 m_i + (1-\beta_1) g_i, \qquad v_i \leftarrow \beta_2 v_i + (1-\beta_2) g_i^2 \\
    \theta_i &\leftarrow \theta_i - \gamma \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t} \, m_i / (\sqrt{v_i} + \epsilon)
    \qquad \text{for the rows } i \text{ that } g \text{ names}
    \end{aligned}
    $$

    That isn't Adam with zeros in the other rows: there the averages would fade, and momentum would move the parameter.

    Args:
        params: The parameters, dense and real, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        betas: β₁ and β₂, the part of the two moving averages that stays at each step.
        eps: ε, which keeps the quotient finite.
        maximize: Whether to ascend.

    Raises:
        OptimizerError: An impossible value, or a parameter that is sparse or complex.

    Example:
        >>> import torch
        >>> from neuronix.optim import SparseAdam
        >>> table = torch.ones(3, 2)
        >>> rows, values = torch.tensor([[1]]), torch.tensor([[5.0, -0.5]])
        >>> table.grad = torch.sparse_coo_tensor(rows, values, (3, 2), check_invariants=True)
        >>> SparseAdam([table], lr=0.1).step()
        >>> table
        tensor([[1.0000, 1.0000],
                [0.9000, 1.1000],
                [1.0000, 1.0000]])

    References:
        D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1 in the form before its
        section 2.1, with a single factor for both corrections.

    Differs from torch:
        NaN and infinite options are refused.
    """

    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])

    def check_parameter(self, described: str, theta: Tensor) -> None:
        if theta.layout is not torch.strided or theta.is_complex():
            kind = theta.dtype if theta.is_complex() else theta.layout
            raise OptimizerError(f"{self._name}: parameters must be dense and real; {described} is {kind}.")

    def layouts(self, h: Options) -> tuple[torch.layout, ...]:
        return (torch.sparse_coo,)

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {"step": count_of_steps(), "exp_avg": torch.zeros_like(theta), "exp_avg_sq": torch.zeros_like(theta)}

    def saved_state(self) -> dict[str, Any]:
        """Return the state in torch's format, where the count of steps of this optimizer is a number."""
        saved = super().saved_state()
        for kept in saved["state"].values():
            kept["step"] = int(kept["step"])
        return saved

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        (beta1, beta2), t = h["betas"], state["step"]
        grad = grad.coalesce()  # a row that is named twice has one gradient, the sum
        g = grad.values()
        old_m, old_v = (state[name].sparse_mask(grad).values() for name in self.state_names)
        m = average_(old_m.clone(), beta1, g)
        v = average_square_(old_v.clone(), beta2, g)
        state["exp_avg"].add_(like_sparse(grad, m - old_m))
        state["exp_avg_sq"].add_(like_sparse(grad, v - old_v))
        factor = -h["lr"] * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
        add_scaled_(theta, 1, like_sparse(grad, m / v.sqrt().add_(h["eps"]) * factor))
