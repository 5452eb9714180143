"""Finds uses of torch's differentiation in a source: its syntax tree is read, with aliases followed.

Torch's array kernels may be used, `aten.*_backward` among them, and so may `vmap`. Torch's autograd, its other `func`
transforms, its forward mode, its decompositions of backward kernels, and tensors that require torch's gradient may not.
`tests-integration/test_no_borrowing.py` reads all sources with it, and shows what it finds and what it lets pass.
"""

from __future__ import annotations

import ast
import re

FORBIDDEN = re.compile(
    r"""
      torch\.autograd(\..*)?
    | torch\.func(\.(?!vmap$).*)?                      # the module itself, handed on, is everything in it
    | (torch\._)?functorch(?!\.vmap\b)(\..*)?
    | torch\._C\._functorch\..*(grad|jvp|vjp).*
    | torch\._C\.(_autograd|_functions)(\..*)?
    | torch\._C\.(_ImperativeEngine|_EngineBase|_FunctionBase)(\..*)?
    | torch\.(_C\._)?(enable_grad|set_grad_enabled)
    | torch(\._tensor)?\.Tensor\.(backward|requires_grad_|retain_grad|register_hook|grad_fn)
    | torch\.(ops\.aten\.)?(_make_dual|_unpack_dual|_fw_primal)(\..*)?
    | torch\.utils\.checkpoint(\..*)?
    | torch\.library\.register_autograd
    | torch\._dynamo\.compiled_autograd(\..*)?
    | torch\._decomp\..*(backward|jvp).*
    | torch\.nn\.(parameter\.)?Parameter               # requires grad unless told otherwise
    """,
    re.VERBOSE,
)
NEW_TENSOR_METHODS = {"new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros"}
SUSPICIOUS_NAMES = {"autograd", "backward", "enable_grad", "requires_grad_", "set_grad_enabled"}


def constant_text(node: ast.expr) -> str | None:
    """A string that stands in the source, in one piece or in several."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = constant_text(node.left), constant_text(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.JoinedStr):
        parts = [constant_text(part) for part in node.values]
        return None if any(part is None for part in parts) else "".join(filter(None, parts))
    return None


class Checker(ast.NodeVisitor):
    """Reads one source. A name means what any import or assignment of the file made it mean, whatever the scope."""

    def __init__(self, source: str, file: str = "<source>", ours: dict[tuple[str, str], str] | None = None) -> None:
        self.file = file
        self.ours = ours or {}
        self.used_exceptions: set[tuple[str, str]] = set()
        self.found: list[str] = []
        self.functions: list[str] = []
        self.tree = ast.parse(source)
        self.aliases: dict[str, str] = {}
        self.torch_subclasses: list[bool] = []
        before = -1
        while before != len(self.aliases):  # an alias of an alias takes another turn
            before = len(self.aliases)
            self.collect_aliases()
        self.visit(self.tree)

    def collect_aliases(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    self.aliases[name.asname or name.name.partition(".")[0]] = (
                        name.name if name.asname else name.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for name in node.names:
                    self.aliases[name.asname or name.name] = f"{node.module}.{name.name}"
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self.bind(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self.bind(node.target, node.value)
            elif isinstance(node, ast.arguments):
                positional = [*node.posonlyargs, *node.args]
                pairs = [*zip(reversed(positional), reversed(node.defaults), strict=False)]
                pairs += [(name, value) for name, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value]
                for argument, value in pairs:
                    self.bind(ast.Name(argument.arg), value)

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
            for one_target, one_value in zip(target.elts, value.elts, strict=False):
                self.bind(one_target, one_value)
        elif isinstance(target, ast.Name | ast.Attribute):
            path = self.resolve(value)
            if path is not None and is_torch(path):
                self.aliases.setdefault(ast.unparse(target), path)

    def resolve(self, node: ast.expr) -> str | None:
        """The dotted path of what an expression names, if it can be told from the source."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id)
        if isinstance(node, ast.NamedExpr):
            return self.resolve(node.value)
        if isinstance(node, ast.Attribute):
            if alias := self.aliases.get(ast.unparse(node)):
                return alias
            base = self.resolve(node.value)
            return base and f"{base}.{node.attr}"
        if isinstance(node, ast.Call):
            return self.resolve_call(node)
        if isinstance(node, ast.Subscript) and (key := constant_text(node.slice)) is not None:
            if self.resolve(node.value) == "sys.modules":
                return key
            if isinstance(node.value, ast.Attribute) and node.value.attr == "__dict__":
                base = self.resolve(node.value.value)
                return base and f"{base}.{key}"
            if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "vars" and node.value.args:
                base = self.resolve(node.value.args[0])
                return base and f"{base}.{key}"
        return None

    def resolve_call(self, node: ast.Call) -> str | None:
        called = self.resolve(node.func) or ast.unparse(node.func)
        texts = [constant_text(argument) for argument in node.args]
        if called == "getattr" and len(texts) >= 2 and texts[1] is not None:
            base = self.resolve(node.args[0])
            return base and f"{base}.{texts[1]}"
        if called in ("importlib.import_module", "__import__", "builtins.__import__") and texts:
            return texts[0]
        return None

    # What is found

    def report(self, node: ast.AST, what: str) -> None:
        self.found.append(f"{self.file}:{getattr(node, 'lineno', '?')}: {what}")

    def report_unless_ours(self, node: ast.AST, what: str) -> None:
        key = (self.file, ".".join(self.functions))
        if key in self.ours:
            self.used_exceptions.add(key)
        else:
            self.report(node, what)

    def check_path(self, node: ast.AST, path: str | None) -> bool:
        if path is not None and FORBIDDEN.fullmatch(path):
            self.report_unless_ours(node, path)
            return True
        return False

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            self.check_path(node, name.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module is None:
            return
        for name in node.names:
            path = f"{node.module}.{name.name}"
            if name.name == "*" and (is_torch(node.module) or node.module == "functorch"):
                self.report(node, f"{path} hides what is used")
            else:
                self.check_path(node, path)

    def visit_scope(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.functions.append(node.name)
        if isinstance(node, ast.ClassDef):
            self.torch_subclasses.append(any(is_torch(self.resolve(base)) for base in node.bases))
        self.generic_visit(node)
        if isinstance(node, ast.ClassDef):
            self.torch_subclasses.pop()
        self.functions.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_scope

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.check_path(node, self.resolve(node))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = self.resolve(node)
        if path is None:
            if node.attr == "requires_grad_" and not self.is_own_self(node.value):
                self.report_unless_ours(node, f"{ast.unparse(node)}: a torch tensor mustn't require grad")
            self.generic_visit(node)
        else:
            self.check_path(node, path)  # once for a chain: its beginning, `torch.func`, isn't used by itself

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self.check_requires_grad_set(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.check_requires_grad_set(node.target, node.value)
        self.generic_visit(node)

    def check_requires_grad_set(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self.check_requires_grad_set(part, value)
            return
        if not isinstance(target, ast.Attribute) or target.attr != "requires_grad" or is_false(value):
            return
        if not self.is_own_self(target.value):
            self.report_unless_ours(target, f"{ast.unparse(target)} is set: a torch tensor mustn't require grad")

    def is_own_self(self, node: ast.expr) -> bool:
        """Whether an expression is `self` in a class that isn't torch's."""
        return isinstance(node, ast.Name) and node.id == "self" and not any(self.torch_subclasses)

    def visit_Call(self, node: ast.Call) -> None:
        called = self.resolve(node.func)
        name = called or ast.unparse(node.func)
        texts = [constant_text(argument) for argument in node.args]
        handed_on = [*node.args[:1]] if name.endswith("partial") else []
        torch_call = is_torch(called) or any(is_torch(self.resolve(argument)) for argument in handed_on)
        new_tensor = isinstance(node.func, ast.Attribute) and node.func.attr in NEW_TENSOR_METHODS
        for keyword in node.keywords:
            literal = keyword.value if keyword.arg is None else None
            keys = [constant_text(key) for key in literal.keys if key] if isinstance(literal, ast.Dict) else []
            asks = (keyword.arg == "requires_grad" and not is_false(keyword.value)) or "requires_grad" in keys
            if asks and (torch_call or new_tensor):
                self.report(node, f"{name}(requires_grad=…): a torch tensor mustn't require grad")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "backward" and called is None:
            receiver = node.func.value
            if not self.is_own_self(receiver) and ast.unparse(receiver) != "super()":
                self.report_unless_ours(node, f"{ast.unparse(node.func)}(): whose tensor is this?")
        if name in ("getattr", "operator.attrgetter", "operator.methodcaller", "setattr"):
            asked = texts[1] if name.endswith("etattr") and len(texts) > 1 else texts[0] if texts else None
            parts = (asked or "").split(".")
            setting = name == "setattr" and asked == "requires_grad" and not is_false(node.args[2])
            if SUSPICIOUS_NAMES & {*parts} or setting:
                self.report_unless_ours(node, f"{name}(…, {asked!r})")
        if (path := self.resolve_call(node)) is not None:
            self.check_path(node, path)
        self.check_decomposition(node, called)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.check_path(node, self.resolve(node))
        self.check_decomposition(node, self.resolve(node.value))
        self.generic_visit(node)

    def check_decomposition(self, node: ast.expr, table: str | None) -> None:
        if table is not None and table.startswith("torch._decomp") and "backward" in ast.unparse(node):
            self.report(node, f"{ast.unparse(node)}: a backward decomposition of torch")

    def visit_Expr(self, node: ast.Expr) -> None:
        if constant_text(node.value) is None:  # a docstring may speak of anything
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and re.fullmatch(r"(torch\.(autograd|func)|functorch)(\.\w+)*", node.value):
            self.report(node, f"the name {node.value!r} as a string")


def is_torch(path: str | None) -> bool:
    """Whether a dotted path begins at torch."""
    return path is not None and path.partition(".")[0] == "torch"


def is_false(node: ast.expr) -> bool:
    """Whether an expression is the literal False."""
    return isinstance(node, ast.Constant) and node.value is False


def borrowings(source: str) -> list[str]:
    """What a source borrows from torch's differentiation."""
    return Checker(source).found
