"""Compile a whole training step: forward pass, backward pass and update become one graph of array operations.

The rules are expressions over tensors, so PyTorch's tracer (``make_fx``) can be led through an entire step once and
write down every array operation that happens, the derivatives and the optimizer's lines among them.  Nothing of the
engine is left in that graph: no nodes, no tensors of ours.  ``torch.compile``'s backend (Inductor) makes machine code
of it, and each later call runs that.

What makes it a *training* step is state.  Its tensors become inputs of the graph, are changed in place by it, or come
back as outputs and are put where the step would have put them.

In reading order:

* ``step.py``: what a user calls; which graph serves which call.
* ``places.py``: where the tensors of arguments and state are, and what else a graph depends on.
* ``pattern.py``: whether a call finds what the one before has found.
* ``tracing.py``: one tracing, with stand-ins in the tensors' places; what the step has changed.
* ``program.py``: what comes of it, and how it runs.
* ``passes.py``: what is done to a graph before it is compiled.
* ``parts.py``: which operations are compiled together.
* ``labels.py``: where each array operation came from, and the graph as text.
* ``reasons.py``: why a step can't be traced, in words.
"""

from neuronix.autograd.compiling.step import CompiledStep, compile

__all__ = ["CompiledStep", "compile"]
