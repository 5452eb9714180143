"""Steps that shrink with the gradients that a coordinate has seen."""

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_quotient_, add_scaled_, is_zero, like_sparse, with_penalty
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    r"""Adaptive gradients: a coordinate that is rarely used keeps large steps.

    $$
    \begin{aligned}
    g &\leftarrow \nabla f(\theta) + \lambda\theta, \qquad G \leftarrow G + g^2 \\
    \theta &\leftarrow \theta - \frac{\gamma}{1 + (t - 1) \eta} \, g / (\sqrt G + \epsilon)
    \end{aligned}
    $$

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element.
        lr_decay: η, by which the learning rate falls.
        weight_decay: λ, which is added to the gradient (L2 penalty).
        initial_accumulator_value: G before the first step.
        eps: ε, which keeps the quotient finite.
        foreach: Whether to update many parameters by one kernel for lists; `None` decides by their size.
        maximize: Whether to ascend.
        differentiable: Must be false.
        fused: Whether to use a fused kernel; `None` uses it where it can.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import Adagrad
        >>> w = tensor([1.0, 1.0], requires_grad=True)
        >>> optimizer = Adagrad([w], lr=0.5)
        >>> (w * tensor([1.0, 100.0])).sum().backward()
        >>> optimizer.step()
        >>> w.data
        tensor([0.5000, 0.5000])

    References:
        J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
        JMLR 12, 2011, Figure 1 with a diagonal matrix.

    Differs from torch:
        A step can't be `differentiable`. NaN and infinite options are refused.
        A sparse gradient with `weight_decay` is found before any parameter changes.
    """

    state_names = ("sum",)
    takes_lists = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        self.initialize_state()  # as torch does

    def check_options(self, h: Options) -> None:
        for name in ("lr_decay", "initial_accumulator_value", "eps"):
            checks.at_least_zero(self._name, name, h[name])

    def layouts(self, h: Options) -> tuple[torch.layout, ...]:
        return (torch.strided, torch.sparse_coo) if is_zero(h["weight_decay"]) else (torch.strided,)

    def initial_state(self, theta: Tensor, h: Options) -> State:
        first = float(h["initial_accumulator_value"])
        total = torch.full_like(theta, complex(first, first) if theta.is_complex() else first)
        return {"step": count_of_steps(), "sum": total}

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr = h["lr"] / (1 + (state["step"] - 1) * h["lr_decay"])
        grad = with_penalty(grad, theta, h["weight_decay"])
        if grad.is_sparse:  # only the rows that it names
            grad = grad.coalesce()
            total = state["sum"].add_(grad * grad).sparse_mask(grad)
            root = total.values().sqrt_().add_(h["eps"])
            add_scaled_(theta, -lr, like_sparse(grad, grad.values() / root))
            return
        add_quotient_(theta, -lr, grad, state["sum"].addcmul_(grad, grad).sqrt().add_(h["eps"]))

    def update_fused(self, thetas: list[Tensor], grads: list[Tensor], states: list[State], h: Options) -> bool:
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adagrad_(
            thetas,
            grads,
            [state["sum"] for state in states],
            steps,
            lr=h["lr"],
            lr_decay=h["lr_decay"],
            weight_decay=h["weight_decay"],
            eps=h["eps"],
            maximize=h["maximize"],
        )
        return True
