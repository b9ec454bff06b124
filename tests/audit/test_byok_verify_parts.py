"""The stand-alone verifier inside: it shares no code with the portal, agrees with it, and its short cuts are sound."""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import canonicalise
from audit.canonical import parse_canonical as parse_as_the_portal
from audit.merkle import consistency_proof, inclusion_proof
from byok_portal.errors import IntegrityError, InvalidInput
from tests.audit.exporting import Log
from tests.audit.verifying import PROJECT, SOURCE, load_module

DEPTH = 33
QUICK = settings(max_examples=300, deadline=None)


@pytest.fixture(scope="module")
def log() -> Log:
    return Log().fill(240)


def test_the_file_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    nodes = list(ast.walk(ast.parse(SOURCE.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"cryptography"}


def test_the_package_offers_the_command_and_needs_no_more_than_the_file() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"byok-verify": "byok_verify:main"}
    assert project["tool"]["setuptools"]["py-modules"] == [SOURCE.stem]
    assert [name.split(">")[0] for name in project["project"]["dependencies"]] == ["cryptography"]
    assert callable(load_module().main)


def test_file_and_readme_list_every_exit_code() -> None:
    program = load_module()
    readme = (PROJECT / "README.md").read_text()
    for code in [0, 2, *program.Code]:
        assert f"\n    {int(code):2}  " in program.__doc__
        assert f"\n| {int(code)} | " in readme


def test_the_example_of_the_signed_note_standard_verifies() -> None:
    program = load_module()
    key = program.parse_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = program.parse_note(
        "This is an example message.\n\n\u2014 example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n",
        "it",
    )
    assert program.verified_signers(note, [key]) == {"example.com/foo": 0}
    changed = note._replace(body="This is another message.\n")
    with pytest.raises(program.Found) as caught:
        program.verified_signers(changed, [key])
    assert caught.value.fault.code == 11


def test_the_portals_own_proofs_verify_at_every_size() -> None:
    program, log = load_module(), Log().fill(20)
    notes = [log.checkpoint(witnessed=False, size=size) for size in range(1, len(log.leaves) + 1)]
    trees = [program.parse_checkpoint(note, "it") for note in notes]
    for new in trees:
        for index in range(new.size):
            path = inclusion_proof(index, new.size, log.read)
            assert program.is_included(log.hashes[index], index, new, path)
            assert not program.is_included(log.hashes[index], index + 1, new, path)
            assert not program.is_included(log.hashes[index], index, new, [*path, bytes(32)])
            assert not path or not program.is_included(log.hashes[index], index, new, path[1:])
        for old in trees[: new.size]:
            path = consistency_proof(old.size, new.size, log.read)
            assert program.is_extension(old, new, path)
            assert old == new or not program.is_extension(old._replace(root=bytes(32)), new, path)
            assert old == new or not program.is_extension(new, old, path)
            assert not path or not program.is_extension(old, new, path[:-1])


def test_a_path_that_is_too_short_for_the_tree_proves_nothing() -> None:
    program, leaf = load_module(), bytes(range(32))
    tree = program.Checkpoint("log", 1, leaf, None)
    assert program.is_included(leaf, 0, tree, [])
    assert not program.is_included(leaf, 0, tree._replace(size=2), [])
    pair = program.node_hash(leaf, leaf)
    assert not program.is_included(leaf, 0, tree._replace(size=4, root=pair), [leaf])
    assert not program.is_extension(tree, tree._replace(size=4, root=pair), [leaf])


@pytest.mark.parametrize("key", ["name+00000000+{}", "other+{id}+{}", "na me+{id}+{}", "+{id}+{}", "name+{id}+{}x"])
def test_a_damaged_key_line_is_refused(log: Log, key: str) -> None:
    program = load_module()
    good = program.parse_key(log.signers[0].vkey)
    encoded = log.signers[0].vkey.split("+", 2)[2]
    assert program.parse_key(f"{good.name}+{good.id.hex()}+{encoded}").public == good.public
    with pytest.raises(program.Found):
        program.parse_key(key.replace("name", good.name).format(encoded, id=good.id.hex()))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=6) | st.just("\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=5)


def parse_both(line: bytes) -> tuple[Any, Any]:
    """What the verifier and the portal read, None for what they refuse."""
    try:
        ours = load_module().parse_canonical(line)
    except (ValueError, RecursionError):
        ours = None
    try:
        portals = parse_as_the_portal(line, depth_max=DEPTH)
    except IntegrityError:
        portals = None
    return ours, portals


@QUICK
@given(DOCUMENTS, st.data())
def test_verifier_and_portal_agree_on_what_is_canonical(document: dict[str, Any], data: st.DataObject) -> None:
    escaped, sort = data.draw(st.booleans()), data.draw(st.booleans())
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ":"), (",", ": ")]))
    text = json.dumps(document, ensure_ascii=escaped, sort_keys=sort, separators=separators)
    ours, portals = parse_both(text.encode(errors="surrogatepass"))
    assert ours == portals


NOT_CANONICAL = [
    b'{"a":1,"a":1}',
    b'{"b":1,"a":1}',
    b'{"a":1} ',
    b' {"a":1}',
    b'{"a":1}{}',
    b'{"a":-0}',
    b'{"a":01}',
    b'{"a":1e3}',
    b'{"a":1.0}',
    b'{"a":9007199254740992}',
    b'{"a":NaN}',
    b'{"a":"\\u0061"}',
    b'{"a":"\\/"}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\u0000"}',
    '{"ä":1}'.encode(),
    b'{"a":"\xff"}',
    b"\xef\xbb\xbf{}",
    b"[]",
    b"",
    b'{"a":' + b"[" * 34 + b"]" * 34 + b"}",
]


@pytest.mark.parametrize("line", NOT_CANONICAL)
def test_what_is_not_canonical_is_refused_by_both(line: bytes) -> None:
    assert parse_both(line) == (None, None)


SHAPED = st.fixed_dictionaries({"action": st.sampled_from(["key.used", "key.rotated"]), "detail": DOCUMENTS})


@settings(max_examples=400, deadline=None)
@given(st.lists(SHAPED, min_size=1, max_size=4), st.data())
def test_a_line_that_is_of_a_known_shape_is_an_entry_of_canonical_form(bodies: list[Any], data: st.DataObject) -> None:
    program = load_module()
    shapes = program.Shapes()
    lines = []
    for body in bodies:
        try:
            part = canonicalise(body)
        except InvalidInput:
            continue
        lines.append(b'{"body":%b,"prev":"%b=","seq":7,"tenant":"t","v":1}' % (part, b"A" * 43))
        shapes.learn(lines[-1])
    for line in lines:
        at = data.draw(st.integers(0, len(line)))
        new = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"0", b"-", b"1", b"\\u0041", b'":"', b" ", b"\x01"])
        )
        changed = line[:at] + new + line[at + data.draw(st.integers(0, 3)) :]
        if shapes.covers(changed):
            assert parse_both(changed)[0] is not None, changed
            assert program.parse_canonical(changed).keys() == {"body", "prev", "seq", "tenant", "v"}


@pytest.mark.parametrize("number", [b"01", b"-0", b"--1", b"1.0", b"1e1", b"9007199254740992", b"", b"true", b'"1"'])
def test_a_known_shape_has_numbers_of_canonical_form_only(number: bytes) -> None:
    program = load_module()
    shapes, line = program.Shapes(), b'{"body":{"action":"key.used","n":%b},"v":1}'
    shapes.learn(line % b"7")
    assert all(shapes.covers(line % good) for good in (b"0", b"-1", b"10", b"999999999999999"))
    assert not shapes.covers(line % number)


def test_most_lines_are_recognised_without_parsing(log: Log) -> None:
    program = load_module()
    trail = program.Chain(None)
    parsed: list[bytes] = []
    examine = trail._examine

    def count(line: bytes) -> None:
        parsed.append(line)
        examine(line)

    trail._examine = count
    trail.follow(iter(log.export()["entries.jsonl"].split(b"\n")[:-1]))
    assert trail.faults() == []
    assert trail.run.seq == 240
    assert len(parsed) == 2  # one per action
