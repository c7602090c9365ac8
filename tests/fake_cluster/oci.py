"""Container images as a registry holds them: blobs named by their digest, a manifest, and an index for two platforms.

An image of a public registry is such an index, so its tag's digest is not that of the manifest that is run here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_DATE = "2024-01-01T00:00:00Z"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Layer:
    """One layer: packed as it is sent, and the digest of what is unpacked."""

    digest: str
    size: int
    diff_id: str

    @property
    def descriptor(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"mediaType": LAYER, "digest": self.digest, "size": self.size}


def digest_of(content: bytes) -> str:
    """Return the name of a blob."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document's bytes: the same for the same content."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def blob(layout: Path, digest: str) -> Path:
    """Return where a layout keeps a blob."""
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def put(layout: Path, content: bytes) -> str:
    """Write a blob and return its digest."""
    digest = digest_of(content)
    blob(layout, digest).parent.mkdir(parents=True, exist_ok=True)
    blob(layout, digest).write_bytes(content)
    return digest


def pack(tar: Path, layout: Path) -> Layer:
    """Pack a root file system's tar as a layer of a layout, piece by piece."""
    draft = layout / "blobs" / "sha256" / "draft"
    draft.parent.mkdir(parents=True, exist_ok=True)
    plain = hashlib.sha256()
    with (
        tar.open("rb") as source,
        draft.open("wb") as target,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=target, mtime=0) as packed,
    ):
        while piece := source.read(_PIECE):
            plain.update(piece)
            packed.write(piece)
    packed_digest = hashlib.sha256()
    with draft.open("rb") as source:
        while piece := source.read(_PIECE):
            packed_digest.update(piece)
    layer = Layer(f"sha256:{packed_digest.hexdigest()}", draft.stat().st_size, f"sha256:{plain.hexdigest()}")
    draft.replace(blob(layout, layer.digest))
    return layer


def small_layer(files: Mapping[str, str]) -> tuple[Layer, bytes]:
    """Return a layer of a few text files, by their paths in the image, and its bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, text in sorted(files.items()):
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(text.encode()), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    packed = gzip.compress(plain.getvalue(), compresslevel=1, mtime=0)
    return Layer(digest_of(packed), len(packed), digest_of(plain.getvalue())), packed


def configuration(architecture: str, layers: list[Layer], environ: Mapping[str, str]) -> bytes:
    """Return an image's configuration: what it is for, and the environment that its programs get."""
    variables = [f"{name}={value}" for name, value in environ.items()]
    return encode(
        {
            "architecture": architecture,
            "os": "linux",
            "created": _DATE,
            "config": {"Env": variables, "Cmd": ["python3"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    )


def manifest(config: bytes, layers: list[dict[str, Any]]) -> bytes:
    """Return the manifest of a configuration and the descriptors of its layers."""
    described = {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)}
    return encode({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers})


def index(manifests: Mapping[str, bytes]) -> bytes:
    """Return an index of manifests by architecture."""
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": digest_of(content),
            "size": len(content),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for architecture, content in manifests.items()
    ]
    return encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def write(layout: Path, tar: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """Write an image of a root file system as a layout; return the digests of its index and of this machine's manifest.

    The image for the other architecture has one small file: it is there to be told apart, never to be run.
    """
    layout.mkdir(parents=True)
    layers = {"amd64": pack(tar, layout)}
    layers["arm64"], packed = small_layer({"etc/architecture": "arm64\n"})
    put(layout, packed)
    manifests = {}
    for architecture, layer in layers.items():
        config = configuration(architecture, [layer], environ)
        put(layout, config)
        manifests[architecture] = manifest(config, [layer.descriptor])
        put(layout, manifests[architecture])
    whole = index(manifests)
    own = manifests["amd64"]
    # The layout itself names the one manifest: tools that read a layout and not a registry take the first.
    top = {
        "mediaType": MANIFEST,
        "digest": digest_of(own),
        "size": len(own),
        "annotations": {"org.opencontainers.image.ref.name": "base"},
    }
    (layout / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": [top]}))
    (layout / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
    return put(layout, whole), digest_of(own)
