"""Limited-memory BFGS: a method of Newton's kind, whose Hessian is remembered from the last steps."""

from collections.abc import Callable
from typing import Any, Literal, SupportsFloat, TypeVar

import torch
from torch import Tensor

from neuronix.autograd import enable_grad
from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerTypeError
from neuronix.optim.groups import Options, Params, State, as_numbers
from neuronix.optim.line_search import Point, strong_wolfe
from neuronix.optim.optimizer import Optimizer

Loss = TypeVar("Loss", bound=SupportsFloat)


class LBFGS(Optimizer):
    r"""Limited-memory BFGS: goes along $-H \nabla f$, with the inverse Hessian H known from the last steps.

    $$
    \theta_{k+1} = \theta_k - t_k H_k \nabla f(\theta_k), \qquad
    H_{k+1} = (I - \rho s y^\top) H_k (I - \rho y s^\top) + \rho s s^\top, \qquad \rho = 1 / y^\top s
    $$

    with the last steps $s = \theta_{k+1} - \theta_k$ and the changes of the gradient $y$. H is never formed: two loops
    over the history apply it. One `step` makes up to `max_iter` of these iterations, and calls its closure for each. It
    suits small problems whose loss has no noise; it keeps `2 * history_size` copies of the parameters.

    Args:
        params: The parameters; there can be one group only.
        lr: Learning rate t; with a line search the first that is tried.
        max_iter: The largest number of iterations of one step.
        max_eval: The largest number of evaluations of one step; `None` for 1.25 times `max_iter`.
        tolerance_grad: A step ends when no entry of the gradient is larger.
        tolerance_change: A step ends when parameters or loss change by less.
        history_size: How many past iterations are remembered.
        line_search_fn: `"strong_wolfe"` to search along the direction, or `None` to go by `lr`.

    Raises:
        OptimizerError: An impossible value, or several groups.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import LBFGS
        >>> w = tensor([-1.0, 2.0], requires_grad=True)
        >>> optimizer = LBFGS([w], line_search_fn="strong_wolfe")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2  # Rosenbrock's valley
        ...     loss.backward()
        ...     return loss
        >>> for _ in range(3):
        ...     loss = optimizer.step(closure)
        >>> w.data
        tensor([1.0000, 1.0000])

    References:
        J. Nocedal, S. Wright, "Numerical optimization", second edition, 2006: Algorithms 7.4 (two loops) and 7.5, 3.5
        and 3.6 (line search).

    Differs from torch:
        `max_iter`, `max_eval` and `history_size` below 1 are refused, another `line_search_fn` already when it is
        given. The state has no `"al"`, which is scratch memory.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: Literal["strong_wolfe"] | None = None,
    ) -> None:
        if max_eval is None:
            max_eval = checks.at_least_one(self._name, "max_iter", max_iter) * 5 // 4
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)

    def check_options(self, h: Options) -> None:
        for name in ("max_iter", "max_eval", "history_size"):
            checks.at_least_one(self._name, name, h[name])
        for name in ("tolerance_grad", "tolerance_change"):
            checks.at_least_zero(self._name, name, h[name])
        if h["line_search_fn"] is not None:
            checks.one_of(self._name, "line_search_fn", h["line_search_fn"], ("strong_wolfe",))

    def add_param_group(self, param_group: Options) -> None:
        if self.param_groups:
            raise OptimizerError(
                f"{self._name}: there can be one parameter group only, got another.",
                hint="its Hessian is that of all parameters together.",
            )
        super().add_param_group(param_group)

    def initial_state(self, theta: Tensor, h: Options) -> State:
        return {"func_evals": 0, "n_iter": 0}

    def initialize_state(self) -> None:
        """Do nothing: the history belongs to all parameters together, and begins with the first step."""

    def update(self, theta: Tensor, grad: Tensor, state: State, h: Options) -> None:
        """Not used: one parameter can't be updated without the others."""
        raise OptimizerError(f"{self._name}: parameters can't be updated one by one.", hint="call `step(closure)`.")

    def take_step(  # type: ignore[override]  # the closure must return a number
        self, closure: Callable[[], Loss] | None = None
    ) -> Loss | None:
        """Make up to `max_iter` iterations.

        Args:
            closure: Sets the gradients to zero, computes the loss and its gradients, and returns the loss. It is called
                many times, with gradients enabled.

        Returns:
            What `closure` returned first.

        Raises:
            OptimizerTypeError: There is no `closure`, or it doesn't return a number.
        """
        if closure is None:
            raise OptimizerTypeError(f"{self._name}.step: `closure` is missing: the loss is computed many times.")
        h = as_numbers(self.param_groups[0])
        state = self.state[self.param_groups[0]["params"][0]]  # of all parameters, as in torch
        if not state:
            state.update(self.initial_state(torch.empty(0), h))

        compute: Callable[[], Loss] = closure

        def evaluate() -> tuple[Loss, Tensor]:
            state["func_evals"] += 1
            with enable_grad():
                return compute(), self._gradient()

        first_evaluation = state["func_evals"]
        first_loss, gradient = evaluate()
        loss = checks.measure(self._name, "the closure's loss", first_loss)
        for iteration in range(1, h["max_iter"] + 1):
            if _largest(gradient) <= h["tolerance_grad"]:
                break
            state["n_iter"] += 1
            direction = self._direction(gradient, state, h["history_size"])
            state["prev_flat_grad"], state["prev_loss"] = gradient, loss
            t = h["lr"] * (min(1.0, 1.0 / float(gradient.abs().sum())) if state["n_iter"] == 1 else 1.0)
            state["d"], state["t"] = direction, t
            slope = float(gradient.dot(direction))
            if slope > -h["tolerance_change"]:
                break
            if h["line_search_fn"] is not None:
                used = state["func_evals"] - first_evaluation
                found = self._search(evaluate, Point(0.0, loss, gradient, slope), t, direction, h, h["max_eval"] - used)
                state["t"] = t = found.t
                loss, gradient = found.value, found.gradient
                self._move(t, direction)
            else:
                self._move(t, direction)
                if iteration == h["max_iter"]:
                    break  # the next step begins with the evaluation that is left out here
                value, gradient = evaluate()
                loss = checks.measure(self._name, "the closure's loss", value)
            if (
                state["func_evals"] - first_evaluation >= h["max_eval"]
                or _largest(direction * t) <= h["tolerance_change"]
                or abs(loss - state["prev_loss"]) < h["tolerance_change"]
            ):
                break
        return first_loss

    def _direction(self, gradient: Tensor, state: State, history_size: int) -> Tensor:
        """Return -H ∇f by Algorithm 7.4, after the last step was taken into the history."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -gradient
        ys, ss, rhos = state["old_dirs"], state["old_stps"], state["ro"]  # torch's names of y, s and ρ
        y, s = gradient - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = float(y.dot(s))
        if curvature > 1e-10:  # else H would no longer be positive definite
            if len(ys) == history_size:
                del ys[0], ss[0], rhos[0]
            ys.append(y)
            ss.append(s)
            rhos.append(1.0 / curvature)
            state["H_diag"] = curvature / float(y.dot(y))  # equation (7.20)
        q = -gradient
        alphas = []
        for y, s, rho in zip(reversed(ys), reversed(ss), reversed(rhos), strict=True):
            alphas.append(float(s.dot(q)) * float(rho))
            q.add_(y, alpha=-alphas[-1])
        r = q.mul_(float(state["H_diag"]))
        for y, s, rho, alpha in zip(ys, ss, rhos, reversed(alphas), strict=True):
            r.add_(s, alpha=alpha - float(y.dot(r)) * float(rho))
        return r

    def _search(
        self,
        evaluate: Callable[[], tuple[SupportsFloat, Tensor]],
        start: Point,
        t: float,
        direction: Tensor,
        h: Options,
        evaluations: int,
    ) -> Point:
        """Return the point along `direction` that satisfies Wolfe's conditions; the parameters are as before."""
        before = [values.clone() for values in self._values()]

        def at(t: float) -> Point:
            self._move(t, direction)
            value, gradient = evaluate()
            for values, old in zip(self._values(), before, strict=True):
                values.copy_(old)
            loss = checks.measure(self._name, "the closure's loss", value)
            return Point(t, loss, gradient, float(gradient.dot(direction)))

        return strong_wolfe(at, start, t, _largest(direction), h["tolerance_change"], evaluations)

    def _values(self) -> list[Tensor]:
        """Return the values of all parameters, complex ones as pairs of real numbers."""
        found = [param.detach() if isinstance(param, Tensor) else param.data for param in self._params()]
        return [torch.view_as_real(values) if values.is_complex() else values for values in found]

    def _gradient(self) -> Tensor:
        """Return the gradient of all parameters as one vector; zeros where there is none."""
        parts = []
        for param, values in zip(self._params(), self._values(), strict=True):
            grad: Any = param.grad
            if grad is None:
                parts.append(values.new_zeros(values.numel()))
                continue
            grad = grad.detach().to_dense() if grad.layout is not torch.strided else grad.detach()
            parts.append((torch.view_as_real(grad.resolve_conj()) if grad.is_complex() else grad).reshape(-1))
        return torch.cat(parts)

    def _move(self, t: float, direction: Tensor) -> None:
        """Let θ ← θ + t · direction."""
        offset = 0
        for values in self._values():
            values.add_(direction[offset : offset + values.numel()].view_as(values), alpha=t)
            offset += values.numel()


def _largest(x: Tensor) -> float:
    return float(x.abs().max())
