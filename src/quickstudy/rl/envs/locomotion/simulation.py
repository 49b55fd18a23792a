"""Many copies of one robot, stepped together by MuJoCo's own threads."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.checks import check_whole
from quickstudy.extras import missing_package

Array = NDArray[np.float64]


class Simulation:
    """`N` copies of a robot. `mujoco.rollout` steps them in native threads, without Python between physics steps.

    Each copy is stepped by itself, so that results do not depend on the number of threads. MuJoCo's solver starts
    anew at each call of `advance`, while that of gymnasium starts from the last solution: ten steps from a state agree
    to 1e-12, and trajectories come apart later, as those of chaotic systems do.

    Args:
        robot: name of one of gymnasium's models, such as "half_cheetah".
        frame_skip: physics steps for each call of `advance`.
        threads: number of threads; by default as many as torch uses.

    Raises:
        ModuleNotFoundError: without the package mujoco.
    """

    def __init__(self, robot: str, *, frame_skip: int, threads: int | None = None):
        mujoco = import_mujoco()
        self.frame_skip = check_whole("frame_skip", frame_skip)
        self.threads = torch.get_num_threads() if threads is None else check_whole("threads", threads)
        self.model = load(robot)
        self.seconds = self.model.opt.timestep * frame_skip  # between two calls of `advance`
        self._size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
        self._models: list[Any] = [self.model]
        self._state = np.empty((0, self._size))
        self._pool: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the threads, which a copy starts for itself."""
        return self.__dict__ | {"_pool": None}

    def set_models(self, count: int, models: Sequence[Any] = ()) -> None:
        """Have `count` copies: all of the robot as it is, or one of each of `count` models."""
        self._models = list(models) or [self.model]
        self._state = np.zeros((count, self._size))

    @property
    def position(self) -> Array:
        """Generalized positions, `[N, nq]`: a view."""
        return self._state[:, 1 : 1 + self.model.nq]

    @property
    def velocity(self) -> Array:
        """Generalized velocities, `[N, nv]`: a view."""
        return self._state[:, 1 + self.model.nq : 1 + self.model.nq + self.model.nv]

    def advance(self, control: Array, which: NDArray[np.bool_]) -> None:
        """Take `frame_skip` physics steps with constant `control [N, nu]` in the copies where `which [N]` is True."""
        rows = np.flatnonzero(which)
        if not len(rows):
            return
        if self._pool is None:
            import mujoco
            from mujoco import rollout

            self._pool = rollout.Rollout(nthread=self.threads), [mujoco.MjData(self.model) for _ in range(self.threads)]
        pool, data = self._pool
        models = self._models if len(self._models) == 1 else [self._models[row] for row in rows]
        states, _ = pool.rollout(models, data, self._state[rows], control[rows, None], nstep=self.frame_skip)
        self._state[rows, 1:] = states[:, -1, 1:]  # the time stays 0: no robot's physics depends on it


def import_mujoco() -> Any:
    """The package mujoco. Raises ModuleNotFoundError, which says how to install it."""
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise missing_package("mujoco", "mujoco", "robots need MuJoCo") from error
    return mujoco


def load(robot: str) -> Any:
    """The model of this name that gymnasium ships.

    A total mass that the file asks for is set after compiling: MuJoCo warns of the attribute, which is to go.
    """
    mujoco = import_mujoco()
    text = files("gymnasium").joinpath("envs", "mujoco", "assets", f"{robot}.xml").read_text("utf-8")
    asked = re.search(r'\ssettotalmass="([\d.]+)"', text)
    model = mujoco.MjModel.from_xml_string(text.replace(asked[0], "") if asked else text)
    if asked:
        mujoco.mj_setTotalmass(model, float(asked[1]))
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model
