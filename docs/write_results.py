"""Writes docs/results.md and docs/results/, pages, files and pictures, from the JSON in results/.

python docs/write_results.py
"""

from pathlib import Path

from results_pages.pictures import pictures
from results_pages.written import written

from quickstudy.report.figures import to_png

DOCS = Path(__file__).parent


if __name__ == "__main__":
    files = {f"results/{name}": to_png(figure) for name, figure in pictures()}
    files |= {path: text.encode() for path, text in written().items()}
    (DOCS / "results").mkdir(exist_ok=True)
    for old in (DOCS / "results").iterdir():
        old.unlink()
    for path, content in files.items():
        (DOCS / path).write_bytes(content)
