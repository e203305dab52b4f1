import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from testbed.errors import ScenarioError
from testbed.experiments.scenario import json_schema, load_scenario, schema_text
from testbed.paths import data_dir

Write = Callable[..., Path]


def test_a_value_stands_for_a_list_of_one(write: Write) -> None:
    one = load_scenario(write("clips: [some-clip]", "clips: some-clip")).scenario
    many = load_scenario(write()).scenario
    assert one == many


def test_loss_lists_are_axes_and_lists_inside_are_combined(write: Write) -> None:
    path = write(
        "    - {kind: bernoulli, rate: [0, 0.05]}",
        "    - [{kind: bernoulli, rate: 0.1}, {kind: periodic-outage}]\n    - none",
    )
    loss = load_scenario(path).scenario.downlink.loss
    assert [[model.kind for model in combined] for combined in loss] == [
        ["bernoulli", "periodic-outage"],
        ["none"],
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("packets: 60", "packets: -3", ":7: downlink.queue.packets: must be >= 1 (got -3)"),
        ("packets: 60", "packets: 1.5", "downlink.queue.packets: must be a whole number (got 1.5)"),
        ("packets: 60", "pakets: 60", "unknown key; known here: bytes, kind, packets"),
        (", packets: 60", "", ":7: downlink.queue: needs `packets` or `bytes`"),
        (
            "{kind: droptail, packets: 60}",
            "3",
            ":7: downlink.queue: must be a mapping with a `kind`",
        ),
        ("[0, 0.05]", "[0, -0.05]", ":9: downlink.loss[0].rate[1]: must be >= 0 (got -0.05)"),
        ("[0, 0.05]", "1.5", ":9: downlink.loss[0].rate: must be <= 1 (got 1.5)"),
        (", rate: [0, 0.05]", "", ":9: downlink.loss[0].rate: is missing"),
        (
            "bernoulli, rate: [0, 0.05]",
            "gilbert-elliott, rate: 0.1",
            "needs `rate` and `mean_burst`",
        ),
        (
            "bernoulli, rate: [0, 0.05]",
            "gilbert-elliott, p: 0.1, r: 0.5, rate: 0.1",
            "needs `rate` and `mean_burst`, or `p` and `r`",
        ),
        ("delay_ms: 50", "delay_ms: .inf", ":10: downlink.delay_ms: must be a finite number"),
        ("delay_ms: 50", "delay_ms: yes", "downlink.delay_ms: must be a number (got True)"),
        ("delay_ms: 50", "order: [queue, loss]", "must hold queue, loss and delay once each"),
        ("delay_ms: 50", "delay_trace: {step_ms: 5}", "needs `samples_ms` or `file`, not both"),
        ("duration_s: 2", "duration_s: 0", ":4: duration_s: must be > 0 (got 0)"),
        ("duration_s: 2", "duration: 2", ":4: duration: unknown key; known here: clips, "),
        ("duration_s: 2", "duration_s: 2\nwarmup_s: 2", "warmup_s must be less than duration_s"),
        ("duration_s: 2", "duration_s: 2\nwidth: 321", ":5: width: must be even (4:2:0 pictures)"),
        ("duration_s: 2", "duration_s: 2\nwidth: [2, 4]\nheight: 2", "lists of equal length"),
        ("duration_s: 2", "duration_s: 2\nquality: [psnr, lpips]", "must be one of 'vmaf'"),
        ("name: tiny", "name: a/b", ":1: name: must be letters, digits"),
        ("name: tiny", "name: 5.1", ":1: name: must be text (got 5.1)"),
        ("kbps: 400", "kbps: 0", ":12: rate.kbps: must be > 0 (got 0)"),
        (", kbps: 400", "", ":12: rate: control fixed needs `kbps`"),
        (
            "seeds: [1, 2, 3]",
            "competing: {kind: udp}",
            ":13: competing.kind: must be one of 'none'",
        ),
        ("seeds: [1, 2, 3]", "competing: {kind: tcp, count: 0}", ":13: competing.count: must be"),
        ("seeds: [1, 2, 3]", "competing: {kind: tcp, control: bbr}", "only media flows have a"),
        ("seeds: [1, 2, 3]", "competing: {kind: media, kbps: 3}", "`kbps` need each other"),
        ("seeds: [1, 2, 3]", "competing: {kind: media, start_s: 2, stop_s: 1}", "stop_s must be"),
        ("seeds: [1, 2, 3]", "competing: {kind: media, transfer_kbytes: 5}", "only tcp flows"),
        ("seeds: [1, 2, 3]", "competing: {kind: media, strat_s: 2}", "unknown key; known here:"),
        ("[1, 2, 3]", "[1, 1]", ":13: seeds: must not repeat a value"),
        ("[1, 2, 3]", "[]", ":13: seeds: must not be an empty list"),
        ("[1, 2, 3]", "[-1]", ":13: seeds[0]: must be >= 0 (got -1)"),
        ("[1, 2, 3]", "3", ":13: seeds: must be a list (got 3)"),
        ("[h264, h265]", "[]", ":11: transports: must not be an empty list"),
        ("[h264, h265]", "[{label: x}]", ":11: transports[0].name: is missing"),
    ],
)
def test_mistakes_are_one_line_with_file_line_and_field(
    write: Write, old: str, new: str, message: str
) -> None:
    path = write(old, new)
    with pytest.raises(ScenarioError) as error:
        load_scenario(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mistyped_key_comes_before_the_one_it_leaves_out(write: Write) -> None:
    with pytest.raises(ScenarioError, match=r"duration: unknown key.*\(and 1 more\)"):
        load_scenario(write("duration_s: 2", "duration: 2"))


def test_overrides_and_seeds_come_from_the_command_line(write: Write) -> None:
    loaded = load_scenario(write(), overrides=["rate.kbps=[200, 300]", "compute=zero"], seeds=5)
    assert loaded.scenario.rate[0].kbps == (200, 300)
    assert loaded.scenario.seeds == (1, 2, 3, 4, 5)
    with pytest.raises(ScenarioError, match=r"^--set rate\.kbps=x: rate\.kbps: must be a number"):
        load_scenario(write(), overrides=["rate.kbps=x"])


def test_the_exported_schema_is_current() -> None:
    """`testbed schema -o scenarios/schema.json` after a change of the models."""
    assert (data_dir("scenarios") / "schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_explains_every_key() -> None:
    schema = json_schema()
    for name, model in [("Scenario", schema), *schema["$defs"].items()]:
        assert model["additionalProperties"] is (
            name.startswith(("Registered", "Transport", "Rate"))
        )
        for key, field in model["properties"].items():
            assert key == "kind" or field.get("description") or name.startswith("Registered"), (
                f"{name}.{key}"
            )
    json.dumps(schema)


@pytest.mark.parametrize("path", sorted(data_dir("scenarios").glob("*.yaml")), ids=lambda p: p.stem)
def test_another_validator_agrees_on_the_shipped_scenarios(path: Path) -> None:
    """Outside oracle: what an editor does with `scenarios/schema.json`."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(json_schema())
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(content)) == []
    for mistake in (
        {"unknown": 1},
        {"duration_s": 0},
        {"transports": []},
        {"rate": {"control": 3}},
        {"downlink": {"queue": {"kind": "droptail", "packets": 0}}},
        {"downlink": {"loss": {"kind": "bernoulli", "rate": 2}}},
        {"downlink": {"loss": {"kind": "bernoulli", "rate": 0.1, "burst": 2}}},
    ):
        assert not validator.is_valid({**content, **mistake}), mistake
