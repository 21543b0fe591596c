import os
import re
import subprocess
import sys

from tests.conftest import UNOPTIMISED


def test_python_blocks_run_in_order(repository, tmp_path):
    """A reader who copies every ```python block in turn gets no error."""
    readme = repository / "README.md"
    text = readme.read_text(encoding="utf-8")
    # Blank lines before each block keep the README's line numbers.
    program = UNOPTIMISED
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
        line = text.count("\n", 0, match.start(1))
        program += "\n" * (line - program.count("\n")) + match.group(1)
    script = tmp_path / "README.py"
    script.write_text(program, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(repository),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    process = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
