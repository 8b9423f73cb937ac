"""Running notebook cells in a fresh kernel of this very Python, with nothing of the user's set-up in it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat.notebooknode import NotebookNode


class ThisPython(AsyncKernelManager):
    """Starts `sys.executable`, whatever kernels are installed for the user."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=40", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


_SETUP_SECONDS = 120


def _is_setup(cell: NotebookNode) -> bool:
    return "setup" in cell.metadata.get("tags", [])


def run(
    notebook: NotebookNode,
    folder: Path,
    env: Mapping[str, str],
    timeout: float,
    keep_going: bool = False,
    on_cell: Callable[..., None] | None = None,
) -> NotebookNode:
    """Execute all code cells of `notebook` in place.

    Args:
        folder: the kernel's working directory.
        env: added to this process's environment.
        timeout: seconds for each cell; a cell tagged 'setup' has two minutes at least, for its imports.
        keep_going: go on after a cell that raises.
        on_cell: called with `cell=` and `cell_index=` before each cell runs.

    Raises:
        nbclient.exceptions.CellExecutionError, CellTimeoutError, DeadKernelError: as nbclient does.
    """
    with tempfile.TemporaryDirectory(prefix="labkit-") as scratch:
        settings = {
            **os.environ,
            "IPYTHONDIR": scratch,  # no start-up scripts, no history
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            **env,
        }
        client = NotebookClient(
            notebook,
            timeout_func=lambda cell: max(timeout, _SETUP_SECONDS) if _is_setup(cell) else timeout,
            startup_timeout=120,
            kernel_manager_class=ThisPython,
            allow_errors=keep_going,
            interrupt_on_timeout=keep_going,
            record_timing=False,
            on_cell_execute=on_cell,
            resources={"metadata": {"path": str(folder)}},
            shutdown_kernel="immediate",
        )
        return client.execute(env=settings)
