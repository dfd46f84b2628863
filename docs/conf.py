"""How the documentation is built: sphinx-build -W -b html docs docs/_build/html."""

import os
import re
from importlib.metadata import version as version_of

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

os.environ.setdefault("MPLBACKEND", "Agg")

project = "skscore"
author = "The skscore developers"
project_copyright = "2026, The skscore developers"
version = release = version_of("skscore")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "code"
toc_object_entries_show_parents = "hide"

# API pages: one page for each public name, from its docstring.
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings state types, with their shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Gallery: the examples read SKSCORE_BUDGET, which .ci/run sets to "small".
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("skscore",),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "reference_url": {"skscore": None},  # links in the examples' code lead to the API pages
    "write_computation_times": False,
}

# Equations become MathML when the pages are built: reading them fetches nothing either.
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "skscore"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_sidebars = {
    page: []
    for page in (
        "index",
        "user_guide",
        "density",
        "noise_scale",
        "diffusion",
        "tables",
        "symbols",
        "extending",
        "changelog",
    )
}  # pages that have none below them
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out what scikit-learn adds to a class: its docstrings refer to scikit-learn's pages."""
    module = getattr(getattr(obj, "fget", obj), "__module__", None)
    return True if what == "class" and not str(module).startswith("skscore") else None


def keep_equations(app, what, name, obj, options, lines):
    """Keep the equations of a docstring as they stand in the source.

    Those of a module are indented, and become literal blocks. A determinant, |det J|, is not a
    substitution, and a shape, (n_features_in_,), is not a link.
    """
    lines[:] = [
        line
        if line.lstrip().startswith((">>>", "..."))
        else re.sub(r"(`.*?`+)|(\|(?=\w)|(?<=\w)_(?=[,)]))", lambda m: m[1] or "\\" + m[2], line)
        for line in lines
    ]
    if what != "module":
        return
    source, lines[:] = list(lines), []
    for before, line in zip(["", *source], source, strict=False):
        if line.startswith(" ") and not before.strip() and not inside_literal(lines):
            lines += [".. code-block:: text", ""]
        lines.append(re.sub(r"\\([|_])", r"\1", line) if line.startswith(" ") else line)


def inside_literal(lines):
    """Whether the last line that is not blank is indented: its block goes on."""
    written = [line for line in lines if line.strip()]
    return bool(written) and written[-1].startswith(" ")


def mathml(tex, as_block=False):
    """Turn TeX into MathML, with the space around named functions that TeX would leave."""
    return re.sub(
        r"<mi[^>]*>(log|ln|tr)</mi>",
        r'<mo lspace="0.17em" rspace="0.17em">\1</mo>',
        tex2mathml(tex, as_block=as_block),
    )


def inline_equation(translator, node):
    """Write an equation that stands in a line of text."""
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def block_equation(translator, node):
    """Write an equation that stands by itself, with its number and the mark to link to it."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({node["number"]})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(mathml(node.astext(), as_block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline_equation, None), (block_equation, None))
    app.connect("autodoc-skip-member", skip_foreign_members)
    app.connect("autodoc-process-docstring", keep_equations)
