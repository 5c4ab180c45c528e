"""A graph as text that other programs draw: Mermaid and DOT."""

from __future__ import annotations

from forge_pipeline.compiled import Graph, Node
from forge_pipeline.errors import CommandError

_MERMAID = {"source": ("([", "])"), "transform": ("[", "]"), "select": ("{{", "}}"), "export": ("[(", ")]")}
_DOT = {"source": "oval", "transform": "box", "select": "diamond", "export": "cylinder"}


def draw_graph(graph: Graph, kind: str) -> str:
    """Spell a graph as Mermaid or DOT.

    Raises:
        CommandError: another kind was asked for.
    """
    if kind == "mermaid":
        return _mermaid(graph)
    if kind == "dot":
        return _dot(graph)
    raise CommandError(f"graph: no format '{kind}'", "--format mermaid or --format dot")


def _mermaid(graph: Graph) -> str:
    names = {node.id: f"s{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    for node in graph.nodes:
        left, right = _MERMAID[node.shape]
        lines.append(f'    {names[node.id]}{left}"{_quoted(node.id)}<br/>{_quoted(node.use)}"{right}')
    for step, node, label in _edges(graph):
        arrow = f"-->|{_quoted(label)}|" if label else "-->"
        lines.append(f"    {names[step]} {arrow} {names[node.id]}")
    return "\n".join(lines) + "\n"


def _dot(graph: Graph) -> str:
    lines = [f'digraph "{_escaped(graph.name)}" {{', "    rankdir=LR;"]
    for node in graph.nodes:
        label = f"{_escaped(node.id)}\\n{_escaped(node.use)}"
        lines.append(f'    "{_escaped(node.id)}" [shape={_DOT[node.shape]}, label="{label}"];')
    for step, node, label in _edges(graph):
        told = f' [label="{_escaped(label)}"]' if label else ""
        lines.append(f'    "{_escaped(step)}" -> "{_escaped(node.id)}"{told};')
    return "\n".join([*lines, "}"]) + "\n"


def _edges(graph: Graph) -> list[tuple[str, Node, str]]:
    return [
        (ref.step, node, "" if port == "in" else port)
        for node in graph.nodes
        for port, refs in node.inputs.items()
        for ref in refs
    ]


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
