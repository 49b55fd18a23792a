"""All pages and files, by their path below docs/."""

from collections.abc import Mapping, Sequence

from results_pages.experiments import (
    acting,
    applied,
    bandits,
    compared,
    completion,
    drugs,
    family,
    few_rows,
    latent,
    learners_of_the_page,
    processes,
    robots,
    speed,
    swinging,
    waves,
)
from results_pages.files import to_csv
from results_pages.overview import overview
from results_pages.page import Page


def groups() -> Mapping[str, Sequence[Page]]:
    """The pages under the headings of the overview."""
    return {
        "Published experiments, repeated": [
            waves.maml(),
            waves.meta_sgd(),
            waves.neural_process(),
            processes.page(),
        ],
        "Learners compared, tuned alike": compared.pages(),
        "Neural processes compared": [*family.pages(), completion.page(), completion.typed()],
        "Policies and control": [
            *acting.navigation(),
            *robots.pages(),
            bandits.page(),
            acting.gridnavi(),
            *latent.pages(),
            acting.masses(),
            acting.gains(),
            acting.gains_by_features(),
            acting.dynamics(),
            *swinging.pages(),
        ],
        "Tables, images, and the demonstration": [
            few_rows.page(),
            *applied.tables(),
            drugs.page(),
            applied.digits(),
            applied.demo(),
            learners_of_the_page.page(),
        ],
        "Speed": [speed.page()],
    }


def written() -> dict[str, str]:
    """Path below docs/ to text."""
    found = groups()
    files = {"results.md": overview(found)}
    for page in (page for pages in found.values() for page in pages):
        files[f"results/{page.name}.md"] = page.markdown()
        files |= {f"results/{name}": to_csv(lines) for name, (_, lines) in page.files.items()}
    return files
