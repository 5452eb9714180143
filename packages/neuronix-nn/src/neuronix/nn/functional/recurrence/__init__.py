"""One recurrent layer in one direction, and its derivative.

| file | |
|---|---|
| ``sweep.py`` | the loop that takes a state along sequences, and what all derivatives share |
| ``elman.py`` | the simple network |
| ``gru.py`` | gated recurrent units |
| ``lstm.py`` | long short-term memory |
| ``onednn.py`` | the same by a library's kernels, where torch uses them |

A sequence is handed over as *rows*: those of the first time, then those of the second, and so on, with the number of
rows at each time beside them (``batch_sizes``).  A batch of equally long sequences has the same number at all times; in
a packed one the numbers fall, because the longest sequence stands first.  So there is one loop for both.

What the cells have in common is W_ih x + b_ih, which doesn't depend on the state: it is computed for all times in one
product, and a step adds what comes from the state.

The derivative is *backpropagation through time*, which is the same loop in the other direction.  With the gates
W_ih x + b_ih + W_hh h + b_hh of all steps, and with the gradient δ that they receive,

    ∂L/∂W_ih = Σ δ xᵀ,    ∂L/∂W_hh = Σ δ hᵀ,    ∂L/∂b = Σ δ,    ∂L/∂x = W_ihᵀ δ,    ∂L/∂h = W_hhᵀ δ + …

where the sums, over all rows, are one matrix product each.  Only δ itself is found step by step, since a step's δ takes
what the next one's gives to h.  So each derivative has three parts: the slopes (the derivatives of the new state by the
gates) of all rows at once; the loop; the products.

A rule takes the steps again, and goes back through them.  The kernel beside it goes back through the steps that the
forward pass has kept in a list for it; there is no list (``None``) where nothing is recorded.
"""

from neuronix.nn.functional.recurrence.elman import elman_layer
from neuronix.nn.functional.recurrence.gru import gru_layer, gru_update
from neuronix.nn.functional.recurrence.lstm import lstm_layer, lstm_update
from neuronix.nn.functional.recurrence.sweep import State

__all__ = ["State", "elman_layer", "gru_layer", "gru_update", "lstm_layer", "lstm_update"]
