"""Which of the processes that train together this one is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from model.errors import ConfigError

TORCHRUN = ("RANK", "WORLD_SIZE", "GROUP_WORLD_SIZE")


@dataclass(frozen=True)
class World:
    """Process ``rank`` of ``processes``, evenly many of them on each of ``nodes``; by default there is only one."""

    rank: int = 0
    processes: int = 1
    nodes: int = 1

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """What torchrun says in the environment; one process where it says nothing.

        Raises:
            ConfigError: it says only a part, or the nodes have different numbers of processes.
        """
        given = {name: environment[name] for name in TORCHRUN if name in environment}
        if not given:
            return cls()
        if missing := sorted(set(TORCHRUN) - set(given)):
            raise ConfigError(f"{sorted(given)} are set but not {missing}: start the processes with torchrun")
        world = cls(*(int(given[name]) for name in TORCHRUN))
        if world.processes % world.nodes:
            raise ConfigError(
                f"{world.processes} processes on {world.nodes} nodes: every node needs equally many (--nproc-per-node)"
            )
        return world

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    @property
    def local_rank(self) -> int:
        """Number of this process on its node, and of its accelerator."""
        return self.rank % self.processes_per_node

    @property
    def processes_per_node(self) -> int:
        """How many train on this node."""
        return self.processes // self.nodes


ALONE = World()
