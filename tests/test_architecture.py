"""Arrows between modules point one way only; what they are is read from the source."""

import ast
import importlib
import inspect
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import skscore
from skscore._base import ScoreEstimator

ROOT = Path(skscore.__file__).parent


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imports(nodes, name, *, is_package=False):
    """Names of the modules that import statements among the nodes of a module ask for."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".")
                package = package[: len(package) - node.level + is_package]
                base = ".".join([*package, *filter(None, [base])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                found.add(submodule if submodule in FILES else base)
    return found


def everywhere(name):
    """What a module imports, also inside of functions."""
    return imports(ast.walk(TREES[name]), name, is_package=FILES[name].name == "__init__.py")


IMPORTS = {name: everywhere(name) for name in FILES}
OWN = {name: found & FILES.keys() for name, found in IMPORTS.items()}


def short(names):
    return {name.removeprefix("skscore.") for name in names}


def reached(name):
    """The modules of the package that a module imports, directly or through another."""
    seen, todo = set(), [name]
    while todo:
        new = OWN[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def package_of(name):
    """The public module of the package that a file belongs to."""
    return ".".join(name.split(".")[:2])


def is_public(name):
    return not any(part.startswith("_") for part in name.split("."))


def modules(*roots):
    """The named modules, and those inside of them."""
    found = [
        name for name in FILES if any(f"{name}.".startswith(f"skscore.{root}.") for root in roots)
    ]
    assert len(found) >= len(roots), f"{roots} are not all there"
    return found


def test_imports_are_read_in_all_their_forms():
    source = """
import os.path, torch
from skscore import objectives, nothing_of_that_name
from skscore.noise import FixedSigma
from . import metrics
from .networks import ScoreMLP
def later():
    if True:
        import pandas as pd
"""
    found = imports(ast.walk(ast.parse(source)), "skscore.samplers")
    assert found == {
        "os.path",
        "torch",
        "skscore.objectives",
        "skscore",
        "skscore.noise",
        "skscore.metrics",
        "skscore.networks",
        "pandas",
    }
    inside = imports(
        ast.walk(ast.parse("from ._base import x")), "skscore.datasets", is_package=True
    )
    assert inside == {"skscore.datasets._base"}
    # They are the imports of this package: what is known to be there is found.
    assert "skscore.objectives" in OWN["skscore._losses"]
    assert "torch" in IMPORTS["skscore.objectives"]


@pytest.mark.parametrize(
    "name",
    modules("noise", "networks", "divergence", "gaussians", "exceptions", "_validation", "_typing"),
)
def test_the_ground_floor_knows_nobody(name):
    own = {found for found in OWN[name] if not found.startswith(f"{package_of(name)}.")}
    assert short(own) <= {"_typing"}


def test_energies_share_the_layers_of_scores_and_kernels_their_base():
    assert short(OWN["skscore.energies"]) == {"networks"}
    assert short(OWN["skscore.kernel"]) == {"gaussians"}


@pytest.mark.parametrize("name", modules("objectives", "samplers", "stacking"))
def test_objectives_and_solvers_know_a_score_function_and_no_network(name):
    own = {found for found in OWN[name] if not found.startswith(f"{package_of(name)}.")}
    assert short(own) <= {"_typing", "divergence", "noise"}


@pytest.mark.parametrize("name", modules("likelihood"))
def test_likelihoods_know_a_score_function_and_no_network(name):
    known = {"skscore.networks", "skscore._base", "skscore._training", "skscore.objectives"}
    assert not reached(name) & known


NETWORKS = {"networks", "energies", "kernel"}


@pytest.mark.parametrize(
    "name",
    modules("_candidates", "_noise_stack", "stacking", "_inference", "_log_densities", "_chains"),
)
def test_what_reads_or_combines_models_knows_no_estimator_and_no_network(name):
    known = {f"skscore.{own}" for own in NETWORKS} | {"skscore._base", "skscore._training"}
    below = reached(name)
    assert not below & known
    assert not any(defines_an_estimator(own) for own in {name, *below})


def test_warnings_of_their_own_kind_know_nobody_and_nothing_of_torch():
    assert IMPORTS["skscore.exceptions"] == set()


def test_units_and_ties_are_arithmetic_on_arrays():
    assert short(OWN["skscore._units"]) == {"_ties", "_validation", "exceptions"}
    assert "torch" not in IMPORTS["skscore._units"]
    assert OWN["skscore._ties"] == set()


def test_warnings_are_given_in_one_place_that_finds_the_line_of_the_user():
    users = {name for name, found in IMPORTS.items() if "warnings" in found}
    assert users == {"skscore._validation"}


def test_skorch_is_imported_in_one_place():
    users = {
        name
        for name, found in IMPORTS.items()
        if any(module.split(".")[0] == "skorch" for module in found)
    }
    assert users == {"skscore._training"}


@pytest.mark.parametrize(
    "name",
    modules(
        "_ties",
        "metrics",
        "_container",
        "pipeline",
        "_jacobian",
        "datasets",
        "tabular.encoder",
        "_groups",
        "tabular._marginals",
        "tabular.report",
    ),
)
def test_what_works_on_arrays_reaches_no_torch(name):
    for module in {name, *reached(name)}:
        roots = {found.split(".")[0] for found in IMPORTS[module]}
        assert not roots & {"torch", "skorch"}, f"{module} imports it"


@pytest.mark.parametrize("name", FILES)
def test_optional_packages_are_imported_where_they_are_used(name):
    at_the_top = [
        node
        for statement in TREES[name].body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
    ]
    roots = {module.split(".")[0] for module in imports(at_the_top, name)}
    assert not roots & {"matplotlib", "narwhals", "ot", "pandas", "polars", "xgboost"}


def test_a_generator_of_tables_is_put_together_from_the_parts():
    for name in modules("tabular"):
        assert not reached(name) & {"skscore._base", "skscore.ncsn", "skscore.density"}


def test_nothing_but_tables_knows_how_tables_are_encoded():
    tables = set(modules("tabular"))
    # Cells of a table are given to a pipeline before any of its steps encodes them.
    known = {"skscore._conditioning": {"skscore.tabular._given"}}
    for name in FILES.keys() - tables:
        assert OWN[name] & tables == known.get(name, set()), f"{name} imports it"
    cells = {"tabular._casts", "tabular._cells", "tabular._given_polars", "tabular._layout"}
    assert short(reached("skscore.tabular._given")) == {"_polars"} | cells


def test_no_imports_go_round_in_a_circle():
    try:
        order = list(TopologicalSorter(OWN).static_order())
    except CycleError as error:
        pytest.fail(f"circle of imports: {error.args[1]}")
    assert set(order) == set(FILES)


def test_no_module_imports_the_package_that_imports_it():
    assert [name for name, own in OWN.items() if "skscore" in own] == []


def defines_an_estimator(name):
    members = vars(importlib.import_module(name)).values()
    return any(
        inspect.isclass(member) and issubclass(member, ScoreEstimator) and member.__module__ == name
        for member in members
    )


def test_estimators_stand_on_the_base_and_not_on_each_other():
    estimators = {name for name in FILES if is_public(name) and defines_an_estimator(name)}
    assert {"density", "denoising", "ncsn"} <= short(estimators)
    for name in estimators:
        below = reached(name)
        assert "skscore._base" in below
        # One that chooses a parameter of another is that other, with one parameter less.
        kin = {"skscore.denoising"} if name == "skscore.denoising_cv" else set()
        assert below & estimators == kin, f"{name} imports another estimator"


def test_the_training_knows_no_estimator_and_the_losses_no_training():
    assert not short(reached("skscore._training")) & {"_base", "networks", "samplers"}
    below = {package_of(name) for name in reached("skscore._losses")}
    assert short(below) <= {"objectives", "divergence", "noise", "_typing"}


PUBLIC = [name for name in FILES if is_public(name)]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_says_what_it_offers(name):
    module = importlib.import_module(name)
    assert isinstance(module.__all__, list)
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    for offered in module.__all__:
        assert not offered.startswith("_")
        assert hasattr(module, offered), f"{name} has no {offered}"
    defined = {
        node.name
        for node in TREES[name].body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert defined <= set(module.__all__)


PRIVATE = [name for name in FILES if not is_public(name) and not name.endswith(".__main__")]


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_module_offers_only_what_it_has(name):
    module = importlib.import_module(name)
    for offered in getattr(module, "__all__", []):
        assert hasattr(module, offered), f"{name} has no {offered}"


def test_what_the_package_offers_is_documented_in_a_public_module():
    for offered in skscore.__all__:
        home = getattr(skscore, offered).__module__
        assert is_public(home)
        assert offered in importlib.import_module(home).__all__
