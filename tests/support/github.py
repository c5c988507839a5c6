"""The emulated GitHub on loopback, and the workflow of tests that tell runs apart by their titles."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from gha_step.emulator import GitHub, serve
from tests.support.clock import LONG

WORKFLOW: Final = """
name: Deploy
run-name: {title}
on:
  workflow_dispatch:
    inputs:
      image_tag: {{required: true}}
      promotion: {{}}
      gha_step: {{}}
jobs: {{}}
"""
PLAIN, NAMED, MARKED = "Deploy", "Deploy ${{ inputs.promotion }}", "Deploy ${{ inputs.gha_step }}"


@contextmanager
def github_at(github: GitHub) -> Iterator[str]:
    """The emulated GitHub on loopback; gives its URL."""
    with serve(github) as url:
        yield url
        # Connections are taken in order: none is left that it has not even seen, and would not close.
        host, _, port = urlsplit(url).netloc.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=LONG) as last:
            last.sendall(b"GET /api/v3/meta HTTP/1.1\r\nHost: x\r\n\r\n")
            assert last.recv(1)
