"""Steps by the sign of the gradient, each coordinate with a step size of its own."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_product_
from neuronix.optim.errors import OptimizerError
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class Rprop(Optimizer):
    r"""Resilient backpropagation: a step size grows while the gradient keeps its sign, and shrinks when it turns.

    $$
    \begin{aligned}
    s &\leftarrow \operatorname{clamp}(s \, \eta, s_{\min}, s_{\max}), \quad \eta = \eta^+ \text{ where } g \, g' > 0,
    \ \eta^- \text{ where } g \, g' < 0, \text{ else } 1 \\
    g &\leftarrow 0 \text{ where } g \, g' < 0 \\
    \theta &\leftarrow \theta - s \operatorname{sign}(g), \qquad g' \leftarrow g
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: The first step size of every coordinate.
        etas: η⁻ below 1 and η⁺ above 1, by which a step size shrinks and grows.
        step_sizes: The smallest and the largest step size.
        capturable: Accepted for torch's sake; nothing depends on it.
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        differentiable: Must be false.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Rprop
        >>> w = tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = Rprop([w], lr=0.1)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (w * w).sum().backward()
        ...     optimizer.step()  # by 0.1, then by 0.12
        >>> w.data
        tensor([ 0.7800, -1.7800])

    References:
        M. Riedmiller, H. Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm",
        ICNN 1993. Where the sign turns, the parameter stays where it is: C. Igel, M. Hüsken, "Improving the Rprop
        learning algorithm", NC 2000, Rprop⁻ with its gradient set to zero.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
    """

    state_names = ("prev", "step_size")
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        shrink, grow = checks.pair(self._name, "etas", h["etas"])
        if not 0 < shrink < 1 < grow:
            raise OptimizerError(f"{self._name}: `etas` must be below 1 and above 1, got ({shrink:g}, {grow:g}).")
        smallest, largest = checks.pair(self._name, "step_sizes", h["step_sizes"])
        if not 0 <= smallest <= largest:
            raise OptimizerError(
                f"{self._name}: `step_sizes` must be a smaller and a larger number, got ({smallest:g}, {largest:g})."
            )

    def initial_state(self, theta: Tensor, h: Options) -> State:
        lr = float(h["lr"])
        first = torch.full_like(theta, complex(lr, lr) if theta.is_complex() else lr)
        return {"step": count_of_steps(), "prev": torch.zeros_like(theta), "step_size": first}

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        (shrink, grow), (smallest, largest) = h["etas"], h["step_sizes"]
        turned = grad * state["prev"]
        factor = torch.where(turned > 0, grow, torch.where(turned < 0, shrink, torch.ones_like(turned)))
        size = state["step_size"].mul_(factor).clamp_(smallest, largest)
        grad = torch.where(turned < 0, 0, grad)
        add_product_(theta, -1, grad.sign(), size)
        state["prev"].copy_(grad)
