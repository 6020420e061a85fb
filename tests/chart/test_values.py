"""What cannot work is refused before anything is installed, and what is set reaches the gateway."""

from __future__ import annotations

import json
import tempfile
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest

from gateway.settings import Settings, load
from tests.chart.rendering import MATRIX, Values, chart, documents, gateway, manifests, of_kind, open_chart, texts
from tools.chart_schema import KEYS, SCHEMA, keys, schema

_CONFIG = Path(__file__).parents[2] / "config"


def _merged(values: Values) -> Values:
    """As Helm's install does it: the schema sees the defaults, too."""
    merged: Values = chart().merge_values(values)
    return merged


_REFUSED: dict[str, Values] = {
    "a typo in the gateway's own file": {"config": {"requests": {"max_wiat": 3}}},
    "a typo in a table's name": {"config": {"request": {"max_wait": 3}}},
    "a word for a number": {"config": {"requests": {"max_wait": "long"}}},
    "a typo in a provider": {"config": {"provider": {"groq": {"enabeld": False}}}},
    "a client without a key": {"config": {"client": [{"name": "alice"}]}},
    "two Redis": {"redis": {"url": "redis://a", "bundled": {"enabled": True}}},
    "Redis twice named": {"redis": {"url": "redis://a", "existingSecret": {"name": "b"}}},
    "no replica": {"replicas": 0},
    "half a replica": {"replicas": 1.5},
    "an unknown value": {"replicaCount": 2},
    "an unknown value further down": {"redis": {"bundled": {"enable": True}}},
    "an unknown store": {"redis": {"url": "memcached://a"}},
    "root": {"runAs": 0},
    "a budget that lets no node be drained": {"podDisruptionBudget": {"maxUnavailable": 0}},
    "an Ingress for nobody": {"ingress": {"enabled": True}},
    "a route from nowhere": {"httpRoute": {"enabled": True}},
    "a key in env": {"env": {"GROQ_API_KEY": "gsk"}},
    "a token in env": {"env": {"HF_TOKEN": "hf"}},
    "a variable of the chart's in env": {"env": {"FREEWAY_REDIS_URL": "redis://a"}},
    "a variable of the chart's among the keys": {"secret": {"keys": {"FREEWAY_API_KEY": "a"}}},
    "an empty key": {"secret": {"keys": {"GROQ_API_KEY": ""}}},
    "a short client key": {"secret": {"clientKey": "short"}},
    "a short admin key": {"secret": {"adminKey": "short"}},
    "a password that is no part of an address": {"redis": {"bundled": {"enabled": True, "password": "a/b@c:d?e#f%g"}}},
    "the embedded model": {"config": {"embedded": {"enabled": "on"}}},
    "an address of one's own": {"config": {"server": {"host": "127.0.0.1"}}},
    "drain said twice": {"config": {"server": {"drain": 10}}},
    "replicas said twice": {"config": {"ledger": {"replicas": 10}}},
    "a digest that is none": {"image": {"digest": "latest"}},
    "a size without a unit": {"persistence": {"size": "1"}},
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_cannot_work_is_refused(name: str) -> None:
    with pytest.raises(helm.HelmValuesError):
        chart().validate_schema(_merged(_REFUSED[name]))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"replicas": 3}, "3 gateways are wanted and no Redis is named"),
        ({"autoscaling": {"enabled": True}}, "6 gateways are wanted and no Redis is named"),
        (
            {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}, "redis": {"url": "redis://a"}},
            "minReplicas is 9 and maxReplicas 3",
        ),
        (
            {"image": {"repository": "registry.example.com:5000/me/freeway:1.2"}},
            "set image.repository=registry.example.com:5000/me/freeway and image.tag=1.2",
        ),
        ({"secret": {"keys": {"GROK_API_KEY": "x"}}}, "secret.keys.GROK_API_KEY is a variable of no source"),
    ],
)
def test_what_needs_an_explanation_is_refused_in_one_plain_sentence(values: Values, sentence: str) -> None:
    chart().validate_schema(_merged(values))
    with pytest.raises(helm.HelmRenderError, match=sentence):
        texts(values)


def test_the_key_of_a_provider_of_ones_own_is_taken() -> None:
    own = {"acme": {"title": "Acme", "base_url": "https://acme.example/v1", "key_env": "ACME_API_KEY"}}
    assert texts({"config": {"provider": own}, "secret": {"keys": {"ACME_API_KEY": "x"}}})


def test_schema_and_keys_are_those_of_the_gateway() -> None:
    """``make chart-schema`` writes them."""
    assert json.loads(SCHEMA.read_text()) == schema()
    assert KEYS.read_text() == keys()


def test_a_partial_table_is_a_file_that_the_gateway_reads() -> None:
    """What the schema takes of a shipped provider, the gateway takes, too."""
    values: Values = {"config": {"provider": {"groq": {"enabled": False}}}}
    config = of_kind(tuple(documents(texts(values))), "ConfigMap")
    (file,) = (one["data"]["freeway.toml"] for one in config if one["metadata"]["name"] == "fw-freeway")
    assert not _loaded(file, ()).provider["groq"].enabled


@pytest.mark.parametrize("name", MATRIX)
def test_what_can_work_is_taken(name: str) -> None:
    chart().validate_schema(_merged(MATRIX[name]))


def test_every_value_is_in_the_schema_and_every_table_of_the_schema_is_closed() -> None:
    """But for those that go to Kubernetes or to the gateway as they are, which know their own fields."""
    schema = chart().schema
    assert schema is not None

    def compare(values: Any, schema: dict[str, Any], path: str) -> None:
        if not isinstance(values, dict) or "properties" not in schema or path == ".config":
            return
        assert schema.get("additionalProperties") is False, path
        assert values.keys() == schema["properties"].keys() - {"global", "claims"}, path
        for key, value in values.items():
            compare(value, schema["properties"][key], f"{path}.{key}")

    compare(chart().values, schema, "")


@pytest.mark.parametrize(
    "value",
    [
        'a "quoted" \\ back\nnew line <&> é',
        "",
        True,
        False,
        0,
        3,
        -7,
        1048576,
        20971520,
        0.25,
        1e-7,
        [],
        [1, 2.5, "a"],
        {"a": {"b": [1]}},
    ],
)
def test_a_value_is_the_same_in_the_gateways_file(value: Any) -> None:
    """Helm knows one kind of number; the gateway tells counts from others."""
    made = open_chart().render({"config": {"more": {'odd "key".x': value}}}, name="fw", namespace="ai")
    config = of_kind(tuple(documents(made)), "ConfigMap")[0]
    read = tomllib.loads(config["data"]["freeway.toml"])["more"]['odd "key".x']
    assert read == value
    assert type(read) is type(value)


def _settings(name: str) -> Settings:
    """What the gateway makes of the file and the variables that it gets."""
    found = manifests(name)
    config = of_kind(found, "ConfigMap")[0]["data"]
    container = gateway(found)["containers"][0]
    environ = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    assert environ.pop("FREEWAY_CONFIG") == "/etc/freeway/freeway.toml"
    assert {"name": "config", "mountPath": "/etc/freeway", "readOnly": True} in container["volumeMounts"]
    return _loaded(config["freeway.toml"], tuple(environ.items()))


@lru_cache
def _loaded(text: str, environ: tuple[tuple[str, str], ...]) -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "freeway.toml"
        own.write_text(text)
        return load(_CONFIG, {**dict(environ), "FREEWAY_CONFIG": str(own)}, Path(folder))


@pytest.mark.parametrize("name", MATRIX)
def test_the_gateway_reads_what_the_chart_writes(name: str) -> None:
    settings = _settings(name)
    assert settings.embedded.enabled == "off"
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8000)
    assert str(settings.state_dir) == "/var/lib/freeway"


def test_values_of_ones_own_reach_the_gateway() -> None:
    settings = _settings("a file of one's own")
    assert settings.requests.max_attempts == 3
    assert settings.requests.max_wait == 60
    assert settings.alias["gpt-4o"] == ("auto:mine", "auto")
    assert settings.virtual["auto:mine"].context == 8192
    assert settings.client[0].no_train
    assert settings.server.drain == 120


def test_a_gateway_without_redis_goes_by_the_most_there_can_be() -> None:
    """Fewer would let them take more than a limit together, while Redis is away."""
    assert _settings("nothing said").ledger.replicas == 1
    assert _settings("several on Redis").ledger.replicas == 3
    assert _settings("as many as needed").ledger.replicas == 9


@pytest.mark.parametrize("name", MATRIX)
def test_what_is_unfinished_has_its_time_before_the_pod_is_killed(name: str) -> None:
    pod = gateway(manifests(name))
    wait = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > wait + _settings(name).server.drain


def test_a_new_file_or_key_makes_new_pods() -> None:
    def annotations(values: Values) -> Any:
        return of_kind(tuple(documents(texts(values))), "Deployment")[0]["spec"]["template"]["metadata"]["annotations"]

    plain = annotations({})
    assert annotations({}) == plain
    assert annotations({"config": {"requests": {"max_wait": 1}}}) != plain
    assert annotations({"secret": {"keys": {"GROQ_API_KEY": "a"}}}) != plain
    assert annotations({"redis": {"url": "redis://a"}}) != plain


def test_the_notes_tell_how_to_send_the_first_call() -> None:
    notes = texts({})["freeway/templates/NOTES.txt"]
    for word in ("/v1/chat/completions", "port-forward service/fw-freeway 8000:8000", "get secret fw-freeway"):
        assert word in notes
    assert "NO PROVIDER'S KEY" in notes
    with_key = texts(MATRIX["everything"])["freeway/templates/NOTES.txt"]
    assert "NO PROVIDER'S KEY" not in with_key
    assert "http://llm.example.com" in with_key
