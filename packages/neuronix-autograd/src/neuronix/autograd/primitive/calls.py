"""The function that users call: it computes, and if an argument requires grad, records.

Its own names begin with an underscore, so that no parameter's name can meet them.
"""

from __future__ import annotations

from inspect import Parameter

from neuronix.autograd.graph import SWEEP_TEST
from neuronix.autograd.node import saved_slot
from neuronix.autograd.primitive import Primitive
from neuronix.autograd.primitive.names import (
    class_name,
    complex_class_name,
    has_version,
    may_hold_tensors,
    parent_slots,
)

__all__ = ["call"]


def call(op: Primitive, name: str) -> list[str]:
    lines = [f"def {name}({_parameters(op)}):"]
    for parameter in op.parameters:
        lines += _unwrap(op, parameter)
    lines += [
        "    try:",
        f"        _value = forward({_arguments(op)})",
        "    except ARGUMENT_ERRORS as _error:",
        f"        raise explained(op, _error, ({_data(op)})) from _error",
    ]
    if op.differentiable:
        lines += _record(op)
    tensors = "".join(f"{name}, " for name in op.parameters if op.may_be_tensor(name))
    lines += ["    if in_plain_pass():", f"        return result_in_rule(_value, ({tensors}))"]
    lines += ["    if watchers():", f"        watch_computed(op, _value, ({_data(op)}))"]
    result = f"view_of(constant_result(_value), {op.parameters[0]})" if op.view else "constant_result(_value)"
    lines.append(f"    return {result}")
    return lines


def _data(op: Primitive) -> str:
    """The arguments as torch tensors, in a tuple's parentheses."""
    return "".join(f"{name}_data, " for name in op.parameters)


def _parameters(op: Primitive) -> str:
    parts = []
    star = False
    for parameter in op.signature.parameters.values():
        if parameter.kind is Parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        default = "" if parameter.default is parameter.empty else f"=_default_{parameter.name}"
        parts.append(f"{parameter.name}{default}")
    return ", ".join(parts)


def _arguments(op: Primitive) -> str:
    return ", ".join(
        f"{p.name}={p.name}_data" if p.kind is Parameter.KEYWORD_ONLY else f"{p.name}_data"
        for p in op.signature.parameters.values()
    )


def _unwrap(op: Primitive, name: str) -> list[str]:
    """Statements that set ``name_data``, and for a differentiable argument ``name_tracked``."""
    if name not in op.rules:
        if not op.may_be_tensor(name):
            return [f"    {name}_data = {name} if type({name}) in NUMBERS else number_of({name})"]
        return [f"    {name}_data = " + (f"value_of({name})" if op.constant else f"plain(op, {name!r}, {name})")]
    if op.takes_list(name):
        return [f"    {name}_data, {name}_tracked = unwrap_list({name})"]
    return [
        f"    if isinstance({name}, CustomTensor):",
        f"        {name}_data = {name}._data",
        f"        {name}_tracked = {name}._requires_grad",
        "    else:",
        f"        {name}_data = constant({name})",
        f"        {name}_tracked = False",
    ]


def _record(op: Primitive) -> list[str]:
    """Statements that make the node, if an argument requires grad, and return the result."""
    names = op.differentiable
    shape, dtype = "_value.shape", "_value.dtype"
    if not op.broadcasts:  # it may have several results
        shape, dtype = (
            f"{shape} if isinstance(_value, Tensor) else None",
            f"first_dtype(_value) if _shape is None else {dtype}",
        )
    lines = [
        f"    if ({' or '.join(f'{name}_tracked' for name in names)}) and (_mode := recording_mode()):",
        f"        _shape = {shape}",
        f"        _dtype = {dtype}",
        "        _graph = graph_of_block(None) or current_graph()",
    ]
    if op.results:
        lines += ["        if _shape is not None:", "            raise wrong_results(op, 1)"]
    for name in names:
        lines += _parent(op, name)
    singles = [name for name in names if not op.takes_list(name)]
    lists = [name for name in names if op.takes_list(name)]
    restores = [f"{name}_restore" for name in singles]
    if not op.broadcasts:  # its types are mixed: a rule may give the gradient of any argument in any of them
        restores = [f"{name}_parent and ({name}_parent.shape, {name}_parent.dtype)" for name in singles]
    restores += [f"*{name}_restores" for name in lists]
    changed = [*(f"{name}_restore" for name in singles), *(f"any({name}_restores)" for name in lists)]
    node = f"{class_name(op)}()"
    if op.holomorphic:
        node = f"{complex_class_name(op)}() if _dtype.is_complex else {node}"
    lines += [
        "        _restore = None",
        f"        if {' or '.join(changed)}:",
        "            if not is_differentiable(_dtype):",
        "                return constant_result(_value)",
        f"            _restore = ({', '.join(restores)},)",
        f"        _node = {node}",
        *(f"        _node.{slot} = {slot}" for slot in parent_slots(op)),
        "        _node.restore = _restore",
        "        _node.shape = _shape",
        "        _node.dtype = _dtype",
        "        try:",
        *_save(op),
        f"            _version = _value._version{'' if op.broadcasts else ' if _shape is not None else None'}",
        "        except RuntimeError as _error:  # torch.inference_mode",
        "            raise without_version(op, _error) from _error",
        *_register(singles, lists),
        "        if _mode is not True:",
        f"            watch_recorded(_mode, _node, _value, ({_data(op)}))",
    ]
    if not op.broadcasts:
        results = "outputs_of(_node, _value)"
        lines += [
            "        if _shape is None:",
            f"            return {f'view_of({results}, {op.parameters[0]})' if op.view else results}",
        ]
    lines += [
        "        _out = new(CustomTensor)",
        "        _out._data = _value",
        "        _out._requires_grad = True",
        "        _out._node = _node",
        "        _out._version = _version",
        "        _out._grad = _out._base = _out._views = _out._hooks = None",
    ]
    if op.view:
        base = op.parameters[0]
        lines += [f"        if isinstance({base}, CustomTensor):", f"            {base}.add_view(_out)"]
    return [*lines, "        return _out"]


def _register(singles: list[str], lists: list[str]) -> list[str]:
    """Statements that enter the node into its graph: `AutogradGraph.record`, written out unless there are lists."""
    if lists:
        return ["        _graph.record(_node)"]
    lines = [
        "        if _graph.has_foreign_parents:",
        "            _graph.record(_node)",
        "        else:",
        "            _node.graph = _graph",
        "            _node.hooks = _node.notes = None",
        "            _node.freed = False",
        "            _node.sequence = _sequence = next_sequence()",
    ]
    child = "_graph.add_child({}_parent._index, weak(_node), None)"
    first, *others = singles
    if others:
        lines.append(f"            _index = {child.format(first)} if {first}_parent is not None else None")
        for other in others:
            lines += [
                f"            if {other}_parent is not None:",
                "                if _index is None:",
                f"                    _index = {child.format(other)}",
                "                else:",
                f"                    _graph.add_edge({other}_parent._index, _index, None)",
            ]
        lines.append("            _node._index = _index")
    else:
        lines.append(f"            _node._index = {child.format(first)}")
    return [
        *lines,
        f"            if not _sequence & {SWEEP_TEST}:",
        "                _graph.sweep_if_grown()",
    ]


def _parent(op: Primitive, name: str) -> list[str]:
    """Statements that find the node of an argument, and what its gradient must be brought back to."""
    if op.takes_list(name):
        return [f"        {name}_parents, {name}_restores = list_parents(op, _graph, {name}, _dtype)"]
    # A node knows its result's shape and dtype, and asking it is cheaper than asking the tensor.
    different = f"{name}_parent.dtype is not _dtype"
    if op.broadcasts:
        different = f"{name}_parent.shape != _shape or {different}"
    lines = [
        f"        {name}_parent = {name}_restore = None",
        f"        if {name}_tracked:",
        f"            {name}_parent = {name}._node",
        f"            if {name}_parent is None:",
        f"                {name}_parent = _graph.leaf_node({name})",
        "            else:",
        f"                if {name}_data._version != {name}._version:",
        f"                    raise changed_behind(op, {name!r}, {name})",
        f"                if {name}_parent.graph is not _graph:",
        f"                    _graph.admit({name}_parent, op.name)",
        f"            if {different}:",
        f"                {name}_restore = ({name}_parent.shape, {name}_parent.dtype)",
    ]
    if op.broadcasts:
        # One torch.Size serves a whole history: each is an object more for Python's collector to look at.
        lines += ["            else:", f"                _shape = {name}_parent.shape"]
    return lines


def _save(op: Primitive) -> list[str]:
    """Statements that keep what the rules of the arguments that require grad name."""
    lines = []
    for name in op.saved_names:
        argument = name.removesuffix(".shape")
        if argument in op.results:
            source = f"_value[{op.results.index(argument)}]"
        else:
            source = "_value" if argument == "out" else f"{argument}_data"
        users = op.needed_by(name)
        always = set(users) >= set(op.differentiable)
        condition = "" if always else f" if {' or '.join(f'{user}_tracked' for user in users)} else None"
        kept = f"shape_of({source})" if op.keeps_shape_only(name) else source
        lines.append(f"            _node.{saved_slot(name)} = {kept}{condition}")
        if has_version(op, name):
            otherwise = f"versions_of({source})" if may_hold_tensors(op, name) else "None"
            version = f"{source}._version if isinstance({source}, Tensor) else {otherwise}"
            lines.append(f"            _node.{name}_version = {f'({version}){condition}' if condition else version}")
    return lines
