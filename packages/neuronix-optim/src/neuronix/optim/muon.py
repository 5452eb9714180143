"""Momentum made orthogonal, for matrices."""

from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, average_
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError
from neuronix.optim.groups import Options, Params, State
from neuronix.optim.optimizer import Optimizer


class Muon(Optimizer):
    r"""Momentum orthogonalised by Newton and Schulz: a step of equal length in every direction of a matrix.

    $$
    \begin{aligned}
    b &\leftarrow \mu b + (1-\mu) g, \qquad \tilde g = \mu b + (1-\mu) g \ \text{(Nesterov), or } b \\
    \theta &\leftarrow (1 - \gamma\lambda) \, \theta - \gamma \, s \, \operatorname{NS}(\tilde g)
    \end{aligned}
    $$

    NS brings the singular values of its argument near 1 and leaves its singular vectors. It is meant for the matrices
    of hidden layers; biases, embeddings and the last layer want another optimizer, such as AdamW.

    Args:
        params: The parameters, matrices all of them, or parameter groups.
        lr: Learning rate γ.
        weight_decay: λ, which shrinks the parameter itself.
        momentum: μ, the part of the moving average that stays.
        nesterov: Whether to look ahead.
        ns_coefficients: a, b and c of the iteration, X ← a X + (b A + c A²) X with A = X Xᵀ.
        eps: The smallest norm that the first X is divided by.
        ns_steps: The number of iterations, below 100.
        adjust_lr_fn: What s is for an m x n matrix: `"original"` or `None` for √max(1, m/n), `"match_rms_adamw"` for
            0.2 √max(m, n), with which learning rates of AdamW can be kept.

    Raises:
        OptimizerError: An impossible value, or a parameter that isn't a real matrix.

    Example:
        >>> import torch
        >>> from neuronix.optim import Muon
        >>> w = torch.zeros(2, 2)
        >>> w.grad = torch.tensor([[100.0, 0.0], [0.0, -1.0]])  # singular values 100 and 1
        >>> Muon([w], lr=1.0).step()  # the step has 0.7 to 1.2 for both
        >>> bool((w.diagonal().abs() > 0.1).all() and (w.diagonal().abs() < 1.3).all())
        True

    References:
        K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. J. Liu et al., "Muon is
        scalable for LLM training", 2025 (`"match_rms_adamw"`).

    Differs from torch:
        NaN and infinite options are refused, a complex parameter already when it is added.
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.flag(self._name, "nesterov", h["nesterov"])
        checks.at_least_zero(self._name, "eps", h["eps"])
        if not isinstance(h["ns_coefficients"], (tuple, list)) or len(h["ns_coefficients"]) != 3:
            found = checks.described(h["ns_coefficients"])
            raise OptimizerError(f"{self._name}: `ns_coefficients` must be three numbers, got {found}.")
        for index, coefficient in enumerate(h["ns_coefficients"]):
            checks.number(self._name, f"ns_coefficients[{index}]", coefficient)
        if checks.at_least_one(self._name, "ns_steps", h["ns_steps"]) >= 100:
            raise OptimizerError(f"{self._name}: `ns_steps` must be below 100, got {h['ns_steps']}.")
        if h["adjust_lr_fn"] is not None:
            checks.one_of(self._name, "adjust_lr_fn", h["adjust_lr_fn"], ("original", "match_rms_adamw"))

    def check_parameter(self, described: str, theta: Tensor) -> None:
        if theta.ndim != 2:
            raise OptimizerError(
                f"{self._name}: parameters must be matrices; {described} has shape {tuple(theta.shape)}.",
                hint="give the others to another optimizer, such as AdamW.",
            )
        if theta.is_complex():
            raise OptimizerRuntimeError(f"{self._name}: parameters must be real; {described} is {theta.dtype}.")

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {"momentum_buffer": torch.zeros_like(theta)}

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        lr, mu = h["lr"], h["momentum"]
        b = average_(state["momentum_buffer"], mu, grad)
        ahead = average_(grad.clone(), 1 - mu, b) if h["nesterov"] else b
        step = orthogonalized(ahead, h["ns_coefficients"], h["ns_steps"], h["eps"])
        rows, columns = theta.shape
        matches_adamw = h["adjust_lr_fn"] == "match_rms_adamw"
        scale = 0.2 * sqrt(max(rows, columns)) if matches_adamw else sqrt(max(1, rows / columns))
        theta.mul_(1 - lr * h["weight_decay"])
        add_scaled_(theta, -lr * scale, step.to(theta.dtype))


def orthogonalized(x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Return a matrix with the singular vectors of `x` and singular values near 1, by Newton-Schulz iterations.

    In bfloat16, which is exact enough: the singular values end up anywhere between 0.7 and 1.2.

    Args:
        x: A matrix.
        coefficients: Those of the iteration, chosen so that small singular values grow fast.
        steps: The number of iterations.
        eps: The smallest norm to divide by.
    """
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    y = (x.mT if tall else x).bfloat16()
    y = y / y.norm().clamp(min=eps)  # the iteration converges for singular values below 1
    for _ in range(steps):
        gram = y @ y.mT
        y = torch.addmm(y, torch.addmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y.mT if tall else y
