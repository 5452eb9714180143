"""What generated code calls things, and which of them a node has a place for."""

from __future__ import annotations

from neuronix.autograd.node import saved_slot
from neuronix.autograd.primitive import Primitive, Rule

__all__ = [
    "class_name",
    "complex_class_name",
    "has_version",
    "kernel_name",
    "may_hold_tensors",
    "parent_slots",
    "rule_name",
    "saved_slots",
]


def class_name(op: Primitive) -> str:
    return "".join(part.capitalize() for part in op.name.split("_")) + "Node"


def complex_class_name(op: Primitive) -> str:
    return f"Complex{class_name(op)}"


def rule_name(rule: Rule) -> str:
    return f"rule_{'_'.join(rule.wrt)}"


def kernel_name(rule: Rule) -> str:
    return f"kernel_{'_'.join(rule.wrt)}"


def parent_slots(op: Primitive) -> list[str]:
    """The places for parents, in the order of the differentiable arguments."""
    return [f"{name}_parents" if op.takes_list(name) else f"{name}_parent" for name in op.differentiable]


def saved_slots(op: Primitive) -> list[str]:
    """The places for saved values and their versions."""
    return [
        *(saved_slot(name) for name in op.saved_names),
        *(f"{name}_version" for name in op.saved_names if has_version(op, name)),
    ]


def has_version(op: Primitive, name: str) -> bool:
    """Whether a saved value can be changed in place by others: it is a tensor, and not only its shape is kept."""
    if op.keeps_shape_only(name):
        return False
    return name == "out" or name in op.results or op.may_be_tensor(name)


def may_hold_tensors(op: Primitive, name: str) -> bool:
    """Whether a saved value can be several tensors: a list argument, a tuple of indices, or several results."""
    if name == "out":
        return not op.broadcasts
    if name in op.results:
        return False
    annotation = op.signature.parameters[name].annotation
    return not (isinstance(annotation, str) and annotation.startswith("Tensor"))
