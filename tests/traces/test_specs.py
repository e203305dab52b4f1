"""What a user may write for a trace."""

from pathlib import Path

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces import ResolvedTrace, catalogue, fetch, resolve
from testbed.traces.files import FOLDERS_VARIABLE


@pytest.fixture(autouse=True)
def no_user_folders(monkeypatch, tmp_path):
    monkeypatch.delenv(FOLDERS_VARIABLE, raising=False)
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "INSTALLED", tmp_path / "not-installed")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    for number in range(1, 6):
        (place / f"link{number}.down").write_text(f"{number}\n")
    (place / "README").write_text("not a trace")
    (place / "link1.down.manifest.json").write_text("{}")
    (place / ".hidden").write_text("x")
    return tmp_path


def names(traces: list[ResolvedTrace]) -> list[str]:
    return [trace.name for trace in traces]


def test_every_catalogue_trace_resolves_and_keeps_its_name(tmp_path):
    for name in catalogue.names("traces"):
        (trace,) = resolve(name, base=tmp_path)
        assert trace.name == name
        assert not trace.synthetic
        assert trace.source.startswith(f"catalogue {name}: formula ")
        assert trace.opportunities().mean_kbps == pytest.approx(trace.trace.mean_kbps, rel=2e-3)


def test_the_papers_trace(tmp_path):
    (trace,) = resolve("bandwidth-tracking", base=tmp_path)
    assert trace.duration_s == 30.0
    assert trace.trace.mean_kbps == pytest.approx(350.0, abs=0.001)
    rates = trace.trace.rates_kbps
    assert (float(rates.min()), float(rates.max())) == pytest.approx((200, 500), abs=0.1)


def test_rfc_8867_5_1(tmp_path):
    (trace,) = resolve("rfc8867-5.1", base=tmp_path)
    assert trace.trace.rates_kbps.tolist() == [1000.0, 2500.0, 600.0, 1000.0]


def test_formulas_have_short_unique_names(tmp_path):
    (short,) = resolve("constant:2000kbps", base=tmp_path)
    assert short.name == "constant-2000kbps"
    long = "segments:" + ",".join(f"{k}kbps@10s" for k in range(1, 30))
    (one,) = resolve(long, base=tmp_path)
    (two,) = resolve(long + ",5kbps@1s", base=tmp_path)
    assert len(one.name) <= 48
    assert one.name != two.name


def test_a_path_a_glob_and_a_folder(folder):
    (one,) = resolve("mine/link3.down", base=folder)
    assert one.name == "link3.down"
    assert isinstance(one.trace, OpportunityTrace)
    assert one.source == "file link3.down (mahimahi)"
    assert names(resolve("mine/link[12].down", base=folder)) == ["link1.down", "link2.down"]
    assert names(resolve("mine/link*", base=folder)[:1]) == ["link1.down"]
    assert len(resolve("mine", base=folder)) == 5
    assert names(resolve(str(folder / "mine" / "link3.down"), base=Path("/"))) == ["link3.down"]


def test_folders_of_the_user_are_searched_after_the_base(folder, monkeypatch):
    monkeypatch.setenv(FOLDERS_VARIABLE, f"/nowhere:{folder}")
    assert len(resolve("mine", base=Path("/"))) == 5
    assert len(resolve("set:mine", base=Path("/"))) == 5


def test_format_and_options(tmp_path):
    (tmp_path / "two.txt").write_text("1 8\n2 16\n")
    (plain,) = resolve("two.txt", base=tmp_path)
    assert plain.trace.rates_kbps.tolist() == [8000.0, 16000.0]
    (forced,) = resolve("puffer:two.txt", base=tmp_path)
    assert forced.trace.rates_kbps.tolist() == [64000.0, 128000.0]
    assert forced.notes
    (unit,) = resolve("puffer(unit=kbps):two.txt", base=tmp_path)
    assert unit.trace.rates_kbps.tolist() == [8.0, 16.0]
    assert not unit.notes


def test_several_series_of_a_file_and_equal_names(tmp_path):
    text = "num_tcp_conn,A_throughput_mbps,B_throughput_mbps\n1,5,6\n"
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "t.csv").write_text(text)
    assert names(resolve("x/t.csv", base=tmp_path)) == ["t.A", "t.B"]
    assert names(resolve("*/t.csv", base=tmp_path)) == ["t.A", "t.B", "t.A-2", "t.B-2"]


def test_models_are_synthetic_seeded_and_indexed(tmp_path):
    (one,) = resolve("model:rail@60s#3", base=tmp_path, seed=5)
    (again,) = resolve("model:rail@60s#3", base=tmp_path, seed=5)
    (other,) = resolve("model:rail@60s#4", base=tmp_path, seed=5)
    (seeded,) = resolve("model:rail@60s#3", base=tmp_path, seed=6)
    assert one.name == "rail-synthetic-60s-3"
    assert one.synthetic
    assert one.source.startswith("synthetic: model rail")
    assert any("proxy for high-speed rail" in note for note in one.notes)
    assert one.sha256 == again.sha256
    assert len({one.sha256, other.sha256, seeded.sha256}) == 3
    assert one.duration_s == 60.0
    assert resolve("model:rail", base=tmp_path)[0].duration_s == 600.0


def test_only_models_depend_on_the_seed(folder):
    for spec in ("mine", "bandwidth-tracking", "set:./mine*2"):
        first, second = (resolve(spec, base=folder, seed=seed) for seed in (1, 2))
        assert [t.sha256 for t in first] == [t.sha256 for t in second]


def test_sets(folder):
    assert len(resolve("set:./mine", base=folder)) == 5
    two, three = resolve("set:./mine*2", base=folder), resolve("set:./mine*3", base=folder)
    # A larger sample holds the smaller one: the order goes by a hash of the names.
    assert names(three)[:2] == names(two)
    assert names(resolve("set:parametric*2", base=folder)) == [
        "bandwidth-tracking",
        "bandwidth-tracking-square",
    ]
    drawn = resolve("set:rail*3", base=folder, seed=1)
    assert names(drawn) == [f"rail-synthetic-600s-{index}" for index in range(3)]
    assert drawn[2].sha256 == resolve("model:rail@600s#2", base=folder, seed=1)[0].sha256


def test_debian_traces_where_they_were_fetched(tmp_path):
    place = fetch.fetched_folder()
    place.mkdir(parents=True)
    (place / "ATT-LTE-driving-2016.down").write_text("1\n2\n")
    (place / "README").write_text("words")
    (trace,) = resolve("debian:ATT-LTE-driving-2016.down", base=tmp_path)
    assert trace.name == "ATT-LTE-driving-2016.down"
    assert names(resolve("set:debian-driving", base=tmp_path)) == [trace.name]
    with pytest.raises(TraceError, match=r"the package has ATT-LTE-driving-2016.down$"):
        resolve("debian:README2", base=tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no-such-trace", "use a path, glob or folder; FORMAT:PATH"),
        ("no-such-trace", "catalogue: bandwidth-tracking"),
        ("", "is no file"),
        ("nowhere/*.csv", "is no file"),
        ("puffer:nowhere", "is no file"),
        ("puffer(unit):mine", "option 'unit' is not of the form name=value"),
        ("mahimahi(unit=kbps):mine", "format mahimahi has no option 'unit'; it has: none"),
        ("constant:fast", "trace 'constant:fast': 'fast' is not a rate"),
        ("model:", "not of the form model:rail@600s#3"),
        ("model:tram", "unknown trace model 'tram'; known: driving, metro, puffer, rail"),
        ("model:rail@soon", "'soon' is not a duration"),
        ("model:nowhere.json", "cannot be read"),
        ("set:", "needs a name"),
        ("set:rail", "say how many, set:rail*10"),
        ("set:rail*0", "asks for 0 traces"),
        ("set:nothing*2", "neither a folder nor one of debian-driving, driving"),
        ("set:./mine*6", "asks for 6 traces; the set has 5"),
        ("debian:x", "testbed traces fetch driving"),
        ("set:debian-driving", "testbed traces fetch driving"),
    ],
)
def test_what_is_nothing_is_one_line(folder, spec, message):
    with pytest.raises(TraceError) as caught:
        resolve(spec, base=folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceError, match=r"no trace files"):
        resolve("empty", base=tmp_path)


def test_the_hash_is_of_the_content_alone():
    values = (np.array([1_000_000]), np.array([5.0]))
    one = ResolvedTrace("a", RateTrace(*values), "x")
    two = ResolvedTrace("b", RateTrace(*values), "y", synthetic=True)
    other = ResolvedTrace("a", RateTrace(values[0], np.array([5.001])), "x")
    ticks = ResolvedTrace("a", OpportunityTrace(np.array([1_000_000])), "x")
    assert one.sha256 == two.sha256
    assert len({one.sha256, other.sha256, ticks.sha256}) == 3
    # Pinned: a changed hash would change the name of every run folder.
    assert ticks.sha256[:16] == "3140921268789614"
