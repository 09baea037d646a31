"""What lets plain sentence-transformers open an artifact of the unified family: one self-contained modelling file."""

import json
from pathlib import Path

from model.prompts import NO_TITLE, TITLE
from model.unified.config import UnifiedConfig

MODELLING_FILE = "modeling_omnivec.py"
FILES = (MODELLING_FILE, "modules.json", "config_sentence_transformers.json")


def write_portable(config: UnifiedConfig, directory: Path) -> None:
    """Write the modelling file and the two documents by which sentence-transformers finds it.

    Whoever loads the artifact this way has to allow it with ``trust_remote_code=True``; Omnivec itself never runs code
    from an artifact.
    """
    from model.unified.portable.bundle import modelling_file

    towers = frozenset(tower.kind for tower in (config.image_tower, config.audio_tower) if tower is not None)
    (directory / MODELLING_FILE).write_text(modelling_file(towers), encoding="utf-8")
    name = f"{Path(MODELLING_FILE).stem}.OmnivecUnified"
    _write(directory / FILES[1], [{"idx": 0, "name": "0", "path": "", "type": name}])
    prompts = {task: prefix.replace(TITLE, NO_TITLE) for task, prefix in config.prompts.items()}
    settings = {"model_type": "SentenceTransformer", "prompts": prompts, "default_prompt_name": None}
    _write(directory / FILES[2], {**settings, "similarity_fn_name": "cosine"})


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
