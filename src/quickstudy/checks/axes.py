"""The advice in error messages about tensors that lack an axis, or have their axes in another order."""

from torch import Tensor


def missing_axis(x: Tensor, y: Tensor) -> str:
    """What to write to make `[T, N, *dx]` from inputs with fewer than three axes."""
    short = y.dim() < 2 and y.is_floating_point()
    if x.dim() < 2:
        of_y = ", and y.reshape(1, -1, 1)" if short else ""
        return f"for one task with one number a point write x.reshape(1, -1, 1){of_y}"
    several = "write x.unsqueeze(-1) if they are one number a point of several tasks, [T, N]"
    of_y = ", and y.reshape(1, -1, 1)" if short else "" if y.dim() > 2 else ", and y.unsqueeze(0)"
    return f"write x.unsqueeze(0){of_y} if they are the points of one task, [N, dx]; {several}"


def missing_axis_of_y(x: Tensor, y: Tensor) -> str:
    """What to write to make `[T, N, *dy]` from real outputs with fewer than three axes."""
    if y.shape == x.shape[:2]:
        one = ", or x.unsqueeze(0) and y.unsqueeze(0) for the points of one task" if x.shape[1] == 1 < len(x) else ""
        return f"write y.unsqueeze(-1) for one number a point, or y.long() for class labels{one}"
    if x.shape[0] == 1 and y.dim() and len(y) == x.shape[1]:
        return "write y.unsqueeze(0) for the points of one task" if y.dim() == 2 else "write y.reshape(1, -1, 1)"
    if y.dim() == 1 and len(y) == len(x):
        return "write x.unsqueeze(0) and y.reshape(1, -1, 1) if x holds the points of one task"
    return "write y.unsqueeze(0) for the points of one task, y.unsqueeze(-1) for one number a point"


def swapped_axes(x: Tensor, y: Tensor) -> str | None:
    """What to write if the points are the last axis; None if they are not."""
    swapped = {
        "x": x.dim() == 3 and (len(x), x.shape[2]) == y.shape[:2],
        "y": y.dim() == 3 and (len(y), y.shape[2]) == x.shape[:2],
    }
    if all(swapped.values()):  # the tensor with several points has them in the right place
        swapped["x" if x.shape[1] > y.shape[1] else "y"] = False
    name = next((name for name, found in swapped.items() if found), None)
    return None if name is None else f"write {name}.transpose(1, 2), as points come before features"


def missing_task_axis(x: Tensor, tasks: int, features: list[int], name: str) -> str:
    """What to write to make `[T, M, *features]` from inputs, after a colon; "" if there is no advice."""
    every = f".expand({tasks}, {', '.join(['-1'] * (1 + len(features)))})" if tasks > 1 else ""
    all_tasks = ", for the same points in every task" if every else ""
    if x.dim() == 2 and len(x) == tasks and features == [1] and tasks > 1:
        return f": write {name}.unsqueeze(-1)"
    if x.dim() == 1 + len(features) and list(x.shape[1:]) == features:
        return f": write {name}.unsqueeze(0){every}{all_tasks}"
    if x.dim() == 1 and features == [1]:
        return f": write {name}.reshape(1, -1, 1){every}{all_tasks}"
    if x.dim() == 2 + len(features) and len(x) == 1 and list(x.shape[2:]) == features:
        return f": write {name}{every}{all_tasks}"
    return ""
