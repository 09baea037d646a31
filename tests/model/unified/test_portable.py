"""Plain sentence-transformers opens an artifact in a process that cannot see this repository, and finds its vectors."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.content import Content, image
from model.encoding import encode_contents
from model.towers import TOWERS
from model.unified.portable import FILES, MODELLING_FILE
from model.unified.portable.bundle import Bundle, check_import, modelling_file, used_names
from tests.conftest import make_png

# Start of a script that must find its way without the library; `out` is the folder that it may use.
ALONE = """
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path[:] = [p for p in sys.path if not (Path(p or ".") / "model" / "unified").is_dir()]
assert find_spec("model") is None, "the library is within reach"
import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

artifact, out = sys.argv[1:]
"""
SCRIPT = (
    ALONE
    + """
try:
    SentenceTransformer(artifact, device="cpu")
    raise SystemExit("it loaded without being trusted")
except ValueError as error:
    assert "trust_remote_code" in str(error)
model = SentenceTransformer(artifact, trust_remote_code=True, device="cpu")
one, two = (Path(out) / "one.png").read_bytes(), Image.open(Path(out) / "two.jpg")
plain = model.encode(["a red fox", "rain on the sea, " * 40, "x"])
asked = model.encode_query(["a red fox"])
told = model.encode_document(["a red fox"])
pictures = model.encode([{"image": one}, two])
mixed = model.encode([(one, "the same in blue"), ("first", two, "then"), {"parts": ["a", one, one]}])
together = model.encode(["a red fox", {"image": one}, (one, "the same in blue")])
found = {"plain": plain, "asked": asked, "told": told, "pictures": pictures, "mixed": mixed, "together": together}
np.savez(Path(out) / "found.npz", **found)
assert not any(name == "model" or name.startswith("model.") for name in sys.modules), "the library was imported"
"""
)


def run_alone(script: str, *arguments: Path) -> str:
    """Run a script far from the repository, with nothing of it on the path."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env |= {"HF_HOME": str(arguments[-1] / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=arguments[-1],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_sentence_transformers_alone_gives_equal_vectors(tiny_artifact: Path, tiny_encoder, tmp_path: Path) -> None:
    one = make_png(1)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(make_png(2, 64, 200))).save(buffer, "JPEG", quality=80)
    (tmp_path / "one.png").write_bytes(one)
    (tmp_path / "two.jpg").write_bytes(buffer.getvalue())
    run_alone(SCRIPT, tiny_artifact, tmp_path)
    found = np.load(tmp_path / "found.npz")
    # A picture given as PIL is decoded whole; bytes of a large JPEG at a reduced scale. This one is small.
    two = image(buffer.getvalue())
    fox, blue = Content.of("a red fox"), Content.of(image(one), "the same in blue")
    wanted = {
        "plain": [fox, Content.of("rain on the sea, " * 40), Content.of("x")],
        "asked": [Content.of("a red fox", task="query")],
        "told": [Content.of("a red fox", task="document")],
        "pictures": [Content.of(image(one)), Content.of(two)],
        "mixed": [blue, Content.of("first", two, "then"), Content.of("a", image(one), image(one))],
        "together": [fox, Content.of(image(one)), blue],
    }
    for name, contents in wanted.items():
        expected = encode_contents(tiny_encoder, contents, desc="")
        assert np.abs(found[name] - expected).max() <= 1e-5, name
    assert np.abs(found["asked"] - found["told"]).max() > 1e-3, "prompts are applied"


def test_the_artifact_holds_the_file_and_its_digest(tiny_artifact: Path) -> None:
    assert (tiny_artifact / MODELLING_FILE).read_text() == modelling_file(frozenset({"whisper", "efficientnet_lite"}))
    digests = json.loads((tiny_artifact / "digests.json").read_text())
    assert set(FILES) <= set(digests)
    prompts = json.loads((tiny_artifact / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "query: ", "document": "passage: "}


def test_the_file_is_the_librarys_own_code_for_the_towers_of_the_model() -> None:
    text = modelling_file(frozenset({"whisper", "efficientnet_lite"}))
    used = (
        "towers/efficientnet_lite.py",
        "towers/whisper.py",
        "unified/projector.py",
        "unified/frontends.py",
        "unified/trunk.py",
        "unified/media.py",
        "media/mel.py",
        "media/pdf_worker.py",
        "media/track.py",
    )
    for path in used:
        source = (Path("model") / path).read_text()
        longest = max(source.split("\n\n\n"), key=len).strip()
        assert longest in text, f"{path} is copied word for word"
    assert "from model" not in text
    assert "import model" not in text
    for kind, (_, name) in TOWERS.items():
        assert f"class {name}(" in modelling_file(frozenset({kind}))
        assert (f"class {name}(" in text) == (kind in {"whisper", "efficientnet_lite"})


def test_the_file_does_not_depend_on_the_run(tmp_path: Path) -> None:
    """Digests of artifacts cover it, and sets of strings come in another order in each process."""
    code = "import sys; from model.unified.portable.bundle import modelling_file as f; "
    code += "sys.stdout.write(f(frozenset({'spectrogram', 'vision'})))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {modelling_file(frozenset({"vision", "spectrogram"}))}


def test_what_cannot_be_copied_is_refused_when_the_file_is_made() -> None:
    import ast

    with pytest.raises(ValueError, match="may not import 'pydantic'"):
        check_import(ast.parse("from pydantic import BaseModel").body[0])
    bundle = Bundle()
    bundle.add("model.towers.efficientnet_lite", "Block")
    bundle._owner["WHITE"] = "elsewhere"
    with pytest.raises(ValueError, match="both define WHITE"):
        bundle.add("model.media.image", "fit_square")
    assert used_names(ast.parse("def f(a: B = c) -> D:\n    e: G = h(a)")) == ["c", "h", "a"]
