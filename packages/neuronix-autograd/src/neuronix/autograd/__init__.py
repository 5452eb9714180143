"""Automatic differentiation that can be read: a graph, a tensor, and the rules."""

import gc as _gc

# What an import makes stays, so there is nothing to collect; and torch leaves Python's collector so near to its next
# full round that it would come here, through all of torch's objects, and take twice as long as the import itself.
_collects = _gc.isenabled()
_gc.disable()
try:
    from neuronix.autograd import disguise, drawing, errors, ops, testing
    from neuronix.autograd.__about__ import __version__ as __version__
    from neuronix.autograd.backward import grad
    from neuronix.autograd.compiled_sums import compiled_reductions
    from neuronix.autograd.compiling import compile
    from neuronix.autograd.dispatch.torch_function import bind_remaining_methods as _bind_remaining_methods
    from neuronix.autograd.graph import AutogradGraph
    from neuronix.autograd.modes import (
        enable_grad,
        is_grad_enabled,
        no_grad,
        rules_only,
        set_grad_enabled,
        uses_rules_only,
    )
    from neuronix.autograd.primitive import Shape, composite, primitive
    from neuronix.autograd.tensor import CustomTensor, tensor
    from neuronix.autograd.testing.checking import gradcheck, gradgradcheck
    from neuronix.autograd.transforms.functional import hessian, hvp, jacobian, vhp
    from neuronix.autograd.transforms.products import jvp, vjp
    from neuronix.autograd.watching.anomaly import detect_anomaly, record_lines
    from neuronix.autograd.watching.hooks import RemovableHandle
    from neuronix.autograd.watching.saved_tensors import checkpoint, saved_tensors_hooks

    _bind_remaining_methods()
finally:
    if _collects:
        _gc.enable()

__all__ = [
    "AutogradGraph",
    "CustomTensor",
    "RemovableHandle",
    "Shape",
    "checkpoint",
    "compile",
    "compiled_reductions",
    "composite",
    "detect_anomaly",
    "disguise",
    "drawing",
    "enable_grad",
    "errors",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "hessian",
    "hvp",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "no_grad",
    "ops",
    "primitive",
    "record_lines",
    "rules_only",
    "saved_tensors_hooks",
    "set_grad_enabled",
    "tensor",
    "testing",
    "uses_rules_only",
    "vhp",
    "vjp",
]
