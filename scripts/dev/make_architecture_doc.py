#!/usr/bin/env python
"""Write the diagram and the table of packages in docs/architecture.md, from the import statements and docstrings.

    python scripts/dev/make_architecture_doc.py

tests/docs/test_docs_architecture.py fails if the document is older than the code.
"""

import ast
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from utils.base.registry import PROJECT

DOCUMENT = PROJECT / 'docs' / 'architecture.md'
COMMAND = 'python scripts/dev/make_architecture_doc.py'
BEGIN, END = f'<!-- Written by `{COMMAND}` -->\n', '<!-- End of the written part -->\n'
FOLDERS = ('data', 'model', 'programs')
PROGRAMS = ('train.py', 'eval.py', 'options.py', 'loss.py', 'metrics.py')
# The modules at the top of utils belong to a package in all but their path.
PACKAGE_OF_TOP_MODULE = {'logger': 'runs', 'torch_utils': 'runs', 'viz': 'drawing'}


def imports_of(path, within_functions=True):
    """Yield (line, dotted name) of everything that a file imports, also within functions or only at its start."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree) if within_functions else tree.body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                dotted = f'{node.module}.{alias.name}'
                is_module = PROJECT.joinpath(*dotted.split('.')).with_suffix('.py').exists()
                yield node.lineno, dotted if is_module else node.module


def utils_package(parts):
    """Return the package (str) of utils that a module belongs to, by its dotted name in parts."""
    return PACKAGE_OF_TOP_MODULE.get(parts[1], parts[1]) if len(parts) > 1 else ''


def node_of(parts):
    """Return the node of the diagram (str) that a module belongs to, by its dotted name in parts; '' if none."""
    if parts[0] == 'utils':
        package = utils_package(parts)
        return f'utils/{package}' if (PROJECT / 'utils' / package / '__init__.py').exists() and package else ''
    if parts[0] in FOLDERS:
        return parts[0]
    return f'{parts[0]}.py' if f'{parts[0]}.py' in PROGRAMS else ''


def import_graph():
    """Return which nodes the files of each node import at their start: dict from a node to a set of nodes."""
    graph = {}
    paths = [PROJECT / name for name in PROGRAMS]
    paths += [path for folder in ('utils', *FOLDERS) for path in (PROJECT / folder).rglob('*.py')]
    for path in sorted(paths):
        if own := node_of(path.relative_to(PROJECT).with_suffix('').parts):
            names = [name.split('.') for _, name in imports_of(path, within_functions=False)]
            graph.setdefault(own, set()).update(map(node_of, names))
    return {node: others - {node, ''} for node, others in graph.items()}


def reachable(graph, node, seen=None):
    """Return all nodes (set) that imports lead to from a node."""
    seen = set() if seen is None else seen
    for other in graph[node] - seen:
        seen.add(other)
        reachable(graph, other, seen)
    return seen


def without_shortcuts(graph):
    """Return the graph without the edges that a longer path of imports implies (transitive reduction)."""
    return {
        node: {other for other in others if not any(other in reachable(graph, via) for via in others - {other})}
        for node, others in graph.items()
    }


def diagram(graph):
    """Return the Mermaid diagram (str) of a graph without cycles; an arrow means 'imports'."""
    lines = ['```mermaid', 'flowchart TD']
    lines += [f'    {identifier(node)}["{node}"]' for node in graph]
    for node, others in without_shortcuts(graph).items():
        lines += [f'    {identifier(node)} --> {identifier(other)}' for other in sorted(others)]
    return '\n'.join([*lines, '```', ''])


def identifier(node):
    """Return a node's name (str) as Mermaid takes it."""
    return re.sub(r'\W', '_', node)


def description(node):
    """Return the first sentence (str) of a node's docstring."""
    path = PROJECT / node
    text = ast.get_docstring(ast.parse((path / '__init__.py' if path.is_dir() else path).read_text(encoding='utf-8')))
    return re.split(r'\.(?:\s|$)', ' '.join((text or '').split()))[0]


def table(graph):
    """Return the table (str) of nodes: what each holds and which others it imports."""
    lines = ['| package | contents | imports |', '| --- | --- | --- |']
    for node, others in graph.items():
        shown = ', '.join(sorted(other.removeprefix('utils/') for other in others)) or 'nothing'
        link = f'[{node}](../{node})'
        lines.append(f'| {link} | {description(node)} | {shown} |')
    return '\n'.join([*lines, ''])


def ordered(graph):
    """Return the graph with each node before all that it imports."""
    order = sorted(graph, key=lambda node: (-len(reachable(graph, node)), node))
    return {node: graph[node] for node in order}


def document(text):
    """Return the text (str) of docs/architecture.md with its written part renewed."""
    graph = ordered(import_graph())
    written = f'{BEGIN}\n{diagram(graph)}\n{table(graph)}\n{END}'
    return re.sub(f'{re.escape(BEGIN)}.*?{re.escape(END)}', lambda _: written, text, flags=re.DOTALL)


def main():
    """Write the document."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding='utf-8')), encoding='utf-8')
    print(f'written: {DOCUMENT}')


if __name__ == '__main__':
    main()
