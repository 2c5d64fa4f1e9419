"""Writes an image's root folder as an archive that `docker load`, `podman load`, `ctr image import` and `skopeo` take.

    python3 archive.py FOLDER ARCHIVE NAME:TAG

It is an OCI layout with Docker's list beside it. The same folder gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path
from typing import Any

LARGEST_MB = 25

# As the Dockerfile has it.
CONFIG = {
    "User": "65532:65532",
    "Env": ["PATH=/usr/local/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
    "Entrypoint": ["tobiko-facade"],
}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def main() -> None:
    root, archive, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    layer = layer_of(root)
    packed = gzip.compress(layer, 6, mtime=0)
    config = encoded(
        {
            "architecture": MACHINES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            "history": [{"created_by": "make image"}],
        }
    )
    manifest = encoded(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("application/vnd.oci.image.config.v1+json", config),
            "layers": [described("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                **described("application/vnd.oci.image.manifest.v1+json", manifest),
                "annotations": {
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": name.rpartition(":")[2],
                },
            }
        ],
    }
    dockers_list = [{"Config": blob(config), "RepoTags": [name], "Layers": [blob(packed)]}]
    files = {
        "oci-layout": encoded({"imageLayoutVersion": "1.0.0"}),
        "index.json": encoded(index),
        "manifest.json": encoded(dockers_list),
        **{blob(data): data for data in (config, manifest, packed)},
    }
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    unpacked, written = (round(size / 1e6, 1) for size in (len(layer), archive.stat().st_size))
    print(f"{archive}: {name}, {written} MB ({unpacked} MB unpacked)")
    if max(unpacked, written) > LARGEST_MB and "--any-size" not in sys.argv:
        sys.exit(f"error: the image is larger than {LARGEST_MB} MB")


def layer_of(root: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path in sorted(root.rglob("*")):
            member = tar.gettarinfo(str(path), str(path.relative_to(root)))
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            if path.is_file():
                with path.open("rb") as file:
                    tar.addfile(member, file)
            else:
                tar.addfile(member)
    return data.getvalue()


def described(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob(data: bytes) -> str:
    return "blobs/sha256/" + digest(data).partition(":")[2]


def encoded(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


if __name__ == "__main__":
    main()
