"""The pages in a browser, at the width of a laptop and of a phone: code is not cut at the right edge."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CUT = """() => {
    const page = document.documentElement;
    const beyond = page.scrollWidth > page.clientWidth + 1 ? ["the page itself"] : [];
    for (const code of document.querySelectorAll("pre"))
        if (code.scrollWidth > code.clientWidth + 1) beyond.push(code.innerText.slice(0, 60));
    return beyond;
}"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_code_is_not_cut_at_the_right_edge(tmp_path: Path) -> None:
    building = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path)]
    subprocess.run(building, check=True, cwd=ROOT)
    pages = [page for page in tmp_path.rglob("*.html") if not page.relative_to(tmp_path).parts[0].startswith("_")]
    assert len(pages) > 40
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in (1280, 390):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            for page in pages:
                tab.goto(page.as_uri())
                if cut := tab.evaluate(CUT):
                    found[f"{page.name} at {width} px"] = cut
        browser.close()
    assert not found
