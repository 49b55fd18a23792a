"""Images completed from some of their pixels."""

from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import read
from results_pages.table import Row, Table, shown


def page() -> Page:
    """Digits, of which some pixels are seen."""
    name = "images-grid-mixture"
    record = read(name)
    places = [(split, k) for split in ("held-out images", "unseen classes") for k in (10, 50)]

    def row(label: str, part: str = "", *, competes: bool = True) -> Row:
        return Row(label, [record[f"{split}/{part}log_likelihood/k={k}"] for split, k in places], competes)

    best, plain = (record[f"held-out images/{part}log_likelihood/k=50"] for part in ("", "histogram/"))
    return Page(
        name="image-completion",
        title="Image completion on digits",
        question="**What does a process know of an image from some of its pixels?** Digits of 8 x 8 pixels "
        "(scikit-learn's), with uniform noise of one grey level, so that likelihoods have a bound. A GridConvCNP with "
        "a mixture of 20 normal distributions at each pixel trained for 10,000 steps of 16 images of the classes 0 to "
        "7; K pixels are seen, and all others predicted.",
        figure=Figure(
            f"../../results/{name}/unseen_classes.png",
            "Four digits of the classes 8 and 9 with 10 and 50 pixels seen; mean and deviation of the prediction",
            "Digits of classes that did not occur in training. Blue pixels were not seen.",
        ),
        table=Table(
            ("", *(f"{split}, K={k}" for split, k in places)),
            [
                row("GridConvCNP, mixture head"),
                row("histogram of all training pixels", "histogram/", competes=False),
                row("normal distribution of all training pixels", "normal/", competes=False),
                row("upper bound", "ceiling/", competes=False),
            ],
            ("higher",) * 4,
            "Log-likelihood per pixel, in nats; higher is better. K is the number of pixels seen. ± is a 95% "
            f"confidence interval over {record.counted[0]:,} images, for one training. The upper bound is that of the "
            "uniform noise and of the smallest standard deviation (0.05 of the range).",
        ),
        says=f"With 50 of 64 pixels it reaches {shown(best)} on images that were held out, where a histogram has "
        f"{shown(plain)}. Classes that it never saw cost it some 0.2 to 0.3 nats.",
        care=("One seed, one model. Most pixels near the border are black in all images.",),
        published=(),
        records=(record,),
        headline=Headline(
            "What does a process know of an image from some of its pixels?",
            "log-likelihood per pixel in nats, 50 of 64 seen ↑",
            f"GridConvCNP: {shown(best)}",
            "none on these images",
            f"histogram: {shown(plain)}",
        ),
        files={"image-completion.csv": ("likelihoods, errors and calibration", metrics(record, "GridConvCNP"))},
    )
