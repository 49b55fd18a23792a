"""The tutorials are notebooks that name what exists, and can be found and downloaded; `make docs` runs them."""

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext")

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page for page in sorted((DOCS / "tutorials").glob("*.md")) if page.name != "index.md"]


def code(page: Path) -> list[str]:
    """The cells of Python code, without those of other languages (`%%bash`)."""
    cells = jupytext.read(page).cells
    return [cell.source for cell in cells if cell.cell_type == "code" and not cell.source.startswith("%%")]


def names(page: Path) -> set[str]:
    """The dotted names that begin with an imported one, such as `qs.tasks.Sinusoid`, in full."""
    trees = [node for source in code(page) for node in ast.walk(ast.parse(source))]
    known: dict[str, str] = {}
    for node in trees:
        if isinstance(node, ast.Import):
            known |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = set(known.values())
    for node in trees:
        first, *rest = ast.unparse(node).split(".") if isinstance(node, ast.Attribute) else [""]
        if first in known and all(part.isidentifier() for part in rest):
            found.add(".".join([known[first], *rest]))
    return found


def thing(name: str) -> Any:
    """What a full name stands for; names below a module are looked up in the module."""
    first, *rest = name.split(".")
    found, at = import_module(first), first
    for part in rest:
        at = f"{at}.{part}"
        found = getattr(found, part) if hasattr(found, part) else import_module(at)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_it_opens_as_a_notebook(page: Path) -> None:
    notebook = jupytext.read(page)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert notebook.metadata["jupytext"]["text_representation"]["format_name"] == "myst"
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    assert len(code(page)) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_it_names_exists(page: Path) -> None:
    found = names(page)
    assert any(name.startswith("quickstudy.") for name in found)
    for name in sorted(found):
        thing(name)


def test_a_name_that_does_not_exist_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    head = PAGES[0].read_text().partition("\n# ")[0]
    page.write_text(
        head + "\n# A\n\n```{code-cell} ipython3\nimport quickstudy as qs\nqs.tasks.Sinus(1).sample(2)\n```\n"
    )
    assert "quickstudy.tasks.Sinus" in names(page)
    with pytest.raises(ImportError):
        thing("quickstudy.tasks.Sinus")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_it_is_listed_and_can_be_downloaded(page: Path) -> None:
    index = (DOCS / "tutorials/index.md").read_text()
    assert f"({page.name})" in index and re.search(rf"^{page.stem}$", index, re.MULTILINE)
    assert re.search(rf"{{nb-download}}`[^`]+ <{page.stem}\.ipynb>`", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_is_described(page: Path) -> None:
    cells = [cell for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    drawn = [cell for cell in cells if re.search(r"^(report\.\w+\(|Image\(|figure$)", cell.source, re.MULTILINE)]
    assert drawn
    assert all(cell.metadata.get("mystnb", {}).get("image", {}).get("alt") for cell in drawn)


def test_the_home_page_leads_to_each() -> None:
    home = (DOCS / "index.md").read_text()
    assert all(f"(tutorials/{page.name})" in home for page in PAGES)
