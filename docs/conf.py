"""How the pages are built: `make docs`, offline, with warnings as errors."""

import sys
from pathlib import Path

from quickstudy import __version__

sys.path.insert(0, str(Path(__file__).parent))

project = "quickstudy"
author = "The quickstudy authors"
copyright = "the quickstudy authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "offline_math"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_math_renderer = "drawn"
html_title = f"quickstudy {__version__}"

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

default_role = "code"  # docstrings speak of `names` with single backquotes
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units are in the argument lists
napoleon_google_docstring = True
napoleon_use_ivar = True
