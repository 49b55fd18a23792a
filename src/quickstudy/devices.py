"""The choice of the device."""

import torch


def pick_device(device: torch.device | str) -> torch.device:
    """The device of that name; "auto" is a GPU if there is one. Raises ValueError if the machine lacks it."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"unknown device {device!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:1'") from None
    if picked.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported; expected 'auto', 'cpu' or 'cuda'")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} is not there: torch sees {torch.cuda.device_count()} GPUs; use device='auto' or 'cpu'"
        )
    return picked
