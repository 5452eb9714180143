"""Gradient descent with Nesterov's momentum, under its own name."""

from torch import Tensor

from neuronix.optim.groups import Params
from neuronix.optim.sgd import SGD


class Nesterov(SGD):
    r"""Gradient descent with Nesterov's momentum: the gradient is taken where the velocity is about to lead.

    $$ b \leftarrow \mu b + g, \qquad \theta \leftarrow \theta - \gamma (g + \mu b) $$

    The same as `SGD(momentum=0.9, nesterov=True)`; the update is stated in [`SGD`][neuronix.optim.SGD].

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        momentum: μ, the part of the velocity that stays; above 0.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        maximize: Whether to ascend.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Nesterov
        >>> w = tensor(1.0, requires_grad=True)
        >>> optimizer = Nesterov([w], lr=0.1)
        >>> (w * w).backward()
        >>> optimizer.step()  # by 0.1 * (2.0 + 0.9 * 2.0)
        >>> w.data
        tensor(0.6200)

    References:
        Y. Nesterov, "A method for solving the convex programming problem with convergence rate O(1/k²)", 1983.
        I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, equations
        (3) and (4).

    Differs from torch:
        torch has it as `torch.optim.SGD(momentum=0.9, nesterov=True)`; saved states go both ways.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.9,
        weight_decay: float | Tensor = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, momentum, 0, weight_decay, nesterov=True, maximize=maximize)
