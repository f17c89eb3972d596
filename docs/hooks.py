"""What mkdocs does beside building: formulas become MathML, and links to examples/ lead to their text on the site."""

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

EXAMPLES = Path(__file__).parents[1] / "examples"
LINK = re.compile(r"\(\.\./examples/(\w+)\.py\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The Markdown of a page, from what GitHub shows, too."""
    here = page.file.src_uri == "examples.md"
    if here:
        markdown += "".join(map(_show, dict.fromkeys(LINK.findall(markdown))))
    markdown = LINK.sub(r"(#\1)" if here else r"(examples.md#\1)", markdown)
    return re.sub(r"^\$\$\n(.*?)\n\$\$$", _formula, markdown, flags=re.MULTILINE | re.DOTALL)


def _show(name: str) -> str:
    """An example's text."""
    return f"\n\n## {name}.py {{#{name}}}\n\n```python\n{(EXAMPLES / f'{name}.py').read_text()}```\n"


def _formula(found: re.Match[str]) -> str:
    """On one line, which Markdown leaves as it is."""
    return f'<div class="formula">{convert(found[1], display="block")}</div>'.replace("\n", "")
