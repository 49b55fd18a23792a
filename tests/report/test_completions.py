"""Pictures of completed images: what is in each of the small images."""

import numpy as np
import torch

from quickstudy.report.completions import UNSEEN, Completed, Completion, completions


def test_each_row_shows_the_image_the_pixels_seen_the_mean_and_the_deviation(quick_figures: None) -> None:
    image = torch.rand(2, 3, 1)
    seen = torch.tensor([[True, False, False], [False, True, False]])
    mean, sd = torch.rand(2, 3, 1) * 3 - 1, torch.rand(2, 3, 1)
    few = Completion("2 pixels", seen, mean, sd)
    many = Completion("6 pixels", torch.ones_like(seen), image, 0 * sd)
    figure = completions([Completed(image, [few, many])] * 2, title="TNP")
    assert len(figure.axes) == 2 * 7
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["image", "2 pixels", "mean", "deviation", "6 pixels", "mean", "deviation"]
    shown = [np.asarray(axes.images[0].get_array()) for part in figure.subfigs for axes in part.axes[:3]]
    assert all(picture.min() >= 0 and picture.max() <= 1 and picture.shape == (2, 3, 3) for picture in shown)
    given = np.asarray(figure.subfigs[1].axes[0].images[0].get_array())
    assert np.allclose(given[~seen.numpy()], UNSEEN) and np.allclose(given[0, 0], image[0, 0].item())
    deviation = np.asarray(figure.subfigs[1].axes[2].images[0].get_array())
    assert np.unravel_index(deviation[..., 0].argmin(), (2, 3)) == np.unravel_index(int(sd.argmax()), (2, 3))
