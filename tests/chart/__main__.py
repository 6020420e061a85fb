"""Write some combinations that have every manifest between them to a folder, a file each, for other tools to look at."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.chart.rendering import manifests

_ENOUGH = ("keys", "several on Sentinel", "Redis from a Secret", "everything")

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
for name in _ENOUGH:
    (folder / f"{name.replace(' ', '-')}.yaml").write_text(yaml.safe_dump_all(manifests(name), sort_keys=False))
