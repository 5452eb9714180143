"""Stochastic gradient descent, with the momentum of Polyak and of Nesterov."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, is_zero, with_penalty
from neuronix.optim.errors import OptimizerError
from neuronix.optim.groups import Options, Params, State
from neuronix.optim.optimizer import Optimizer


class SGD(Optimizer):
    r"""Stochastic gradient descent, optionally with momentum.

    $$
    \begin{aligned}
    g &\leftarrow \nabla f(\theta) + \lambda\theta \\
    b &\leftarrow \mu b + (1-\tau) g \qquad (b \leftarrow g \text{ at the first step}) \\
    \theta &\leftarrow \theta - \gamma b, \quad\text{or}\quad \theta - \gamma (g + \mu b) \text{ with Nesterov}
    \end{aligned}
    $$

    The paper's velocity is $v = -\gamma b$: taking $\gamma$ out of it, as torch does, lets a schedule change the
    learning rate at once instead of after the velocity has forgotten the old one.
    [`Momentum`][neuronix.optim.Momentum] and [`Nesterov`][neuronix.optim.Nesterov] are this update under their own
    names.

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        momentum: μ; 0 is plain gradient descent, which keeps no state.
        dampening: τ.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        nesterov: Whether to look ahead; needs momentum, and no dampening.
        maximize: Whether to ascend.
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        differentiable: Must be false.
        fused: Whether to use a fused kernel; `None` uses it where it can.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import SGD
        >>> w = tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = SGD([w], lr=0.1)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.data
        tensor([ 0.8000, -1.6000])

    References:
        I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep
        learning", ICML 2013, equations (1) to (4). Its Nesterov step is written for the point that is looked ahead to,
        $\theta + \mu v$, which is where the gradient is taken.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused. The momentum of sparse gradients is
        dense: after some steps it would name nearly every row anyway.
    """

    state_names = ("momentum_buffer",)
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        dampening = checks.number(self._name, "dampening", h["dampening"])
        checks.flag(self._name, "nesterov", h["nesterov"])
        if h["nesterov"] and (h["momentum"] == 0 or dampening != 0):
            raise OptimizerError(
                f"{self._name}: `nesterov` needs momentum above 0 and dampening 0, got momentum={h['momentum']:g} and "
                f"dampening={dampening:g}."
            )

    def layouts(self, h: Options) -> tuple[torch.layout, ...]:
        return (torch.strided, torch.sparse_coo) if is_zero(h["weight_decay"]) else (torch.strided,)

    def initial_state(self, theta: Tensor, h: Options) -> State:
        # The first velocity is the gradient itself, undamped: from zeros if nothing is damped, else made by `update`.
        if is_zero(h["momentum"]) or not is_zero(h["dampening"]):
            return {}
        return {"momentum_buffer": torch.zeros_like(theta)}

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, mu = h["lr"], h["momentum"]
        grad = with_penalty(grad, theta, h["weight_decay"])
        if is_zero(mu):
            add_scaled_(theta, -lr, grad)
            return
        if "momentum_buffer" in state:  # (1) and (3): the velocity decays and takes up the gradient
            b = add_scaled_(state["momentum_buffer"].mul_(mu), 1 - h["dampening"], grad)
        else:
            b = state["momentum_buffer"] = grad.to_dense() if grad.is_sparse else grad.clone()
        # (2), or (4) seen from the point ahead: theta + mu v moves by v' + mu (v' - v) = -lr (g + mu b')
        add_scaled_(theta, -lr, mu * b + grad if h["nesterov"] else b)

    def update_fused(self, thetas: list[Tensor], grads: list[Tensor], states: list[State], h: Options) -> bool:
        has_momentum = h["momentum"] != 0
        is_first = has_momentum and "momentum_buffer" not in states[0]
        if is_first:
            for theta, state in zip(thetas, states, strict=True):
                state["momentum_buffer"] = torch.empty_like(theta)
        torch._fused_sgd_(
            thetas,
            grads,
            [state["momentum_buffer"] for state in states] if has_momentum else [],
            weight_decay=h["weight_decay"],
            momentum=h["momentum"],
            lr=h["lr"],
            dampening=h["dampening"],
            nesterov=h["nesterov"],
            maximize=h["maximize"],
            is_first_step=is_first,
        )
        return True
