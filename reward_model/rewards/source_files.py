"""The Python files behind a function of the user's: its module, and what that imports from beside it, in turn.

Nothing is run to find them. Left out: installed packages, imports by computed names, and data files.
"""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()


def source_files(function: str) -> list[Path]:
    """Of `package.module.function`, in the order of the modules' names; empty if there is no such module."""
    module = function.rpartition(".")[0]
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for each, file in _located(name):
            if each not in found and (_beside(file) or each.split(".")[0] == module.split(".")[0]):
                found[each] = file
                waiting += _imports(each, file)
    return [found[name] for name in sorted(found)]


def _located(module: str) -> Iterator[tuple[str, Path]]:
    """The module and the packages around it with their files, from the outermost on, as far as they are there."""
    places, name = [Path(place) for place in sys.path], ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        files = (file for place in places for file in (place / part / "__init__.py", place / f"{part}.py"))
        file = next((file for file in files if file.is_file()), None)
        if file:
            yield name, file.resolve()
        if file and file.name != "__init__.py":
            return
        places = [file.parent] if file else [place / part for place in places]


def _beside(file: Path) -> bool:
    """Whether a module is the user's own, not installed."""
    return not (_STANDARD in file.parents or {"site-packages", "dist-packages"} & set(file.parts))


def _imports(module: str, file: Path) -> Iterator[str]:
    """The names that a file imports, made absolute; of `from a import b` also a.b, which may be a module."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            start = [*above, *filter(None, [node.module])]
            yield from (".".join([*start, alias.name]) for alias in node.names)
