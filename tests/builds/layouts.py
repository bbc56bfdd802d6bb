"""OCI layouts made of a few files, as a build leaves them: small images that a registry and Docker take."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

from ahplat.builders.registry import Layout

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def layout(folder: Path, *layers: bytes) -> Layout:
    """An image of layers that each have one file with that content."""
    packed = [_tar(content) for content in layers]
    blobs = [_blob(folder, gzip.compress(tar, mtime=0)) for tar in packed]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in packed]}
    config = _blob(folder, json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob} for blob in blobs],
    }
    made = _blob(folder, json.dumps(manifest).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [{"mediaType": MANIFEST, **made}]}))
    return Layout(folder)


def _tar(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(hashlib.sha256(content).hexdigest()[:8])
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _blob(folder: Path, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    path = folder / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}
