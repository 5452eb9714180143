"""Gradients divided by the root of their mean square."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_quotient_, add_scaled_, average_, average_square_, is_zero, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class RMSprop(Optimizer):
    r"""Gradient descent divided by a moving average of the gradient's size.

    $$
    \begin{aligned}
    v &\leftarrow \alpha v + (1-\alpha) g^2, \qquad \bar g \leftarrow \alpha \bar g + (1-\alpha) g
    \quad \text{(centered)} \\
    b &\leftarrow \mu b + g / (\sqrt{v - \bar g^2} + \epsilon) \\
    \theta &\leftarrow \theta - \gamma b
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        alpha: α, the part of the moving averages that stays at each step.
        eps: ε, which keeps the quotient finite.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        momentum: μ.
        centered: Whether to divide by the root of the variance instead of the mean square: subtract ḡ².
        capturable: Accepted for torch's sake; nothing depends on it.
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        differentiable: Must be false.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import RMSprop
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = RMSprop([w], lr=0.01)
        >>> (w * tensor([1.0, 1000.0])).sum().backward()
        >>> optimizer.step()  # the same step for both
        >>> w.data
        tensor([0.9000, 0.9000])

    References:
        G. Hinton, "Neural networks for machine learning", lecture 6a, 2012. Centered: A. Graves, "Generating sequences
        with recurrent neural networks", 2013, equations (38) to (41), with ε outside the root.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
    """

    state_names = ("square_avg", "momentum_buffer", "grad_avg")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "alpha", h["alpha"])
        checks.at_least_zero(self._name, "eps", h["eps"])
        checks.flag(self._name, "centered", h["centered"])

    def initial_state(self, theta: Tensor, h: Options) -> State:
        state = {"step": count_of_steps(), "square_avg": torch.zeros_like(theta)}
        if not is_zero(h["momentum"]):
            state["momentum_buffer"] = torch.zeros_like(theta)
        if h["centered"]:
            state["grad_avg"] = torch.zeros_like(theta)
        return state

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, alpha = h["lr"], h["alpha"]
        grad = with_penalty(grad, theta, h["weight_decay"])
        v = average_square_(state["square_avg"], alpha, grad)
        if h["centered"]:
            mean = average_(state["grad_avg"], alpha, grad)
            root = v.addcmul(mean, mean, value=-1).sqrt_().add_(h["eps"])
        else:
            root = v.sqrt().add_(h["eps"])
        if is_zero(h["momentum"]):
            add_quotient_(theta, -lr, grad, root)
        else:
            b = state["momentum_buffer"].mul_(h["momentum"]).addcdiv_(grad, root)
            add_scaled_(theta, -lr, b)
