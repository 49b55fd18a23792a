"""The package as a newcomer meets it: light to import, honest about its names, free of anybody's machine."""

import ast
import re
import subprocess
import sys
import time
import tomllib
from importlib import resources
from pathlib import Path

import pytest

import quickstudy as qs

ROOT = Path(__file__).parents[1]
OTHER_OPENERS = ("os", "Image", "webbrowser", "session", "gzip")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT)


@pytest.mark.parametrize(
    "words",
    ["import quickstudy", "from quickstudy.cli import main; status = main(['--help']); assert status == 0"],
    ids=["import", "help"],
)
def test_is_light(words: str, record_property):
    """Neither torch nor matplotlib is imported, and a fraction of a second is enough (0.6 s on a quiet machine)."""
    heavy = "import sys; heavy = {'torch', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules); assert not heavy, heavy"
    begin = time.perf_counter()
    done = run("-c", f"{words}; {heavy}")
    seconds = time.perf_counter() - begin
    record_property("seconds", seconds)
    assert done.returncode == 0, done.stderr
    assert seconds < 6, f"took {seconds:.2f} s"


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", qs.__version__)
    assert run("-m", "quickstudy", "--version").stdout == f"quickstudy {qs.__version__}\n"
    assert f"## [{qs.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {qs.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("name", qs.__all__)
def test_public_name_resolves(name: str):
    value = getattr(qs, name)
    assert value is getattr(qs, name)
    assert value.__doc__


def test_names_for_readers_are_those_for_machines():
    """What type checkers see under TYPE_CHECKING is what is found at run time."""
    tree = ast.parse((ROOT / "src/quickstudy/__init__.py").read_text())
    [guarded] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for line in guarded.body:
        assert isinstance(line, ast.ImportFrom)
        [alias] = line.names
        assert alias.name == alias.asname
        seen[alias.name] = f"{line.module}.{alias.name}" if alias.name in qs._MODULES else line.module
    assert seen == qs._HOME
    assert set(dir(qs)) == {*qs.__all__, "__version__"}


def test_without_scikit_learn_all_other_names_are_imported_at_once():
    code = (
        "import sys; sys.modules['sklearn'] = None; from quickstudy import *; import inspect, quickstudy as qs; MAML;"
        "assert 'GroupRegressor' not in dict(inspect.getmembers(qs)) and 'GroupRegressor' not in globals()\n"
        "try: qs.GroupRegressor\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    assert 'pip install "quickstudy[tables]"' in run("-c", code).stdout


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'NeuralProces'; did you mean 'NeuralProcess'"):
        qs.NeuralProces
    with pytest.raises(AttributeError, match="'zzz'; it has ALPaCA, ANIL, AttentiveCNP, AttentiveNP, BOIL"):
        qs.zzz


def test_errors_about_missing_packages_name_an_extra_that_installs_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        name: {re.split(r"[<>=]", need)[0] for need in needs}
        for name, needs in project["optional-dependencies"].items()
    }
    named = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("missing_package", "require_package"):
                package, extra = (getattr(word, "value", None) for word in node.args[:2])
                if isinstance(package, str):  # loggers say theirs by name
                    named[package] = extra
    assert {"sklearn", "pandas", "mujoco"} <= set(named)
    for package, extra in named.items():
        assert {"sklearn": "scikit-learn"}.get(package, package) in extras[extra], (package, extra)


def test_is_typed():
    assert resources.files("quickstudy").joinpath("py.typed").is_file()


def test_text_files_are_read_and_written_as_utf_8_on_every_system():
    """Without a word about it, Windows reads and writes text in a code page of its own."""
    said = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            owner, _, name = ast.unparse(node.func).rpartition(".") if isinstance(node, ast.Call) else ("", "", "")
            if name in ("read_text", "write_text") or (name == "open" and owner not in OTHER_OPENERS):
                words = {word.value for word in ast.walk(node) if isinstance(word, ast.Constant)}
                if not words & {"utf-8", "rb", "wb", "xb", "a+b"}:
                    said.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    assert not said


def test_tracked_files_name_no_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    machine = re.compile(rb"(?<![\w.])/(root|home/\w+|Users/\w+|work|opt|mnt)/|file://")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in (".png", ".safetensors") or not path.is_file() or path == Path(__file__).resolve():
            continue
        found += [f"{name}: {m.group().decode()}" for m in machine.finditer(path.read_bytes())]
    assert not found


def test_constraints_are_exact_and_portable():
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)]
    assert not odd
    assert any(line.startswith("torch==") for line in lines)
