"""Run the Python code blocks of documents, in order, one namespace for each file.

    python .ci/readme_blocks.py README.md docs

In Markdown a block opens with ```python, in reStructuredText with ``.. code-block:: python``; any
other language is left alone. A folder stands for its own *.md and *.rst files. The blocks run in
an empty folder, so that what they write is thrown away.
"""

import os
import re
import sys
import tempfile
import textwrap
import time
import traceback
from pathlib import Path

MARKDOWN = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
REST = re.compile(
    r"^\.\. code-block:: python[ \t]*\n(?:[ ]+:.*\n)*((?:[ \t]*\n|[ ]+.*(?:\n|\Z))+)", re.MULTILINE
)


def blocks(path):
    """Yield the line number and the code of each block."""
    text = path.read_text(encoding="utf-8")
    for match in (MARKDOWN if path.suffix == ".md" else REST).finditer(text):
        yield text.count("\n", 0, match.start(1)) + 1, textwrap.dedent(match[1])


def run(path):
    """Run the blocks of one file; return how many ran and whether all of them passed."""
    namespace = {"__name__": "__main__"}
    n_blocks = 0
    for line, code in blocks(path):
        n_blocks += 1
        try:
            # Blank lines in front make the traceback's line numbers those of the document.
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)
        except Exception:
            traceback.print_exc()
            print(f"\n{path}:{line}: this block failed:\n\n{textwrap.indent(code, '    ')}")
            return n_blocks, False
    return n_blocks, True


def main(arguments):
    paths = []
    for argument in map(Path, arguments):
        found = argument.iterdir() if argument.is_dir() else [argument]
        paths += sorted(p.resolve() for p in found if p.suffix in (".md", ".rst"))
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for path in paths:
            start = time.perf_counter()
            n_blocks, ok = run(path)
            passed = passed and ok
            print(f"{path.name}: {n_blocks} blocks, {time.perf_counter() - start:.1f} s")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
