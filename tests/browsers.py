"""A real browser."""

import os
import shutil
from contextlib import asynccontextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")


@asynccontextmanager
async def browser():
    """Start the browser; yield it, as playwright's API has it."""
    # Not its synchronous half: coverage.py loses sight of what switches greenlets.
    api = pytest.importorskip("playwright.async_api", reason="needs playwright")
    async with api.async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"],
            # What the names of downloads are written in.
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
        yield chromium
        await chromium.close()
