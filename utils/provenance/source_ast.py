"""Parses a Python file without executing it: definitions, their references, and a canonical text of each to hash.

A definition is a class, function or constant at the top level of a file. Top-level statements that bind no name but
have an effect (`Net.forward = other`) form one more definition, MODULE_LEVEL. The canonical text has no comments,
layout, docstrings or argument annotations, and does not depend on the version of Python. Imports no torch.
"""

import ast
import re
from dataclasses import dataclass, field

DOTTED = re.compile(r'[A-Za-z_]\w*(\.\w+)*')  # a name, dotted or not
MODULE_LEVEL = '<module>'
# AST fields without effect on the result, or that differ between Python versions.
IGNORED_FIELDS = frozenset(('ctx', 'kind', 'type_comment', 'type_ignores', 'type_params', 'returns'))
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
ASSIGNMENTS = ast.Assign | ast.AnnAssign | ast.AugAssign
COMPOUND = ast.If | ast.Try | ast.TryStar | ast.For | ast.While | ast.With | ast.Match
COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
SCOPES = FUNCTIONS | ast.ClassDef | ast.Lambda | COMPREHENSIONS
FALSE_ON_IMPORT = ('TYPE_CHECKING', '__name__')  # names in `if` conditions that are false on import


@dataclass(frozen=True)
class Import:
    """An import: `target` (dotted name), relative by `level` packages (0: absolute)."""

    target: str
    level: int = 0


@dataclass
class ParsedModule:
    """The top level of a file.

    Attributes:
        text: text of the file.
        statements: dict from a name to the statements (list) that define it.
        imports: dict from a name to its imports (list of Import; `try` may have several).
        stars: modules of `from module import *` (list of Import).
    """

    text: str
    statements: dict = field(default_factory=dict)
    imports: dict = field(default_factory=dict)
    stars: list = field(default_factory=list)

    def source_lines(self, statements):
        """Return the source lines (list of str) of statements, including decorators."""
        lines, found = self.text.splitlines(), []
        for statement in statements:
            decorators = [decorator.lineno for decorator in getattr(statement, 'decorator_list', [])]
            found += lines[min([statement.lineno, *decorators]) - 1 : statement.end_lineno]
        return found


def read_module(text):
    """Return the ParsedModule of the text of a file (str).

    Raises:
        SyntaxError: the text is not valid Python.
        ValueError: the text holds a null byte.
    """
    module = ParsedModule(text)
    for statement in ast.parse(text).body:
        _add_statement(statement, module)
    return module


def _add_statement(statement, module):
    """Add a top-level statement to the module."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        _add_import(statement, module.imports, module.stars)
    elif isinstance(statement, COMPOUND):
        _add_compound(statement, module)
    elif not _has_no_effect(statement):
        for name in _bound_names(statement) or [MODULE_LEVEL]:
            module.statements.setdefault(name, []).append(statement)


def _add_compound(statement, module):
    """Add a compound statement (`if`, `try`, `for` ...) as the definition of each name that it binds."""
    if isinstance(statement, ast.If) and any(getattr(n, 'id', '') in FALSE_ON_IMPORT for n in ast.walk(statement.test)):
        for other in statement.orelse:
            _add_statement(other, module)
        return
    names = {}
    for inner in _in_scope([statement]):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            _add_import(inner, module.imports, module.stars)
        elif isinstance(inner, ast.stmt) and not isinstance(inner, COMPOUND) and not _has_no_effect(inner):
            names |= dict.fromkeys(_bound_names(inner) or [MODULE_LEVEL])
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names[inner.id] = None
    for name in names:
        module.statements.setdefault(name, []).append(statement)


def _add_import(statement, imports, stars):
    """Add the names that an import statement binds to `imports`, and its star imports to `stars`."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            if alias.name == '*':
                stars.append(Import(statement.module or '', statement.level))
                continue
            target = Import('.'.join(filter(None, (statement.module, alias.name))), statement.level)
            name = alias.asname or alias.name
        else:  # `import a.b` binds a
            name = alias.asname or alias.name.partition('.')[0]
            target = Import(alias.name if alias.asname else name)
        imports.setdefault(name, []).append(target)


def _bound_names(statement):
    """Return the names (list of str) that a statement binds."""
    if isinstance(statement, FUNCTIONS | ast.ClassDef):
        return [statement.name]
    if not isinstance(statement, ASSIGNMENTS):
        return []
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return [node.id for node in names if isinstance(node.ctx, ast.Store)]


def _has_no_effect(statement):
    """Return whether a statement has no effect (bool): a docstring, `pass` or a type alias."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or type(statement).__name__ == 'TypeAlias'


def _in_scope(nodes):
    """Yield `nodes` and the nodes below them, but not the bodies of functions, classes and comprehensions."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, SCOPES):
            waiting += ast.iter_child_nodes(node)


class References(ast.NodeVisitor):
    """Collects the references of statements.

    Attributes:
        names: dotted names (dict as ordered set) that begin with a top-level name of the file, such as 'nn.Conv2d'.
        imports: Imports inside functions (dict as ordered set), with the attributes that follow the name.
    """

    def __init__(self, statements):
        self.names, self.imports, self.scopes = {}, {}, []
        for statement in statements:
            self.visit(statement)

    def visit_Raise(self, node):
        """Drop the error message."""
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return self.generic_visit(node)

    def visit_Name(self, node):
        """Add a name that is read."""
        if not isinstance(node.ctx, ast.Store):
            self._add_reference(node.id, '')

    def visit_AugAssign(self, node):
        """Add the target, which is also read."""
        if isinstance(node.target, ast.Name):
            self._add_reference(node.target.id, '')
        self.generic_visit(node)

    def visit_Attribute(self, node):
        """Add a whole dotted name."""
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._add_reference(inner.id, '.'.join(['', *reversed(parts)]))
        else:
            self.visit(inner)

    def _add_reference(self, name, rest):
        for scope in reversed(self.scopes):
            if name in scope:
                for target in scope[name]:
                    self.imports[Import(target.target + rest, target.level)] = None
                return
        self.names[name + rest] = None

    def visit_FunctionDef(self, node):
        """Add the references of decorators, defaults and body, without local names."""
        for outer in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(outer)
        self.scopes.append(_local_names(node))
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        """Add the references of a lambda."""
        for outer in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(outer)
        self.scopes.append(dict.fromkeys(_parameter_names(node.args), ()))
        self.visit(node.body)
        self.scopes.pop()

    def visit_AnnAssign(self, node):
        """Add the references of the value; annotations outside classes have no effect."""
        if node.value is not None:
            self.visit(node.value)

    def _visit_comprehension(self, node):
        self.visit(node.generators[0].iter)
        targets = [n.id for each in node.generators for n in ast.walk(each.target) if isinstance(n, ast.Name)]
        self.scopes.append(dict.fromkeys(targets, ()))
        for number, each in enumerate(node.generators):
            for part in (*([each.iter] if number else []), *each.ifs):
                self.visit(part)
        for part in ('key', 'value', 'elt'):
            if hasattr(node, part):
                self.visit(getattr(node, part))
        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension


def _local_names(function):
    """Return the local names of a function: dict from a name to its Imports, or () if it is not imported."""
    names, imports, shared = dict.fromkeys(_parameter_names(function.args), ()), {}, set()
    for node in _in_scope(function.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _add_import(node, imports, [])
        elif isinstance(node, ast.Global | ast.Nonlocal):
            shared.update(node.names)
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names[node.id] = ()
        elif isinstance(node, FUNCTIONS | ast.ClassDef | ast.ExceptHandler) and node.name:
            names[node.name] = ()
    return {name: found for name, found in (names | imports).items() if name not in shared}


def _parameter_names(arguments):
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [argument.arg for argument in every if argument is not None]


def canonical(nodes, names=None):
    """Return the canonical text (str) of nodes (list of ast.AST).

    Args:
        names: utils.base.renames.EarlierNames for the text with earlier names, or None for current names.
    """
    pieces = []
    for node in nodes:
        _write_canonical(node, pieces, names, in_class=False)
    return ' '.join(pieces)


def _constant_text(value, names):
    """Return the text (str) of a constant; a string may be a dotted name, as in a registry."""
    if names is not None and isinstance(value, str) and DOTTED.fullmatch(value):
        value = names.name(value)
    return f'{type(value).__name__}:{value!r}'


def _write_canonical(node, pieces, names, in_class):
    """Append the text of a node to `pieces`; `in_class`: the node is in a class body, where annotations count."""
    if isinstance(node, ast.Constant):
        pieces.append(_constant_text(node.value, names))
        return
    if isinstance(node, ast.AnnAssign) and not in_class:
        if node.value is None:
            return
        node = ast.Assign(targets=[node.target], value=node.value)
    fields, kind = dict(ast.iter_fields(node)), type(node).__name__
    if isinstance(node, ast.JoinedStr):
        fields['values'] = _merge_strings(node.values)
    elif isinstance(node, ast.arg):
        fields.pop('annotation', None)
    pieces.append(f'({kind}')
    for name in sorted(fields):
        value = fields[name]
        if name in IGNORED_FIELDS or value is None or value == []:
            continue
        pieces.append(f'{name}=')
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST):
                if not (isinstance(inner, ast.stmt) and _has_no_effect(inner)):
                    _write_canonical(inner, pieces, names, in_class=kind == 'ClassDef')
            elif names is not None and isinstance(inner, str):
                pieces.append(repr(names.name(inner) if name == 'module' else names.identifier(inner)))
            else:
                pieces.append(repr(inner))
    pieces.append(')')


def normalize_ast(nodes):
    """Return copies of nodes (list of ast.AST) without details that change no result.

    Local variables are numbered (parameters keep their names, which callers use), and `raise` keeps the error type
    without the message.
    """
    return [_Normaliser().visit(_copy(node)) for node in nodes]


def _copy(node):
    """Return a copy of a node, a list of nodes or a constant, without positions. Faster than copy.deepcopy."""
    if isinstance(node, list):
        return [_copy(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    return type(node)(**{name: _copy(value) for name, value in ast.iter_fields(node)})


def without_fields(nodes, classes, fields):
    """Return copies of nodes (list of ast.AST) in which classes lack some fields; the same list if nothing changes.

    Args:
        classes: names (list of str) of the classes; fields of their definitions and keywords of calls are left out.
        fields: names (collection of str) of the fields.
    """
    if not classes:
        return nodes
    reduced = _copy(nodes)
    for node in (inner for each in reduced for inner in ast.walk(each)):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', None) in classes:
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in fields]
        elif isinstance(node, ast.ClassDef) and node.name in classes:
            node.body = [each for each in node.body if fields.isdisjoint(_bound_names(each))]
    return nodes if canonical(reduced) == canonical(nodes) else reduced


class _Normaliser(ast.NodeTransformer):
    """Renames local variables in order of appearance; drops error messages."""

    def __init__(self):
        self.scopes = []

    def visit_FunctionDef(self, node):
        """Rename in a function; its own name belongs to the enclosing scope."""
        node.name = self._local_name(node.name)
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        node.args = self.visit(node.args)
        own = dict.fromkeys(_local_names(node)) | dict.fromkeys(_parameter_names(node.args), '')
        self.scopes.append(own)
        node.body = [self.visit(statement) for statement in node.body]
        self.scopes.pop()
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        """Rename in a lambda; its parameters hide outer names."""
        node.args = self.visit(node.args)
        self.scopes.append(dict.fromkeys(_parameter_names(node.args), ''))
        node.body = self.visit(node.body)
        self.scopes.pop()
        return node

    def _visit_comprehension(self, node):
        targets = [n.id for each in node.generators for n in ast.walk(each.target) if isinstance(n, ast.Name)]
        self.scopes.append(dict.fromkeys(targets))
        node = self.generic_visit(node)
        self.scopes.pop()
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    def visit_ClassDef(self, node):
        """Keep the names in a class body, which are attributes."""
        node.name = self._local_name(node.name)
        self.scopes.append({name: '' for statement in node.body for name in _bound_names(statement)})
        node = self.generic_visit(node)
        self.scopes.pop()
        return node

    def visit_Raise(self, node):
        """Drop the error message."""
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return self.generic_visit(node)

    def visit_Name(self, node):
        """Rename a variable."""
        node.id = self._local_name(node.id)
        return node

    def visit_ExceptHandler(self, node):
        """Rename the variable of an exception."""
        node.name = node.name and self._local_name(node.name)
        return self.generic_visit(node)

    def _local_name(self, name):
        for depth, scope in enumerate(reversed(self.scopes)):
            if name in scope:
                if scope[name] is None:
                    number = sum(plain not in (None, '') for plain in scope.values())
                    scope[name] = f'_{len(self.scopes) - 1 - depth}_{number}'
                return scope[name] or name
        return name


def _merge_strings(values):
    """Return the parts of an f-string with adjacent strings merged, which Python versions split differently."""
    merged = []
    for value in values:
        if isinstance(value, ast.Constant) and merged and isinstance(merged[-1], ast.Constant):
            merged[-1] = ast.Constant(merged[-1].value + value.value)
        elif not (isinstance(value, ast.Constant) and value.value == ''):
            merged.append(value)
    return merged
