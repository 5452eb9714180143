"""Gradient descent with Polyak's momentum, under its own name."""

from torch import Tensor

from neuronix.optim.groups import Params
from neuronix.optim.sgd import SGD


class Momentum(SGD):
    r"""Gradient descent with momentum (the heavy ball): a velocity gathers the gradients.

    $$ b \leftarrow \mu b + (1-\tau) g, \qquad \theta \leftarrow \theta - \gamma b $$

    The same as `SGD(momentum=0.9)`; the update is stated in [`SGD`][neuronix.optim.SGD].

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        momentum: μ, the part of the velocity that stays.
        dampening: τ.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        maximize: Whether to ascend.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Momentum
        >>> w = tensor(1.0, requires_grad=True)
        >>> optimizer = Momentum([w], lr=0.1)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (w * w).backward()
        ...     optimizer.step()  # by 0.1 * 2.0, then by 0.1 * (0.9 * 2.0 + 1.6)
        >>> w.data
        tensor(0.4600)

    References:
        B. Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Computational Mathematics
        and Mathematical Physics 4(5), 1964. I. Sutskever et al., "On the importance of initialization and momentum in
        deep learning", ICML 2013, equations (1) and (2).

    Differs from torch:
        torch has it as `torch.optim.SGD(momentum=0.9)`; saved states go both ways.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.9,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov=False, maximize=maximize)
