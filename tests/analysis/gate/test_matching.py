from __future__ import annotations

import pytest
from gate_records import CELL, make_record, make_side

from testbed.analysis.gate.matching import Problem, match
from testbed.errors import InputError

LOUD = {"loss": "bernoulli 25 %", "loss_rate": 0.25}


def test_cells_are_told_by_transport_and_coordinates() -> None:
    records = [make_record(s, transport=t, cell=c)
               for c in ({}, LOUD) for t in ("h264", "h265") for s in (1, 2)]  # fmt: skip
    found = match(make_side(records), make_side(reversed(records), "new"))
    assert [cell.name for cell in found.cells] == [
        "h264, loss bernoulli 5 %", "h265, loss bernoulli 5 %",
        "h264, loss bernoulli 25 %", "h265, loss bernoulli 25 %",
    ]  # fmt: skip
    assert all(cell.shared == [1, 2] for cell in found.cells)
    assert found.cells[0].pool == found.cells[2].pool != found.cells[1].pool
    assert (found.problems, found.notes) == ((), ())


def test_a_cell_that_nothing_sets_apart_is_its_transport() -> None:
    found = match(make_side([make_record()]), make_side([make_record()]))
    assert [cell.name for cell in found.cells] == ["h264"]


def test_a_changed_trace_or_option_is_the_same_cell_and_is_told() -> None:
    old = make_record(
        settings={"downlink.trace": "a", "k": "1"}, made_with={"code": "1", "av": "9"}
    )
    new = make_record(
        settings={"downlink.trace": "b", "k": "1", "extra": "x"},
        made_with={"code": "2", "av": "9"},
        cell={"paths": "bbbb"},
    )
    found = match(make_side([old]), make_side([new], "new"))
    assert len(found.cells) == 1
    assert found.notes == (
        "made with other versions: code 1 -> 2",
        "downlink.trace differs: a -> b (1 run)",
        "extra differs: unset -> x (1 run)",
    )


def test_many_differences_are_cut_short() -> None:
    old, new = (make_record(settings={f"s{n}": v for n in range(12)}) for v in ("a", "b"))
    notes = match(make_side([old]), make_side([new])).notes
    assert len(notes) == 9
    assert notes[-1] == "... and 4 more differences of settings"


def test_paths_tell_cells_apart_only_where_nothing_else_does() -> None:
    records = [make_record(cell={"paths": path}) for path in ("aaaa", "bbbb")]
    found = match(make_side(records), make_side(records))
    assert len(found.cells) == 2


def test_two_versions_in_one_folder_are_refused() -> None:
    mixed = [make_record(made_with={"code": c}) for c in ("1", "2")]
    with pytest.raises(InputError, match=r"new: holds two runs of h264, seed 1, .*differ in code"):
        match(make_side([make_record()]), make_side(mixed, "new"))


def test_a_field_of_one_version_only_does_not_part_cells() -> None:
    new = make_record(cell={"colour": "blue"})
    found = match(make_side([make_record()]), make_side([new], "new"))
    assert len(found.cells) == 1
    assert found.notes == ("only new states colour",)


def test_nothing_in_common_says_what_differs() -> None:
    with pytest.raises(InputError, match=r"old and new share no cell: loss is bernoulli 5 % and"):
        match(make_side([make_record()]), make_side([make_record(cell=LOUD)], "new"))


def test_missing_and_new_cells() -> None:
    old = [make_record(), make_record(cell=LOUD)]
    new = [make_record(), make_record(transport="h265")]
    found = match(make_side(old), make_side(new, "new"))
    assert found.problems == (
        Problem("missing", "h264, loss bernoulli 25 %", "no run of this cell"),
    )
    assert found.notes == ("new cell, not compared: h265, loss bernoulli 5 %",)


def test_a_seed_is_missing_only_where_it_was_asked_for() -> None:
    old = [make_record(s, cell=c) for c in ({}, LOUD) for s in (1, 2, 3)]
    new = [make_record(s) for s in (1, 2)] + [make_record(1, cell=LOUD)]
    found = match(make_side(old), make_side(new, "new"))
    assert found.problems == (Problem("missing", "h264, loss bernoulli 25 %", "no run of seed 2"),)
    assert found.notes == ("seeds of the baseline only, not compared: 3",)


def test_other_seeds_are_not_paired() -> None:
    found = match(make_side([make_record(1)]), make_side([make_record(2)]))
    assert found.cells[0].shared == []
    assert found.problems == ()
    assert found.notes == ("the sides share no seeds: runs are compared unpaired",)


def test_failed_and_broken_runs() -> None:
    failure = {"scenario": "made-up", "transport": "h264", "cell": CELL, "error": "it fell over"}
    after = make_side(
        [make_record(1)],
        "new",
        failures=({**failure, "seed": 2}, {**failure, "seed": 1, "transport": "h266"}),
        broken=("new/runs/x: garbled",),
    )
    found = match(make_side([make_record(s) for s in (1, 2)]), after)
    assert found.problems == (
        Problem("broken", "", "new/runs/x: garbled"),
        Problem("failed", "h264, seed 2", "it fell over"),
    )
    assert found.notes[0] == "a failed run that the baseline does not have: h266, seed 1"


def test_all_failed_is_a_regression_and_no_misuse() -> None:
    failure = {"scenario": "made-up", "transport": "h264", "seed": 1, "cell": CELL, "error": "no"}
    found = match(make_side([make_record()]), make_side([], "new", failures=(failure,)))
    assert [(p.kind, p.cell) for p in found.problems] == [("failed", "h264, seed 1")]
