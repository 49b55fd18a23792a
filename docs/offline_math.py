"""Formulas as drawings in the page, by matplotlib: nothing is fetched when a page is read."""

import io
from typing import Any

from docutils.nodes import SkipNode
from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image


def _svg(tex: str, size: float) -> str:
    drawing = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "quickstudy", "savefig.facecolor": "none"}):
        font = FontProperties(size=size, math_fontfamily="stix")
        depth = math_to_image(f"${' '.join(tex.split())}$", drawing, prop=font, dpi=72, format="svg", color="red")
    text = drawing.getvalue().decode()
    text = text[text.index("<svg") :].replace("#ff0000", "currentColor")  # follows the page's light or dark
    return text.replace("<svg ", f'<svg role="img" style="vertical-align: {-depth:.2f}pt" ', 1)


def _inline(writer: Any, node: Any) -> None:
    writer.body.append(_svg(node.astext(), 12.5))
    raise SkipNode


def _block(writer: Any, node: Any) -> None:
    writer.body.append(f'<p style="text-align: center">{_svg(node.astext(), 14)}</p>')
    raise SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("drawn", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
