"""Runs a function in several processes that know each other as torchrun's do, without the seconds that imports take."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

PRELOAD = ["lightning", "torch", "transformers", "components.train.feed", "model.training.stage"]


def fork_server() -> multiprocessing.context.ForkServerContext:
    """Starts processes in milliseconds, which share nothing with the test's own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def side_by_side(function: Callable[..., None], *args: Any, processes: int = 2, seconds: float = 120) -> None:
    """Call ``function(rank, *args)`` in each process; a failure or a wait without end in any of them is one here."""
    context = fork_server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = [context.Process(target=_call, args=(rank, processes, port, function, args)) for rank in range(processes)]
    for process in group:
        process.start()
    try:
        for process in group:
            process.join(seconds)
        assert [process.exitcode for process in group] == [0] * processes
    finally:
        for process in group:
            if process.is_alive():
                process.kill()


def _call(rank: int, processes: int, port: int, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    variables |= {"GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in {**variables, "TORCHELASTIC_RUN_ID": "test"}.items()}
    function(rank, *args)
    if dist.is_initialized():
        dist.destroy_process_group()
