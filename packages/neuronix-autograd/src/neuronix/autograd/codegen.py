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
from inspect import Parameter
from types import FunctionType
from typing import Any, cast

from neuronix.autograd import recording
from neuronix.autograd.graph import SWEEP_TEST
from neuronix.autograd.node import saved_slot
from neuronix.autograd.primitive import Primitive, Rule

__all__ = ["generate"]


def generate(op: Primitive) -> None:
    """Write ``op``'s call and the class of its nodes, and put the call's code into the function that users hold."""
    name = op.function.__name__ if op.function is not None else op.name
    source = "\n\n".join(["\n".join(_call(op, name)), "\n".join(_node_class(op))])
    filename = f"<neuronix primitive {op.name} 0x{id(op):x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    function = cast(FunctionType, op.function)
    scope = function.__globals__
    scope.update(recording.NAMES, op=op, forward=op.forward)
    for rule in op.distinct_rules:
        scope[_rule_name(rule)] = rule.function
    for rule in op.kernels.values():
        scope[_kernel_name(rule)] = rule.function
    defaults = {f"_default_{p.name}": p.default for p in op.signature.parameters.values() if p.default is not p.empty}
    scope.update(defaults)
    made: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), scope, made)
    op.generated = source
    for generated_class in (_class_name(op), _complex_class_name(op)):
        if generated_class in made:
            made[generated_class].op = op
            scope[generated_class] = made[generated_class]
    op.node_class = made[_class_name(op)]
    # The code last: another thread may be calling the function just now.
    function.__defaults__ = made[name].__defaults__
    function.__kwdefaults__ = made[name].__kwdefaults__
    function.__code__ = made[name].__code__


def _class_name(op: Primitive) -> str:
    return "".join(part.capitalize() for part in op.name.split("_")) + "Node"


def _complex_class_name(op: Primitive) -> str:
    return f"Complex{_class_name(op)}"


def _rule_name(rule: Rule) -> str:
    return f"rule_{'_'.join(rule.wrt)}"


def _kernel_name(rule: Rule) -> str:
    return f"kernel_{'_'.join(rule.wrt)}"


# The call (its own names begin with an underscore, so that no parameter's name can meet them)


def _call(op: Primitive, name: str) -> list[str]:
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
            return [f"    {name}_data = number_of({name}) if isinstance({name}, CustomTensor) else {name}"]
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
    for name in names:
        lines += _parent(op, name)
    singles = [name for name in names if not op.takes_list(name)]
    lists = [name for name in names if op.takes_list(name)]
    restores = [*(f"{name}_restore" for name in singles), *(f"*{name}_restores" for name in lists)]
    changed = [*(f"{name}_restore" for name in singles), *(f"any({name}_restores)" for name in lists)]
    node = f"{_class_name(op)}()"
    if op.holomorphic:
        node = f"{_complex_class_name(op)}() if _dtype.is_complex else {node}"
    lines += [
        "        _restore = None",
        f"        if {' or '.join(changed)}:",
        "            if not is_differentiable(_dtype):",
        "                return constant_result(_value)",
        f"            _restore = ({', '.join(restores)},)",
        f"        _node = {node}",
        *(f"        _node.{slot} = {slot}" for slot in _parent_slots(op)),
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
        f"        return {f'view_of(_out, {op.parameters[0]})' if op.view else '_out'}",
    ]
    return lines


def _parent_slots(op: Primitive) -> list[str]:
    """The places for parents, in the order of the differentiable arguments."""
    return [f"{name}_parents" if op.takes_list(name) else f"{name}_parent" for name in op.differentiable]


def _saved_slots(op: Primitive) -> list[str]:
    """The places for saved values and their versions."""
    return [
        *(saved_slot(name) for name in op.saved_names),
        *(f"{name}_version" for name in op.saved_names if _has_version(op, name)),
    ]


def _register(singles: list[str], lists: list[str]) -> list[str]:
    """Statements that enter the node into its graph: `AutogradGraph.record`, written out where parents are few."""
    if lists or len(singles) > 2:
        return ["        _graph.record(_node)"]
    first, *others = singles
    lines = [
        "        if _graph.has_foreign_parents:",
        "            _graph.record(_node)",
        "        else:",
        "            _node.graph = _graph",
        "            _node.hooks = _node.notes = None",
        "            _node.freed = False",
        "            _node.sequence = _sequence = next_sequence()",
    ]
    if not others:
        lines += [f"            _node._index = _graph.add_child({first}_parent._index, weak(_node), None)"]
    for other in others:
        lines += [
            f"            if {first}_parent is None:",
            f"                _node._index = _graph.add_child({other}_parent._index, weak(_node), None)",
            "            else:",
            f"                _node._index = _index = _graph.add_child({first}_parent._index, weak(_node), None)",
            f"                if {other}_parent is not None:",
            f"                    _graph.add_edge({other}_parent._index, _index, None)",
        ]
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
        source = "_value" if argument == "out" else f"{argument}_data"
        users = op.needed_by(name)
        always = set(users) >= set(op.differentiable)
        condition = "" if always else f" if {' or '.join(f'{user}_tracked' for user in users)} else None"
        kept = f"shape_of({source})" if op.keeps_shape_only(name) else source
        lines.append(f"            _node.{saved_slot(name)} = {kept}{condition}")
        if _has_version(op, name):
            otherwise = f"versions_of({source})" if _may_hold_tensors(op, name) else "None"
            version = f"{source}._version if isinstance({source}, Tensor) else {otherwise}"
            lines.append(f"            _node.{name}_version = {f'({version}){condition}' if condition else version}")
    return lines


def _has_version(op: Primitive, name: str) -> bool:
    """Whether a saved value can be changed in place by others: it is a tensor, and not only its shape is kept."""
    if op.keeps_shape_only(name):
        return False
    return name == "out" or op.may_be_tensor(name)


def _may_hold_tensors(op: Primitive, name: str) -> bool:
    """Whether a saved value can be several tensors: a list argument, a tuple of indices, or several results."""
    if name == "out":
        return not op.broadcasts
    annotation = op.signature.parameters[name].annotation
    return not (isinstance(annotation, str) and annotation.startswith("Tensor"))


# The class of nodes


def _node_class(op: Primitive) -> list[str]:
    """The class of ``op``'s nodes, and the one for complex results."""
    parents, saved = _parent_slots(op), _saved_slots(op)
    items = "".join(f"*self.{slot}, " if slot.endswith("_parents") else f"self.{slot}, " for slot in parents)
    lines = [
        f"class {_class_name(op)}(Node):",
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
            f"class {_complex_class_name(op)}({_class_name(op)}):",
            "    __slots__ = ()",
            "",
            *_pullback(op, conjugate=True),
        ]
    return lines


def _pullback(op: Primitive, *, conjugate: bool) -> list[str]:
    """The method that turns a result's gradient into the arguments' gradients."""
    names = op.differentiable
    saved = list(op.saved_names)
    versioned = [n for n in saved if _has_version(op, n)]
    lines = [f"    {slot} = node.{slot}" for slot in _parent_slots(op)]
    lines += ["    restore = node.restore", *(f"    {saved_slot(n)} = node.{saved_slot(n)}" for n in saved)]
    for n in versioned:
        now, known = f"{saved_slot(n)}._version", f"node.{n}_version is not None"
        if n == "out" and _may_hold_tensors(op, n):
            known = f"{known} and isinstance(out_saved, Tensor)"  # several results are checked when they are read
        elif _may_hold_tensors(op, n):
            now = f"({now} if isinstance({saved_slot(n)}, Tensor) else versions_of({saved_slot(n)}))"
        lines += [
            f"    if {known} and {now} != node.{n}_version:",
            f"        raise modified(node, {n!r}, {saved_slot(n)}, node.{n}_version)",
        ]
    lines += _rewrap(op, saved)
    if "out" in versioned and _may_hold_tensors(op, "out"):
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


def _rewrap(op: Primitive, saved: list[str]) -> list[str]:
    """Statements that link the saved values to their history again, so that the rules themselves are recorded."""
    lines = []
    for name in saved:
        if op.keeps_shape_only(name):
            continue
        if name == "out":
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
        needs = [f"{n}_parent is not None" for n in rule.wrt]
        lines = [f"    needs = ({', '.join(needs)},)", "    if True in needs:"]
    elif op.takes_list(rule.wrt[0]):
        lines = ["    if True:"]
    else:
        lines = [f"    if {rule.wrt[0]}_parent is not None:"]
    targets = ", ".join(f"{n}_grad" for n in rule.wrt)
    if kernel is not None:
        lines += [
            "        if recording or uses_rules_only() or not is_plain(grad):",
            f"            {targets} = {_rule_name(rule)}({_rule_arguments(op, rule)})",
            "        else:",
            f"            {targets} = {_kernel_name(kernel)}({_rule_arguments(op, kernel)})",
        ]
    else:
        lines.append(f"        {targets} = {_rule_name(rule)}({_rule_arguments(op, rule)})")
    for name in rule.wrt:
        position = names.index(name)
        if op.takes_list(name):
            conj = "conjugated" if conjugate else "as_is"
            lines.append(f"        accumulate_list(grads, {name}_parents, {name}_grad, restore, {position}, {conj})")
            continue
        guard = f"{name}_parent is not None and {name}_grad is not None" if joint else f"{name}_grad is not None"
        lines.append(f"        if {guard}:")
        if conjugate:
            lines.append(f"            {name}_grad = conjugated({name}_grad)")
        lines += [
            f"            if restore is not None and restore[{position}] is not None:",
            f"                {name}_grad = restored({name}_grad, restore[{position}])",
            f"            held = grads.get({name}_parent)",
            f"            grads[{name}_parent] = {name}_grad if held is None else added(held, {name}_grad)",
        ]
    return lines


def _rule_arguments(op: Primitive, rule: Rule) -> str:
    return ", ".join(n if n in ("grad", "needs") else saved_slot(op.slot(rule, n)) for n in rule.parameters)
