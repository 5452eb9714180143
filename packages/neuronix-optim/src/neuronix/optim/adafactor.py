"""Adam with the memory of a row and a column instead of a matrix."""

from math import sqrt

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import average_, choose
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class Adafactor(Optimizer):
    r"""Adaptive steps whose second moment is kept as the product of a column and a row.

    $$
    \begin{aligned}
    \hat\beta_t &= 1 - t^{\tau}, \qquad \rho_t = \min(\gamma, 1/\sqrt t), \qquad
    \alpha_t = \max(\epsilon_2, \operatorname{RMS}(\theta)) \, \rho_t \\
    R &\leftarrow \hat\beta_t R + (1-\hat\beta_t) \, \text{mean over columns of } g^2, \qquad
    C \leftarrow \hat\beta_t C + (1-\hat\beta_t) \, \text{mean over rows of } g^2 \\
    V &= R \, C / \operatorname{mean}(R), \qquad U = g / \sqrt V \\
    \theta &\leftarrow \theta - \gamma\lambda\theta - \alpha_t \, U / \max(1, \operatorname{RMS}(U) / d)
    \end{aligned}
    $$

    For an m x n matrix that is m + n numbers of state instead of 2mn. A vector keeps its V whole.

    Args:
        params: The parameters, or parameter groups.
        lr: γ, the largest relative step; a number or a tensor of one element.
        beta2_decay: τ, at most 0; the average of squares grows longer with the steps.
        eps: ε₁, below which no root falls, `None` for that of the dtype; and ε₂, the smallest size of a parameter that
            the relative step is taken of.
        d: The size above which an update is scaled down; at least 1.
        weight_decay: λ, which shrinks the parameter itself.
        foreach: Accepted for torch's sake: parameters of many shapes are updated one by one.
        maximize: Whether to ascend.

    Raises:
        OptimizerError: An impossible value, or a complex parameter.

    Example:
        >>> import torch
        >>> from neuronix.optim import Adafactor
        >>> w = torch.ones(100, 200)
        >>> w.grad = torch.ones(100, 200)
        >>> optimizer = Adafactor([w])
        >>> optimizer.step()
        >>> {name: tuple(kept.shape) for name, kept in optimizer.state[w].items()}
        {'step': (), 'row_var': (100, 1), 'col_var': (1, 200)}

    References:
        N. Shazeer, M. Stern, "Adafactor: adaptive learning rates with sublinear memory cost", ICML 2018, Algorithms 4
        and 5; the lines below are those of Algorithm 4. As in torch γ stands where the paper has 0.01, averages stand
        where it has sums, and ε₁ is a floor under V instead of a summand of g².

    Differs from torch:
        NaN and infinite options are refused, a complex parameter already when it is added.
    """

    state_names = ("variance",)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        if checks.number(self._name, "beta2_decay", h["beta2_decay"]) > 0:
            raise OptimizerError(f"{self._name}: `beta2_decay` must be at most 0, got {h['beta2_decay']}.")
        if not isinstance(h["eps"], (tuple, list)) or len(h["eps"]) != 2:
            raise OptimizerError(f"{self._name}: `eps` must be a pair, got {checks.described(h['eps'])}.")
        if h["eps"][0] is not None:
            checks.at_least_zero(self._name, "eps[0]", h["eps"][0])
        checks.at_least_zero(self._name, "eps[1]", h["eps"][1])
        if checks.number(self._name, "d", h["d"]) < 1:
            raise OptimizerError(f"{self._name}: `d` must be at least 1, got {h['d']}.")

    def check_parameter(self, described: str, theta: Tensor) -> None:
        if theta.is_complex():
            raise OptimizerRuntimeError(f"{self._name}: complex parameters can't be factored; {described} is one.")

    def initial_state(self, theta: Tensor, h: Options) -> State:
        if theta.ndim < 2:
            return {"step": count_of_steps(), "variance": torch.zeros_like(theta)}
        rows, columns = theta.shape[-2:]
        return {
            "step": count_of_steps(),
            "row_var": theta.new_zeros((*theta.shape[:-2], rows, 1)),
            "col_var": theta.new_zeros((*theta.shape[:-2], 1, columns)),
        }

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, t = h["lr"], state["step"]
        eps1, eps2 = h["eps"]
        if eps1 is None:
            eps1 = torch.finfo(theta.dtype).eps
        rho = choose(lr < 1 / t**0.5, lr, 1 / t**0.5)
        alpha = root_mean_square(theta).clamp(min=eps2) * rho  # line 4
        theta.mul_(1 - lr * h["weight_decay"])
        decay = 1 - t ** h["beta2_decay"]
        if grad.ndim > 1:
            row = average_(state["row_var"], decay, grad.square().mean(-1, keepdim=True))  # line 6
            column = average_(state["col_var"], decay, grad.square().mean(-2, keepdim=True))  # line 7
            v = row * column / row.mean(-2, keepdim=True).clamp(min=eps1)  # line 8
        else:
            v = average_(state["variance"], decay, grad * grad)
        u = v.clamp(min=eps1 * eps1).rsqrt_().mul_(grad)  # line 9
        theta.sub_(u.mul_(alpha / (root_mean_square(u) / h["d"]).clamp(min=1)))  # lines 10 and 11


def root_mean_square(x: Tensor) -> Tensor:
    """Return RMS(x), the root of the mean square, without axes and in double precision."""
    norm: Tensor = torch.linalg.vector_norm(x)
    return norm.double() / sqrt(x.numel())
