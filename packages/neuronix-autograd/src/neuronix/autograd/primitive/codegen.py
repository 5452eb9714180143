"""The Python source behind a primitive: the class of its nodes, and the function that calls and records.

A generic call would look at the operation's signature and rules each time.  They are known when the operation is
declared, so the code is written out for it, once; ``print(mul.primitive.source)`` shows it, and a debugger steps
through it.  (On a chain of small operations, relative to PyTorch: a generic backward loop took 1.64, a generated one
1.22.)

A node has a place for each thing that its operation must remember:

* ``x_parent``: the node of a differentiable argument; ``tensors_parents``: those of a list argument.
* ``x_saved``: a value that the rules name, and ``x_version``, how often it had been changed, if it is a tensor.

Places of its own, not tuples: Python's cyclic collector follows every container that lives long, and a tuple for each
operation is a container for each operation.
"""

from __future__ import annotations

import linecache
from types import FunctionType
from typing import Any, cast

from neuronix.autograd.primitive import Primitive, runtime
from neuronix.autograd.primitive.calls import call
from neuronix.autograd.primitive.names import class_name, complex_class_name, kernel_name, rule_name
from neuronix.autograd.primitive.pullbacks import node_class

__all__ = ["generate"]


def generate(op: Primitive) -> None:
    """Write ``op``'s call and the class of its nodes, and put the call's code into the function that users hold."""
    name = op.function.__name__ if op.function is not None else op.name
    source = "\n\n".join(["\n".join(call(op, name)), "\n".join(node_class(op))])
    filename = f"<neuronix primitive {op.name} 0x{id(op):x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    function = cast(FunctionType, op.function)
    scope = function.__globals__
    scope.update(runtime.NAMES, op=op, forward=op.forward)
    for rule in op.distinct_rules:
        scope[rule_name(rule)] = rule.function
    for rule in op.kernels.values():
        scope[kernel_name(rule)] = rule.function
    defaults = {f"_default_{p.name}": p.default for p in op.signature.parameters.values() if p.default is not p.empty}
    scope.update(defaults)
    made: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), scope, made)
    op.generated = source
    for generated_class in (class_name(op), complex_class_name(op)):
        if generated_class in made:
            made[generated_class].op = op
            scope[generated_class] = made[generated_class]
    op.node_class = made[class_name(op)]
    # The code last: another thread may be calling the function just now.
    function.__defaults__ = made[name].__defaults__
    function.__kwdefaults__ = made[name].__kwdefaults__
    function.__code__ = made[name].__code__
