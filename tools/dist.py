"""
``make dist``: what a release consists of, in ``dist/``: wheel, source distribution, chart, image and the list of its parts.

The image is that of this machine's architecture, as `docker load` takes it. The release workflow builds it for others, too, and
hands in where it was pushed, so that the published chart names that image by its digest.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import helm_python as helm

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "freeway"


def chart(into: Path, repository: str = "", digest: str = "") -> Path:
    """The chart's package; it names *repository* and *digest* as its image if they are given."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / CHART.name
        shutil.copytree(CHART, copy)
        values = copy / "values.yaml"
        text = values.read_text()
        for key, value in (("repository: freeway", f"repository: {repository}"), ('digest: ""', f'digest: "{digest}"')):
            text = re.sub(rf"^(  ){key}", rf"\1{value}", text, count=1, flags=re.MULTILINE) if repository else text
        values.write_text(text)
        return Path(helm.package(str(copy), destination=str(into)))


def image(tag: str, into: Path) -> Path:
    """The image *tag* of the local engine as a file for `docker load`."""
    path = into / f"{tag.replace(':', '-')}-{_said('docker', 'version', '--format', '{{.Server.Arch}}')}.tar.gz"
    with (
        subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE) as saving,  # noqa: S603, S607 - as typed
        gzip.GzipFile(path, "wb", compresslevel=6, mtime=0) as packed,
    ):
        assert saving.stdout is not None
        shutil.copyfileobj(saving.stdout, packed, 1 << 20)
    if saving.returncode:
        sys.exit(f"`docker save {tag}` ended with status {saving.returncode}")
    return path


def parts(tag: str, into: Path) -> Path:
    """The list of all parts of the image *tag*: its Python packages, which it lists itself, and its base's (CycloneDX)."""
    listed = json.loads(_said("docker", "run", "--rm", tag, "cat", "/opt/freeway/sbom.cdx.json"))
    base = _said("docker", "run", "--rm", tag, "dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n")
    known = {each["bom-ref"] for each in listed["components"]}
    listed["components"] += [
        each for line in base.splitlines() if (each := _debian(*line.split(" ")))["bom-ref"] not in known
    ]
    path = into / f"{tag.replace(':', '-')}.cdx.json"
    path.write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")
    return path


def _debian(name: str, version: str, architecture: str) -> dict[str, Any]:
    """A Debian package as a part (https://github.com/package-url/purl-spec, type deb)."""
    address = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"
    return {"type": "library", "name": name, "version": version, "purl": address, "bom-ref": address}


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        sys.exit(f"`{' '.join(command)}` ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("what", nargs="+", choices=("chart", "image", "parts"))
    asked.add_argument("--into", type=Path, default=ROOT / "dist")
    asked.add_argument("--tag", help="the image in the local engine", default="")
    asked.add_argument("--repository", help="where the image was pushed, for the chart", default="")
    asked.add_argument("--digest", help="what it was pushed as, for the chart", default="")
    told = asked.parse_args()
    told.into.mkdir(parents=True, exist_ok=True)
    makers = {
        "chart": lambda: chart(told.into, told.repository, told.digest),
        "image": lambda: image(told.tag, told.into),
        "parts": lambda: parts(told.tag, told.into),
    }
    for what in told.what:
        path = makers[what]()
        sys.stdout.write(f"{path.stat().st_size:>12,}  {path}\n")


if __name__ == "__main__":
    main()
