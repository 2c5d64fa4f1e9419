"""The image: laid out by the script that the Dockerfile runs, unpacked, and its executable run in it.

With the development build of the executable: `make image` takes the release build, and looks at the size.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from kubelet import may_unshare
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model

PROJECT = Path(__file__).parents[3]
SETUP = PROJECT / "setup" / "image"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    executable = os.environ.get("TOBIKO_FACADE_EXECUTABLE") or Path(sys.executable).parent / "tobiko-facade"
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([SETUP / "root.sh", executable, folder / "root"], check=True)
    archive = folder / "image.tar"
    subprocess.run(
        [sys.executable, SETUP / "archive.py", folder / "root", archive, "tobiko-facade:test", "--any-size"], check=True
    )
    return archive


@pytest.fixture
def root(archive: Path, tmp_path: Path) -> Path:
    """Unpacked, as a container runtime does it."""
    with tarfile.open(archive) as tar:
        layers = json.load(member(tar, "manifest.json"))[0]["Layers"]
        for layer in layers:
            with tarfile.open(fileobj=member(tar, layer), mode="r:gz") as files:
                files.extractall(tmp_path / "root")  # noqa: S202  # our own
    return tmp_path / "root"


def member(tar: tarfile.TarFile, name: str) -> io.BytesIO:
    file = tar.extractfile(name)
    assert file
    return io.BytesIO(file.read())


def test_the_archive_is_an_oci_layout_and_what_docker_loads(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        for name in tar.getnames():
            if name.startswith("blobs/sha256/"):
                assert hashlib.sha256(member(tar, name).getvalue()).hexdigest() == name.rpartition("/")[2]
        assert json.load(member(tar, "oci-layout")) == {"imageLayoutVersion": "1.0.0"}
        (described,) = json.load(member(tar, "index.json"))["manifests"]
        manifest = json.load(member(tar, blob(described)))
        (listed,) = json.load(member(tar, "manifest.json"))
        assert listed["RepoTags"] == ["tobiko-facade:test"]
        assert listed["Config"] == blob(manifest["config"])
        assert listed["Layers"] == [blob(layer) for layer in manifest["layers"]]
        config = json.load(member(tar, listed["Config"]))
        (layer,) = listed["Layers"]
        unpacked = gzip.decompress(member(tar, layer).getvalue())
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"]


def test_the_dockerfile_says_the_same(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        config = json.load(member(tar, json.load(member(tar, "manifest.json"))[0]["Config"]))["config"]
    final = (PROJECT / "Dockerfile").read_text().split("FROM scratch")[1]
    assert re.findall(r"^USER (.*)$", final, re.M) == [config["User"]]
    assert re.findall(r"^ENV (.*)$", final, re.M) == config["Env"]
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", final, re.M)[0]) == config["Entrypoint"]


@pytest.mark.skipif(not may_unshare("--mount"), reason="this process may not change its root folder")
def test_the_executable_works_in_it_as_another_user_on_a_read_only_root(root: Path, locked_cloud: Cloud) -> None:
    locked_cloud.environment(model("a", audits=("not_null",)))
    run = locked_cloud.run("r1")
    run.evaluated("a", "not_null")
    run.end()
    before = sorted(root.rglob("*"))
    environ = {
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        "TCLOUD_BASE_URL": locked_cloud.base_url.replace("127.0.0.1", "localhost"),
        "TCLOUD_CLIENT_ID": CLIENT_ID,
        "TCLOUD_CLIENT_SECRET": CLIENT_SECRET,
    }
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")  # as the kubelet gives one
    for command in (["check"], ["sync"], ["mirror"]):
        done = in_image(root, environ, *command)
        assert done.returncode == 0, done.stderr
        assert "read-only" not in done.stderr.lower()
    assert "a" in done.stdout + done.stderr
    assert sorted(root.rglob("*")) == sorted([*before, root / "etc" / "hosts"])


@pytest.mark.skipif(not may_unshare("--mount"), reason="this process may not change its root folder")
def test_certificates_are_found_in_it(root: Path) -> None:
    """A missing certificate would be reported before the connection is refused."""
    environ = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", "TCLOUD_BASE_URL": "https://127.0.0.1:9/"}
    environ |= {"TCLOUD_TOKEN": "x", "TOBIKO_FACADE_CALL_LIMIT_S": "1"}
    done = in_image(root, environ, "check")
    assert done.returncode == 3
    assert "certificate" not in done.stderr
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 50


def in_image(root: Path, environ: dict[str, str], *arguments: str) -> Any:
    script = (
        f"mount --bind '{root}' '{root}' && mount -o remount,ro,bind '{root}' && "
        f"exec chroot --userspec=65532:65532 '{root}' /usr/local/bin/tobiko-facade \"$@\""
    )
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *arguments],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def blob(described: dict[str, Any]) -> str:
    return "blobs/sha256/" + str(described["digest"]).partition(":")[2]
