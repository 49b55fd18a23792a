"""Everything here is exact to nine digits, so everything is in double precision."""

import pytest
import torch


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
