"""The class of an operation's nodes, with the method that turns the result's gradient into the arguments'."""

from __future__ import annotations

from neuronix.autograd.node import saved_slot
from neuronix.autograd.primitive import Primitive, Rule
from neuronix.autograd.primitive.names import (
    class_name,
    complex_class_name,
    has_version,
    kernel_name,
    may_hold_tensors,
    parent_slots,
    rule_name,
    saved_slots,
)

__all__ = ["node_class"]


def node_class(op: Primitive) -> list[str]:
    """The class of ``op``'s nodes, and the one for complex results."""
    parents, saved = parent_slots(op), saved_slots(op)
    items = "".join(f"*self.{slot}, " if slot.endswith("_parents") else f"self.{slot}, " for slot in parents)
    lines = [
        f"class {class_name(op)}(Node):",
        f"    __slots__ = ({''.join(f'{slot!r}, ' for slot in parents + saved)})",
    ]
    if not op.rules:
        return lines
    lines += [
        "",
        "    @property",
        "    def parents(self):",
        f"        return ({items})",
        "",
        "    def release(self):",
        "        self.freed = True",
        *(f"        self.{slot} = {'()' if slot.endswith('_parents') else None}" for slot in parents + saved),
        "",
        *_pullback(op, conjugate=False),
    ]
    if op.holomorphic:
        lines += [
            "",
            f"class {complex_class_name(op)}({class_name(op)}):",
            "    __slots__ = ()",
            "",
            *_pullback(op, conjugate=True),
        ]
    return lines


def _pullback(op: Primitive, *, conjugate: bool) -> list[str]:
    """The method that turns a result's gradient into the arguments' gradients."""
    names = op.differentiable
    saved = list(op.saved_names)
    versioned = [n for n in saved if has_version(op, n)]
    lines = [f"    {slot} = node.{slot}" for slot in parent_slots(op)]
    lines += ["    restore = node.restore", *(f"    {saved_slot(n)} = node.{saved_slot(n)}" for n in saved)]
    for n in versioned:
        now, known = f"{saved_slot(n)}._version", f"node.{n}_version is not None"
        if n == "out" and may_hold_tensors(op, n):
            known = f"{known} and isinstance(out_saved, Tensor)"  # several results are checked when they are read
        elif may_hold_tensors(op, n):
            now = f"({now} if isinstance({saved_slot(n)}, Tensor) else versions_of({saved_slot(n)}))"
        lines += [
            f"    if {known} and {now} != node.{n}_version:",
            f"        raise modified(node.name, {_called(op, n)!r}, {saved_slot(n)}, node.{n}_version)",
        ]
    lines += _rewrap(op, saved)
    if "out" in versioned and may_hold_tensors(op, "out"):
        lines.append("    out_saved = results_to_read(node, out_saved, node.out_version)")
    if conjugate:
        lines.append("    grad = conjugated(grad)")
    for rule in op.distinct_rules:
        lines += _apply_rule(op, rule, names, conjugate)
    lines += ["    if not retain_graph:", "        node.freed = True"]
    if saved:
        lines.append(f"        {' = '.join(f'node.{saved_slot(n)}' for n in saved)} = None")
    return [
        "    def pullback(node, grad, grads, recording, retain_graph):",
        *(f"    {line}" for line in lines),
    ]


def _called(op: Primitive, name: str) -> str:
    """What an error calls a saved value."""
    return f"result {name!r}" if name in op.results else name


def _rewrap(op: Primitive, saved: list[str]) -> list[str]:
    """Statements that link the saved values to their history again, so that the rules themselves are recorded."""
    lines = []
    for name in saved:
        if op.keeps_shape_only(name):
            continue
        if name in op.results:
            position = op.results.index(name)
            lines.append(f"        {saved_slot(name)} = recorded_result({saved_slot(name)}, node, {position})")
        elif name == "out":
            lines.append(f"        {saved_slot(name)} = recorded_output({saved_slot(name)}, node)")
        elif name in op.rules and op.takes_list(name):
            lines.append(
                f"        {saved_slot(name)} = [recorded(v, p) for v, p in zip({saved_slot(name)}, {name}_parents)]"
            )
        elif name in op.rules:
            lines.append(f"        {saved_slot(name)} = recorded({saved_slot(name)}, {name}_parent)")
    return ["    if recording:", *lines] if lines else []


def _apply_rule(op: Primitive, rule: Rule, names: tuple[str, ...], conjugate: bool) -> list[str]:
    """Statements that call a rule, if it is needed, and hand its gradients on."""
    joint = len(rule.wrt) > 1
    # torch's kernels conjugate for complex numbers by themselves, so there the rule is used
    kernel = None if conjugate else op.kernels.get(rule.wrt[0])
    if joint:
        needs = [_is_needed(op, n) for n in rule.wrt]
        lines = [f"    needs = ({', '.join(needs)},)", "    if True in needs:"]
    else:
        lines = [f"    if {_is_needed(op, rule.wrt[0])}:"]
    result = "_grads" if joint else f"{rule.wrt[0]}_grad"
    if kernel is not None:
        lines += [
            "        if recording or uses_rules_only() or not is_plain(grad):",
            f"            {result} = {rule_name(rule)}({_rule_arguments(op, rule)})",
            "        else:",
            f"            {result} = {kernel_name(kernel)}({_rule_arguments(op, kernel)})",
        ]
    else:
        lines.append(f"        {result} = {rule_name(rule)}({_rule_arguments(op, rule)})")
    if joint:
        count = len(rule.wrt)
        lines += [
            f"        if type(_grads) is not tuple or len(_grads) != {count}:",
            f"            _grads = all_gradients(op, {rule_name(rule)}, _grads, {count})",
            f"        {', '.join(f'{n}_grad' for n in rule.wrt)} = _grads",
        ]
    for name in rule.wrt:
        position = names.index(name)
        if op.takes_list(name):
            conj = "conjugated" if conjugate else "as_is"
            values = f"all_gradients(op, {rule_name(rule)}, {name}_grad, len({name}_parents))"
            if joint:
                lines.append(f"        if {_is_needed(op, name)}:")
            call = f"accumulate_list(grads, {name}_parents, {values}, restore, {position}, {conj})"
            lines.append(f"        {'    ' if joint else ''}{call}")
            continue
        guard = f"{name}_parent is not None and {name}_grad is not None" if joint else f"{name}_grad is not None"
        lines.append(f"        if {guard}:")
        if not op.forward.__module__.startswith("neuronix."):  # of our own operations the tests know it
            shapes = f"{name}_parent.shape, {'node.shape' if op.broadcasts else 'None'}"
            lines.append(f"            check_gradient(op, {rule_name(rule)}, {name!r}, {name}_grad, {shapes})")
        if conjugate:
            lines.append(f"            {name}_grad = conjugated({name}_grad)")
        lines += [
            f"            if restore is not None and restore[{position}] is not None:",
            f"                {name}_grad = restored({name}_grad, restore[{position}])",
            f"            held = grads.get({name}_parent)",
            f"            grads[{name}_parent] = {name}_grad if held is None else summed(held, {name}_grad)",
        ]
    return lines


def _is_needed(op: Primitive, name: str) -> str:
    """An expression: whether somebody wants a gradient of the argument, or of a tensor of a list argument."""
    if op.takes_list(name):
        return f"any([p is not None for p in {name}_parents])"
    return f"{name}_parent is not None"


def _rule_arguments(op: Primitive, rule: Rule) -> str:
    return ", ".join(n if n in ("grad", "needs") else saved_slot(op.slot(rule, n)) for n in rule.parameters)
