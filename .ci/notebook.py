"""Executes a notebook, and checks that it is stored without outputs.

usage: notebook.py NOTEBOOK.ipynb
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

path = Path(sys.argv[1])
notebook = nbformat.read(path, as_version=4)
nbformat.validate(notebook)
for cell in notebook.cells:
    if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
        sys.exit(
            f"{path}: the cell {cell.id} has outputs: expected none, so that they are never old. "
            f"Remove them: jupyter nbconvert --clear-output --inplace {path}"
        )
client = NotebookClient(
    notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
)
try:
    client.execute()
except CellExecutionError as error:
    sys.exit(f"{path}: {error}")
printed = [
    output.text for cell in notebook.cells if cell.cell_type == "code"
    for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"
]
if not printed or "numbers are the same" not in printed[-1]:
    sys.exit(f"{path}: expected the last cell to say how many numbers are the same, found {printed}")
print(f"{path}: {printed[-1].strip()}")
