"""From a click to redrawn predictions on the page of `quickstudy play`: six predictors, in headless Chromium.

Each click adds a point at random, up to 20, then all are cleared. The time is from the browser's own time of the click
to the end of drawing all predictors; server and browser share the machine. Chromium is that of the machine.

    python -m benchmarks.page
"""

import random
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks import records
from benchmarks.bars import lines
from benchmarks.options import Options, parse

CASES = ("sine", "rbf", "sawtooth", "drug")
CLICKS = 100
MEDIAN, RARE, OPENED = 100.0, 250.0, 5.0  # bars: milliseconds, milliseconds, seconds
MARGINS = (36, 10, 10, 32)  # pixels of a plot that are no place for a point: left, right, top, bottom


def start() -> tuple[subprocess.Popen[str], str, float]:
    """The server, its address, and the seconds until it could be reached."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "quickstudy", "play", "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().split()[1]
    return server, address, time.perf_counter() - begun


def click(page: Page, chance: random.Random) -> float:
    """Add a point in the first plot; milliseconds until all predictions are redrawn."""
    box = page.locator("#plot-maml").bounding_box()
    assert box is not None
    left, right, top, bottom = MARGINS
    x = box["x"] + chance.uniform(left, box["width"] - right)
    y = box["y"] + chance.uniform(top, box["height"] - bottom)
    before = page.evaluate("window.quickstudy.answer.message.points.length")
    page.mouse.click(x, y)
    now = "window.quickstudy.answer.message.points.length"
    page.wait_for_function(f"{now} !== {before}")
    found: float = page.evaluate("window.quickstudy.answer.milliseconds")
    return found


def measure(page: Page, address: str, scene: str, clicks: int) -> dict[str, Any]:
    """Milliseconds of clicks in a scene, and those that each learner takes on the server."""
    chance, found, parts = random.Random(0), [], []
    page.goto("about:blank")
    page.goto(f"{address}#functions?scene={scene}&seed=1")
    page.wait_for_function("window.quickstudy?.answer")
    for i in range(clicks + 3):
        if i % 20 == 0:
            page.keyboard.press("c")
            page.wait_for_function("window.quickstudy.answer.message.points.length === 0")
        taken = click(page, chance)
        page.wait_for_timeout(150)  # a visitor looks, and functions are drawn meanwhile
        if i >= 3:  # the first are slower, as code is loaded
            found.append(taken)
            players = page.evaluate("window.quickstudy.answer.answer.players")
            parts.append({name: 1e3 * own["seconds"] for name, own in players.items()})
    return {
        "median": statistics.median(found),
        "percentile_95": statistics.quantiles(found, n=20)[-1],
        "clicks": len(found),
        "server": {name: statistics.median(part[name] for part in parts) for name in parts[0]},
    }


def run(options: Options) -> None:
    """Measure every scene, show and write."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    server, address, seconds = start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            begun = time.perf_counter()
            page = browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 900}).new_page()
            page.goto(address)
            page.wait_for_function("window.quickstudy?.answer")
            opened = seconds + time.perf_counter() - begun
            for scene in options.cases:
                result = measure(page, address, scene, 5 if options.quick else CLICKS) | {"seconds_to_open": opened}
                result["bars"] = [] if options.quick else _bars(result)
                records.write_case("page", options.out, scene, result)
                print(f"\n{scene}\n{as_table(result)}\n{lines(result['bars'])}", flush=True)
            browser.close()
    finally:
        server.terminate()
        server.wait(10)


def _bars(result: dict[str, Any]) -> list[dict[str, Any]]:
    promises = (
        ("milliseconds from click to redrawn, median", result["median"], MEDIAN),
        ("milliseconds from click to redrawn, 95th percentile", result["percentile_95"], RARE),
        ("seconds from the command to the page's first predictions", result["seconds_to_open"], OPENED),
    )
    return [{"bar": f"{text}: at most {most:g}", "measured": v, "met": v <= most} for text, v, most in promises]


def as_table(result: dict[str, Any]) -> str:
    """Milliseconds of the whole, and of each learner on the server."""
    rows = [
        ["click to redrawn, median", f"{result['median']:.0f}"],
        ["click to redrawn, 95th percentile", f"{result['percentile_95']:.0f}"],
        *([f"server: {name}", f"{value:.1f}"] for name, value in result["server"].items()),
    ]
    return records.table(["", "milliseconds"], rows)


def main(arguments: list[str]) -> None:
    """Read the command line and measure."""
    run(parse(arguments, __doc__, CASES))


if __name__ == "__main__":
    main(sys.argv[1:])
