"""How the pages are built: `make docs`, offline, with warnings as errors."""

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from quickstudy import __version__

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
# Tutorials call the command line of this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "quickstudy"
author = "The quickstudy authors"
copyright = "the quickstudy authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "offline_math", "documented"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "drawn"
html_title = f"quickstudy {__version__}"

sources = hashlib.sha256(b"".join(file.read_bytes() for file in sorted((DOCS.parent / "src").rglob("*.py"))))
nb_execution_mode = "cache"  # of this state of the package: when it changes, tutorials run again
nb_execution_cache_path = str(DOCS / "_build/tutorials" / sources.hexdigest()[:16])
nb_execution_timeout = 1800  # seconds for a cell, on a machine that is busy
nb_execution_in_temp = True
nb_execution_show_tb = True
nb_output_stderr = "warn"  # a tutorial that warns fails the build

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

default_role = "code"  # docstrings speak of `names` with single backquotes
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units are in the argument lists
napoleon_google_docstring = True
napoleon_use_ivar = True

SECTION = re.compile(r"^(Args|Returns|Raises):$")
CODE = re.compile(r"(`[^`]*`)")


def formulas(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Set indented formulas as they are written, and take |x| for what it is."""
    found: list[str] = []
    section = formula = False
    for line in lines:
        if line and not line.startswith(" "):
            section = bool(SECTION.match(line))
        indented = line.startswith("    ") and not section
        if indented and not formula and found and not found[-1]:
            found += ["::", ""]
            formula = True
        formula = formula and (indented or not line)
        example = line.lstrip().startswith((">>>", "..."))
        escaped = "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in CODE.split(line))
        found.append(line if formula or example else escaped)
    lines[:] = found


def setup(app: Any) -> None:
    """Called by Sphinx; before napoleon reads the docstrings, which does so at 500."""
    app.connect("autodoc-process-docstring", formulas, priority=400)
