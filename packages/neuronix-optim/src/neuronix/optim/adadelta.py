"""Steps whose size is measured by the steps before."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, average_square_, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class Adadelta(Optimizer):
    r"""Gradient descent whose step has the parameter's own unit: by the quotient of past steps and past gradients.

    $$
    \begin{aligned}
    v &\leftarrow \rho v + (1-\rho) g^2 \\
    \Delta &= \sqrt{u + \epsilon} / \sqrt{v + \epsilon} \cdot g \\
    u &\leftarrow \rho u + (1-\rho) \Delta^2 \\
    \theta &\leftarrow \theta - \gamma \Delta
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; the paper has none, that is 1.
        rho: ρ, the part of the two moving averages that stays at each step.
        eps: ε, from which the first steps grow.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        capturable: Accepted for torch's sake; nothing depends on it.
        maximize: Whether to ascend.
        differentiable: Must be false.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Adadelta
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = Adadelta([w], eps=1e-2)
        >>> (w * tensor([1.0, 1000.0])).sum().backward()
        >>> optimizer.step()
        >>> w.data
        tensor([0.6985, 0.6838])

    References:
        M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, Algorithm 1.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
    """

    state_names = ("square_avg", "acc_delta")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "capturable": capturable,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.within(self._name, "rho", h["rho"], 0, 1)
        checks.at_least_zero(self._name, "eps", h["eps"])

    def initial_state(self, theta: Tensor, h: Options) -> State:  # line 1
        return {"step": count_of_steps(), "square_avg": torch.zeros_like(theta), "acc_delta": torch.zeros_like(theta)}

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        rho, eps = h["rho"], h["eps"]
        grad = with_penalty(grad, theta, h["weight_decay"])  # line 3
        v = average_square_(state["square_avg"], rho, grad)  # line 4
        delta = (state["acc_delta"] + eps).sqrt_().div_((v + eps).sqrt_()).mul_(grad)  # line 5
        average_square_(state["acc_delta"], rho, delta)  # line 6
        add_scaled_(theta, -h["lr"], delta)  # line 7
