"""The catalogue that we ship is complete, and a bad one is refused."""

import pytest

from testbed.errors import TraceError
from testbed.traces import catalogue, resolve
from testbed.traces.catalogue import catalogue_path, load
from testbed.traces.files import MANIFEST_SUFFIX
from testbed.traces.formats import FORMATS, read_file, write_text
from testbed.traces.models.model import load as load_model

PARAMETRIC = catalogue_path().parent / "parametric"


def test_every_entry_has_origin_licence_and_citation():
    entries = load()
    assert {entry.kind for entry in entries} == {"traces", "models", "sets", "datasets"}
    for entry in entries:
        assert entry.origin
        assert entry.licence
        assert entry.citation
        assert entry.importer == "" or entry.importer in FORMATS.names()


def test_every_shipped_file_is_in_the_catalogue():
    folder = catalogue_path().parent
    models = {entry.file: entry.name for entry in load() if entry.kind == "models"}
    assert set(models) == {f"models/{path.name}" for path in (folder / "models").glob("*.json")}
    for file, name in models.items():
        assert load_model(name, base=folder).name == name
        assert load_model(file, base=folder).name == name
    shipped = {path.stem for path in PARAMETRIC.glob("*.mahimahi")}
    assert shipped
    assert shipped <= set(catalogue.names("traces"))


@pytest.mark.parametrize("path", sorted(PARAMETRIC.glob("*.mahimahi")), ids=lambda path: path.stem)
def test_shipped_files_are_what_the_formula_gives(path, tmp_path):
    (trace,) = resolve(path.stem, base=tmp_path)
    assert path.read_text() == write_text(trace.trace, "mahimahi")
    assert read_file(path)[0] == "mahimahi"
    assert trace.sha256 in path.with_name(path.name + MANIFEST_SUFFIX).read_text()


def test_sets_resolve(tmp_path):
    for name in catalogue.names("sets"):
        assert len(resolve(f"set:{name}", base=tmp_path)) > 1


ENTRY = "{name: x, title: t, origin: o, licence: l, citation: c}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not YAML"),
        ("5", "must hold traces, models"),
        ("traces: [5]", "traces[0] must be a mapping"),
        ("traces: [{name: x}]", "traces[0]: field title is missing"),
        (f"traces: [{ENTRY[:-1]}, colour: red}}]", "unknown field colour"),
        (f"traces: [{ENTRY}, {ENTRY}]", "'x' is there twice"),
    ],
)
def test_a_bad_catalogue(tmp_path, text, message):
    path = tmp_path / "catalogue.yaml"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_catalogue(tmp_path):
    with pytest.raises(TraceError, match=r"cannot be read"):
        load(tmp_path / "catalogue.yaml")
