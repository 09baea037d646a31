"""One of several processes that train a stage together: ``torchrun -m components.train.worker JOB``.

``JOB`` is a directory with ``job.json``: the configuration and the paths. The first process leaves ``result.json``
there; one that fails leaves ``failed-<rank>.json``, as torchrun passes on exit codes only.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

JOB, RESULT, FAILED = "job.json", "result.json", "failed-{rank}.json"


def main(directory: Path) -> None:
    """Do this process's part."""
    import torch.distributed as dist

    from components.train.config import TrainConfig
    from components.train.run import run
    from model.errors import OmnivecError
    from model.files import whole_file
    from model.training.world import World

    document = json.loads((directory / JOB).read_text(encoding="utf-8"))
    world = World.of(os.environ)
    paths: dict[str, Any] = {name: path and Path(path) for name, path in document["paths"].items()}
    try:
        result = run(TrainConfig.parse(document["config"]), world=world, **paths)
    except Exception as error:
        facts = {"kind": type(error).__name__, "message": str(error), "final": isinstance(error, OmnivecError)}
        with whole_file(directory / FAILED.format(rank=world.rank)) as partial:
            partial.write_text(json.dumps(facts), encoding="utf-8")
        raise
    if world.first:
        with whole_file(directory / RESULT) as partial:
            partial.write_text(json.dumps(result), encoding="utf-8")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
