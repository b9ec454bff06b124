from __future__ import annotations

import ast
import importlib
import re
import tomllib
from itertools import chain
from typing import TYPE_CHECKING, Final

import pytest
from django.core.management import get_commands
from django.urls import get_resolver

from byok_portal.boundary import jobs, operations
from byok_portal.quickstart import roles
from tests.docs.reading import (
    DOCUMENTS,
    ROOT,
    anchors_of,
    blocks_of,
    configuration_rows,
    links_of,
    spans_of,
    text_of,
)

if TYPE_CHECKING:
    from pathlib import Path

EACH: Final = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.relative_to(ROOT).as_posix())
PICTURE_BYTES: Final = 200_000
DECISION_LINES: Final = 40
DIAGRAMS: Final = ("stateDiagram-v2", "flowchart ", "sequenceDiagram", "erDiagram")
RELATION: Final = re.compile(r'  [A-Z_]+ (\|\||\}o|\}\|)--(o\{|\|\{|\|\||o\|) [A-Z_]+ : (\w+|"[^"]+")')
RESOURCES: Final = "tenant|member|consumer|provider|key|grant|credential|job"


def settings_variables() -> set[str]:
    """Every name that settings.py asks the environment for."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "byok_portal" / "settings.py").read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith("env."):
            continue
        name = node.args[0]
        if isinstance(name, ast.Constant):
            names.add(str(name.value))
        else:
            assert ast.unparse(name) == "f'DATABASE_URL_{_alias.upper()}'", "a computed name that this test knows"
            names |= {f"DATABASE_URL_{alias}" for alias in ("STAFF", "SEQUENCER", "AUDITOR", "READER")}
    return names


def url_names() -> set[str]:
    """Every URL name, with its namespace."""
    resolver = get_resolver()
    names = {str(name) for name in resolver.reverse_dict if isinstance(name, str)}
    for space, (_, inner) in resolver.namespace_dict.items():
        names |= {f"{space}:{name}" for name in inner.reverse_dict if isinstance(name, str)}
    return names


@EACH
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for link in links_of(document):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors_of(target), link


@EACH
def test_every_file_that_is_named_exists(document: Path) -> None:
    top = {path.name for path in ROOT.iterdir() if path.is_dir()}
    for span in spans_of(document):
        if re.fullmatch(r"[\w./-]+", span) and span.split("/")[0] in top and not span.startswith("."):
            assert (ROOT / span).exists(), span


@EACH
def test_every_url_name_exists(document: Path) -> None:
    names = url_names()
    for span in spans_of(document):
        if re.fullmatch(r"(keys|tenants|audit|api|admin):[a-z_-]+", span):
            assert span in names, span


@EACH
def test_every_operation_and_event_that_is_named_exists(document: Path) -> None:
    importlib.import_module("byok_portal.urls")
    known = {*operations.REGISTRY, *jobs.REGISTRY}
    known |= {event for operation in operations.REGISTRY.values() for event in operation.events}
    for span in spans_of(document):
        if re.fullmatch(rf"({RESOURCES})\.[a-z_]+", span):
            assert span in known, span


@EACH
def test_every_command_of_make_and_manage_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    shell = "\n".join(content for language, content in blocks_of(document) if language == "sh")
    said = shell + "\n" + "\n".join(spans_of(document))
    assert set(re.findall(r"^make ([a-z]+)", said, re.MULTILINE)) <= targets
    assert set(re.findall(r"manage\.py ([a-z_]+)", said)) <= set(get_commands())


@EACH
def test_no_machine_path_and_no_package_index_is_named(document: Path) -> None:
    text = text_of(document)
    assert not re.search(r"/(work|root|home|tmp)/\w", text)
    assert not re.search(r"--(extra-)?index-url|simple/", text)


@EACH
def test_every_diagram_is_of_a_known_kind_with_its_brackets_closed(document: Path) -> None:
    for language, content in blocks_of(document):
        if language == "mermaid":
            assert content.startswith(DIAGRAMS)
            if content.startswith("erDiagram"):
                assert all(RELATION.fullmatch(line) for line in content.splitlines()[1:])
                continue
            for opening, closing in ("()", "[]", "{}"):
                assert content.count(opening) == content.count(closing), opening


def test_the_table_of_readme_has_every_variable_that_the_settings_read() -> None:
    assert settings_variables() <= configuration_rows()


def test_every_variable_of_the_table_is_read_somewhere() -> None:
    files = [*(ROOT / "byok_portal").rglob("*.py"), ROOT / "tests" / "environment.py", *(ROOT / ".ci").iterdir()]
    read = "\n".join(path.read_text(encoding="utf-8") for path in files)
    computed = {f"BYOK_PASSWORD_{short.upper()}" for short in roles.LOGINS} | settings_variables()
    for name in configuration_rows() - computed:
        assert name in read, name


def test_readme_leads_to_every_document() -> None:
    readme = ROOT / "README.md"
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links_of(readme)}
    assert set(DOCUMENTS) - {readme} <= linked


def test_a_decision_has_its_three_parts_and_stays_short() -> None:
    for document in (ROOT / "docs" / "decisions").glob("*.md"):
        text = text_of(document)
        parts = [text.find(f"\n## {name}\n") for name in ("Context", "Decision", "Consequences")]
        assert -1 < parts[0] < parts[1] < parts[2], document.name
        assert len(text.splitlines()) < DECISION_LINES, document.name


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    page = text_of(ROOT / "docs" / "dependencies.md")
    for requirement in declared:
        assert re.split(r"[\[<>=]", requirement)[0] in page, requirement


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "pictures").glob("*.png"))
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < PICTURE_BYTES, picture.name
