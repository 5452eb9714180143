"""Schedule-Free AdamW: an average of the path in place of a schedule."""

from typing import Any

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.arithmetic import add_scaled_, average_square_, between, choose
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError
from neuronix.optim.groups import Options, Params, State, count_of_steps
from neuronix.optim.optimizer import Optimizer


class ScheduleFreeAdamW(Optimizer):
    r"""AdamW whose result is the average of its path, so that no schedule has to bring the learning rate down.

    $$
    \begin{aligned}
    y &= (1-\beta_1) z + \beta_1 x, \qquad g = \nabla f(y), \qquad v \leftarrow \beta_2 v + (1-\beta_2) g^2 \\
    z &\leftarrow z - \gamma_t \, g / \bigl(\sqrt{v / (1-\beta_2^t)} + \epsilon\bigr) - \gamma_t \lambda y,
    \qquad \gamma_t = \gamma \min(1, t / T_{warmup}) \\
    x &\leftarrow (1 - c) x + c z, \qquad c = \gamma_t^2 / \textstyle\sum_{i=1}^t \gamma_i^2
    \end{aligned}
    $$

    There are three points: z goes by the gradients, x is the average of all z, and gradients are taken at y between the
    two, which replaces momentum. The parameters are y while the model is trained, and x, the result, after
    [`eval`][neuronix.optim.ScheduleFreeAdamW.eval]; only z and v are kept beside them, as much as AdamW keeps. The
    length of the run needn't be known: x is good at any time.

    Args:
        params: The parameters, or parameter groups.
        lr: Learning rate γ; a number or a tensor of one element. The authors suggest 1 to 10 times AdamW's.
        betas: β₁, by which y is between z and x, above 0; and β₂, the part of v that stays at each step.
        eps: ε, which keeps the quotient finite.
        weight_decay: λ, which shrinks the parameter itself.
        warmup_steps: T, the number of steps in which the learning rate rises.
        maximize: Whether to ascend.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import ScheduleFreeAdamW
        >>> generator = torch.Generator().manual_seed(0)
        >>> w = tensor([5.0, -3.0], requires_grad=True)
        >>> optimizer = ScheduleFreeAdamW([w], lr=0.1, warmup_steps=20)
        >>> for _ in range(2000):
        ...     noisy = torch.tensor([1.0, 2.0]) + torch.randn(2, generator=generator)
        ...     optimizer.zero_grad()
        ...     ((w - noisy) ** 2).sum().backward()
        ...     optimizer.step()
        >>> optimizer.eval()  # the average, near the mean of the noise
        >>> bool(((w.data - torch.tensor([1.0, 2.0])).abs() < 0.1).all())
        True
        >>> optimizer.train()  # and on

    References:
        A. Defazio et al., "The road less scheduled", NeurIPS 2024, Algorithm 1; the lines below are its own.

    Differs from torch:
        torch has no such optimizer. Going to `eval` and back computes x from y and y from x, which may change the last
        digits.
    """

    state_names = ("z", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2.5e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        warmup_steps: int = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "maximize": maximize,
            "train_mode": True,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        checks.at_least_zero(self._name, "eps", h["eps"])
        checks.integer(self._name, "warmup_steps", h["warmup_steps"], 0)
        checks.flag(self._name, "train_mode", h["train_mode"])
        if h["betas"][0] == 0:
            raise OptimizerError(f"{self._name}: `betas[0]` must be greater than 0, got 0: x couldn't be found from y.")

    def initial_state(self, theta: Tensor, h: Options) -> State:
        # The sum of squares is as exact as c must be after a million steps.
        total = torch.zeros((), dtype=torch.float64)
        return {"step": count_of_steps(), "z": theta.clone(), "exp_avg_sq": torch.zeros_like(theta), "total": total}

    def take_step(self, closure: Any = None) -> Any:
        if not all(group["train_mode"] for group in self.param_groups):
            raise OptimizerRuntimeError(
                f"{self._name}.step: the parameters are the average, at which no gradients are taken.",
                hint="call the optimizer's `train()` before training goes on.",
            )
        return super().take_step(closure)

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        (beta1, beta2), t, z = h["betas"], state["step"], state["z"]
        x = between(theta, z, 1 - 1 / beta1)  # line 3 solved for x; the parameter is y
        v = average_square_(state["exp_avg_sq"], beta2, grad)  # line 5
        warm = t / max(h["warmup_steps"], 1)
        lr = h["lr"] * choose(warm < 1, warm, 1.0)  # line 7
        root = (v / (1 - beta2**t)).sqrt_().add_(h["eps"])  # line 6
        add_scaled_(z, -lr, grad / root + h["weight_decay"] * theta)  # line 8
        total = state["total"].add_(lr**2)
        x = between(x, z, lr**2 / total)  # lines 9 and 10
        theta.copy_(between(x, z, 1 - beta1))  # y of the next step

    @torch.no_grad()
    def eval(self) -> None:
        """Let the parameters be x, the average of the path, to evaluate or save the model; does nothing twice."""
        for group in self.param_groups:
            if group["train_mode"]:
                self._move(group, 1 - 1 / float(group["betas"][0]))
                group["train_mode"] = False

    @torch.no_grad()
    def train(self) -> None:
        """Let the parameters be y again, at which gradients are taken; does nothing twice."""
        for group in self.param_groups:
            if not group["train_mode"]:
                self._move(group, 1 - float(group["betas"][0]))
                group["train_mode"] = True

    def _move(self, group: Options, part: float) -> None:
        """Move the parameters by a part of their way to z."""
        for param in group["params"]:
            if self.state.get(param):
                param.data.lerp_(self.state[param]["z"], part)
