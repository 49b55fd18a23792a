"""Images completed from some of their pixels."""

from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import Record, read
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


def typed() -> Page:
    """Typed digits: the processes of the page that `quickstudy play` opens, beside a memory."""
    fine, coarse, latent = (read(f"images-typed-{name}") for name in ("conv-fine", "conv", "np"))
    counts = (1, 20, 60, 120)

    def row(label: str, record: Record, part: str = "", *, competes: bool = True) -> Row:
        names = [f"held-out images/{part}log_likelihood/k={k}" for k in counts]
        names += [f"held-out images/{part}mse/k={k}" for k in (20, 60)]
        return Row(label, [record[name] if name in record.metrics else None for name in names], competes)

    return Page(
        name="typed-digits",
        title="Image completion on typed digits",
        question="**How many pixels of a typed digit does a process need?** Digits of 16 x 16 pixels in eight fonts, "
        "of random size, place, slant, turn and stroke, which need no download; 16 grey levels, with uniform noise of "
        "one level. A GridConvCNP of 32 channels with a mixture at each pixel, and a Neural Process, both for the page "
        "that `quickstudy play` opens. Their rival, *memory*, learns nothing: it weighs the 14,000 training images by "
        "Bayes' rule, with two deviations that are chosen on validation images.",
        figure=Figure(
            "../../results/images-typed-conv-fine/held-out_images.png",
            "Four typed digits with 1 to 120 pixels seen; mean and deviation of the GridConvCNP's prediction",
            "Held-out digits, completed by the GridConvCNP. Blue pixels were not seen.",
        ),
        table=Table(
            ("", *(f"K={k}" for k in counts), "error, K=20", "error, K=60"),
            [
                row("GridConvCNP", fine),
                row("GridConvCNP, floor 0.05", coarse),
                row("Neural Process, floor 0.05", latent),
                row("memory", fine, "remembered/"),
                row("memory, floor 0.05", coarse, "remembered/"),
                row("histogram of all training pixels", fine, "histogram/", competes=False),
                row("normal distribution of all training pixels", fine, "normal/", competes=False),
                row("upper bound", fine, "ceiling/", competes=False),
                row("upper bound, floor 0.05", coarse, "ceiling/", competes=False),
            ],
            (*("higher",) * 4, "lower", "lower"),
            "Log-likelihood per hidden pixel, in nats; higher is better. Mean squared error, greys from 0 to 1; lower "
            "is better. K is the number of pixels seen. ± is a 95% confidence interval over "
            f"{fine.counted[0]:,} images, for one training. The floor is the smallest standard deviation, 0.02 where "
            "none is named; grey levels are 0.0625 apart.",
        ),
        says=_said(fine, latent),
        care=(
            "One seed, and little training, as both have to be small and soon made. Most pixels are black.",
            "The memory's deviations are chosen by likelihood. Chosen for the larger floor, it has about the error of "
            "the GridConvCNP with 20 pixels, and a smaller one with 60.",
            "A log-likelihood counts every hidden pixel by itself: it does not say whether completions are coherent.",
        ),
        published=(),
        records=(fine, coarse, latent),
        headline=Headline(
            "How many pixels of a typed digit does a process need?",
            "log-likelihood per pixel in nats, 20 of 256 seen ↑",
            f"GridConvCNP: {shown(fine['held-out images/log_likelihood/k=20'])}",
            "none on these images",
            f"histogram: {shown(fine['held-out images/histogram/log_likelihood/k=20'])}",
        ),
        files={
            "typed-digits-conv.csv": ("likelihoods, errors and calibration", metrics(fine, "GridConvCNP")),
            "typed-digits-conv-coarse.csv": ("the same with the larger floor", metrics(coarse, "GridConvCNP")),
            "typed-digits-np.csv": ("the same of the Neural Process", metrics(latent, "Neural Process")),
        },
    )


def _said(conv: Record, latent: Record) -> str:
    def reached(record: Record, k: int, part: str = "") -> str:
        return shown(record[f"held-out images/{part}log_likelihood/k={k}"])

    return (
        f"With 20 of 256 pixels seen the GridConvCNP reaches {reached(conv, 20)}, the memory "
        f"{reached(conv, 20, 'remembered/')}, and a histogram, which sees no pixel of the image, "
        f"{reached(conv, 20, 'histogram/')}; with 120, {reached(conv, 120)}, {reached(conv, 120, 'remembered/')} and "
        f"{reached(conv, 120, 'histogram/')}. The Neural Process is behind all of them: it underfits, and is far too "
        f"sure after a single pixel ({reached(latent, 1)})."
    )
