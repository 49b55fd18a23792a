"""The plan of the house, read from the imports: no circles, arrows that point down, folders and files of a size.

Imports are found by `ast` wherever they stand: at the top of a file, inside functions, and under `if TYPE_CHECKING`.
"""

import ast
import itertools
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PACKAGE = "quickstudy"
# From the bottom to the top: a module imports from its own row and from rows below it.
LAYERS = [
    ["_version", "data", "words", "tracing", "substitute", "chance", "devices", "screen", "extras"],
    ["checks", "learner", "predictive", "likelihoods", "nets"],
    ["inner"],
    ["compiling"],
    ["gradient", "metric", "processes", "tasks"],
    ["evaluation"],
    ["runs"],
    ["parallel"],
    ["training"],
    ["rl"],
    ["decide"],
    ["report"],
    ["tables"],
    ["estimators"],
    ["experiments"],
    ["recipes"],
    ["play"],
    ["testing"],
    ["commands"],
    ["cli"],
    ["__main__"],
]


def module_name(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources():
    return {module_name(path): path for path in sorted((SRC / PACKAGE).rglob("*.py"))}


MODULES = sources()
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}


def in_room(name, room):
    return name == room or name.startswith(room + ".")


def imported(name):
    """Modules of the package that module `name` imports, with the line; wherever in it the import stands."""
    found = {}
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(TREES[name]):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]
        elif is_import_module(node):
            targets = [node.args[0].value]
        for target in targets:
            if target in MODULES and target != name:
                found.setdefault(target, node.lineno)
    return found


def is_import_module(node):
    """`import_module("...")` and `__import__("...")` with a name in so many words."""
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return called in ("import_module", "__import__") and isinstance(node.args[0].value, str)


ARROWS = {name: imported(name) for name in MODULES}
BY_TYPE = (
    PACKAGE,
    "quickstudy.commands",
    "quickstudy.report",
)  # they import nothing heavy until a name is used or a command chosen


def circles(arrows):
    """The strongly connected parts of more than one module (Tarjan), each as one closed walk."""
    index, low, stack, on, parts = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in arrows[v]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            part = stack[stack.index(v) :]
            del stack[stack.index(v) :]
            on.difference_update(part)
            if len(part) > 1:
                parts.append(set(part))

    for v in arrows:
        if v not in index:
            visit(v)
    return [walk(part, arrows) for part in parts]


def walk(part, arrows):
    """A shortest circle within the part, and all that the part holds."""
    found = [circle for start in sorted(part) if (circle := circle_of(start, part, arrows)) is not None]
    return min(found, key=len), sorted(part)


def circle_of(start, part, arrows):
    """A shortest way from `start` back to it."""
    paths, seen = [[start]], set()
    while paths:
        path = paths.pop(0)
        for target in sorted(arrows[path[-1]]):
            if target == start:
                return [*path, start]
            if target in part and target not in seen:
                seen.add(target)
                paths.append([*path, target])
    return None


def where(path, line):
    return f"{path.relative_to(SRC.parent)}:{line}"


def test_no_circles():
    """Between modules, wherever they are."""
    said = []
    for circle, part in circles({name: arrows for name, arrows in ARROWS.items() if name != PACKAGE} | {PACKAGE: {}}):
        steps = [f"  {where(MODULES[a], ARROWS[a][b])} imports {b}" for a, b in itertools.pairwise(circle)]
        said.append(f"{len(part)} modules import each other: {', '.join(part)}\n" + "\n".join(steps))
    assert not said, "\n" + "\n".join(said)


def test_no_type_checking():
    """An import for types alone is how a circle is hidden."""
    said = []
    for name in MODULES:
        if name not in BY_TYPE:
            lines = {
                node.lineno
                for node in ast.walk(TREES[name])
                if (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING")
                or (isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING")
                or (isinstance(node, ast.ImportFrom) and any(a.name == "TYPE_CHECKING" for a in node.names))
            }
            said += [where(MODULES[name], line) for line in sorted(lines)]
    assert not said, "TYPE_CHECKING in " + ", ".join(said)


def test_folders_hold_at_most_twenty_files():
    for folder in [SRC / PACKAGE, *(SRC / PACKAGE).rglob("*/")]:
        if folder.name != "__pycache__":
            files = sorted(p.name for p in folder.iterdir() if p.is_file())
            assert len(files) <= 20, f"{folder.relative_to(SRC)} holds {len(files)} files: {', '.join(files)}"


PLAIN = SRC / PACKAGE / "inner/plain.py"
needs_plain = pytest.mark.skipif(not PLAIN.exists(), reason="src/quickstudy/inner/plain.py is not there yet")


@needs_plain
def test_the_plain_inner_loop_is_a_page():
    lines = PLAIN.read_text().count("\n")
    assert lines <= 100, f"inner/plain.py has {lines} lines, of at most 100"


def class_named(module, name):
    [found] = [n for n in TREES[module].body if isinstance(n, ast.ClassDef) and n.name == name]
    return found


def functions(tree):
    """`(name, node, whether it is a method)` of every function and method, nested ones included."""
    methods = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            static = any(getattr(d, "id", "") == "staticmethod" for d in node.decorator_list)
            yield node, node in methods and not static


def test_no_function_has_more_than_six_positional_parameters():
    """Besides self; what is keyword-only is free. A static method of an autograd Function is counted as any other."""
    said = []
    for name in MODULES:
        for node, method in functions(TREES[name]):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)][method:]
            if len(names) > 6:
                at = where(MODULES[name], node.lineno)
                said.append(f"{at} {node.name}({', '.join(names)}): {len(names)}")
    assert not said, "more than six positional parameters:\n" + "\n".join(said)


def test_no_function_is_longer_than_sixty_lines():
    said = []
    for name in MODULES:
        for node, _ in functions(TREES[name]):
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                length -= node.body[0].end_lineno - node.body[0].lineno + 1
            if length > 60:
                said.append(f"{where(MODULES[name], node.lineno)} {node.name}: {length} lines besides its docstring")
    assert not said, "\n".join(said)


def test_nobody_passes_all_its_names_on():
    """`locals()` hands over whatever happens to be there."""
    said = [
        where(MODULES[name], node.lineno)
        for name in MODULES
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("locals", "vars") and not node.args
    ]
    assert not said, "locals() in " + ", ".join(said)


ROW = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}


def room_of(name):
    return name.split(".")[1]


def test_every_room_has_its_row():
    rooms = {room_of(name) for name in MODULES if name != PACKAGE}
    assert rooms <= set(ROW), f"no row in LAYERS for {rooms - set(ROW)}"


def test_no_arrow_points_up():
    """What is in a row knows nothing of the rows above it. (The public names, `quickstudy` itself, know everything.)"""
    said = [
        f"{where(MODULES[name], line)} imports {target}"
        for name, arrows in ARROWS.items()
        for target, line in arrows.items()
        if PACKAGE not in (name, target) and ROW[room_of(target)] > ROW[room_of(name)]
    ]
    assert not said, "\n" + "\n".join(said)


def test_no_circles_between_rooms():
    """Rooms of one row do not import each other both ways, either."""
    arrows = {room: {} for room in ROW}
    for name, targets in ARROWS.items():
        for target, line in targets.items():
            if PACKAGE not in (name, target) and room_of(name) != room_of(target):
                arrows[room_of(name)].setdefault(room_of(target), line)
    assert not circles(arrows), circles(arrows)


def test_only_experiments_import_the_public_names():
    """The library imports from where things are; recipes show what a user would write."""
    rooms = {room_of(name) for name, arrows in ARROWS.items() if PACKAGE in arrows}
    assert rooms <= {"experiments", "recipes", "play", "testing"}, rooms


# from whom: what it may not import, directly
FORBIDDEN = [
    ("quickstudy.inner.plain", ["quickstudy.inner.fast", "quickstudy.inner.loop", "quickstudy.inner.trust"]),
    ("quickstudy.inner.fast", ["quickstudy.inner.loop", "quickstudy.inner.trust"]),
    ("quickstudy.inner.problem", ["quickstudy.inner.fast", "quickstudy.inner.loop", "quickstudy.inner.trust"]),
    ("quickstudy.inner.state", ["quickstudy.inner.fast", "quickstudy.inner.loop", "quickstudy.inner.trust"]),
]


@pytest.mark.parametrize(("lower", "higher"), FORBIDDEN, ids=[f"{a} from {', '.join(b)}" for a, b in FORBIDDEN])
def test_arrows_point_down(lower, higher):
    names = [name for name in MODULES if in_room(name, lower)]
    if not names:
        pytest.skip(f"{lower} is not there yet")
    said = [
        f"{where(MODULES[name], line)} imports {target}"
        for name in names
        for target, line in ARROWS[name].items()
        if any(in_room(target, room) for room in higher)
    ]
    assert not said, "\n".join(said)


@needs_plain
@pytest.mark.parametrize("room", ["quickstudy.inner.fast", "quickstudy.inner.loop", "quickstudy.inner.trust"])
def test_the_plain_inner_loop_needs_nothing_of(room):
    """Not through others, either: it is the oracle of what is above it."""
    path = way("quickstudy.inner.plain", room)
    assert path is None, " imports ".join(path)


def way(start, room):
    """How `start` comes to import something of `room`; None if it does not."""
    paths, seen = [[start]], {start}
    while paths:
        path = paths.pop(0)
        for target in ARROWS[path[-1]]:
            if in_room(target, room):
                return [*path, target]
            if target not in seen:
                seen.add(target)
                paths.append([*path, target])
    return None


@needs_plain
def test_from_maml_to_the_gradient_step_are_two_files():
    """A reader opens `gradient/maml.py`, is sent to `inner/plain.py`, and sees the gradient and the rule's step."""
    doc = ast.get_docstring(class_named("quickstudy.gradient.maml", "MAML"))
    assert "inner/plain.py" in doc or "inner.plain" in doc, "MAML's docstring does not name inner/plain.py"
    tree = TREES["quickstudy.inner.plain"]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "grad" in names and names & {"rule", "update"}, f"inner/plain.py speaks of {', '.join(sorted(names))}"


# the tests of the tests


def test_circles_are_found():
    arrows = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["e"], "e": [], "f": ["g"], "g": ["f"]}
    found = sorted(circles({k: dict.fromkeys(v, 1) for k, v in arrows.items()}))
    assert found == [(["a", "b", "c", "a"], ["a", "b", "c"]), (["f", "g", "f"], ["f", "g"])]
    assert circles({"a": {"b": 1}, "b": {}}) == []


def test_imports_are_found_wherever_they_stand(monkeypatch):
    text = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from quickstudy.inner.loop import InnerLoop\n"
        "def f():\n    import quickstudy.data\n    from . import rates\n    from ..checks import check_number\n"
        "try:\n    from quickstudy import tracing\nexcept ImportError:\n    pass\n"
    )
    name = "quickstudy.inner.made_up"
    monkeypatch.setitem(MODULES, name, SRC / PACKAGE / "inner/made_up.py")
    monkeypatch.setitem(TREES, name, ast.parse(text))
    wanted = ["inner.loop", "data", "inner.rates", "checks", "tracing"]
    assert set(imported(name)) == {f"quickstudy.{w}" for w in wanted}


def test_parameters_are_counted_without_self():
    tree = ast.parse(
        "class A:\n"
        "    def m(self, a, b, c, d, e, f): ...\n"
        "    @staticmethod\n"
        "    def s(a, b, c, d, e, f): ...\n"
        "    @classmethod\n"
        "    def k(cls, a): ...\n"
        "def g(a, /, b, *, c, d, e, f, h, i): ...\n"
    )
    counted = {node.name: len(node.args.posonlyargs + node.args.args) - method for node, method in functions(tree)}
    assert counted == {"m": 6, "s": 6, "k": 1, "g": 2}
