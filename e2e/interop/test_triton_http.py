"""tritonclient.http, unmodified."""

import ml_dtypes
import numpy as np
import pytest
from conftest import HALVES, VALUES, same
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException


def client_of(target):
    return InferenceServerClient(target.http)


def tensor(name, datatype, data, binary=True):
    made = InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data, binary_data=binary)
    return made


def floats(*values):
    return np.array([values], dtype=np.float32)


def sum_inputs(a, b, binary=True):
    return [tensor("a", "FP32", a, binary), tensor("b", "FP32", b, binary)]


@pytest.fixture
def adder(server):
    with client_of(server.target("sum")) as client:
        yield client


def test_it_is_live_and_ready_and_so_is_its_model(adder):
    assert adder.is_server_live()
    assert adder.is_server_ready()
    assert adder.is_model_ready("sum")
    assert adder.is_model_ready("sum", "1")
    assert not adder.is_model_ready("sum", "7")


def test_it_says_what_it_is_and_has(adder):
    metadata = adder.get_server_metadata()
    assert metadata["name"] == "pilotlight"
    assert {"binary_tensor_data", "statistics", "model_configuration"} <= set(metadata["extensions"])
    model = adder.get_model_metadata("sum", "1")
    assert model["platform"] == "onnxruntime_onnx"
    assert model["versions"] == ["1"]
    assert model["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [-1, -1]}
    config = adder.get_model_config("sum")
    assert config["max_batch_size"] >= 0
    assert [one["data_type"] for one in config["input"]] == ["TYPE_FP32", "TYPE_FP32"]
    index = adder.get_model_repository_index()
    assert [(one["name"], one["state"]) for one in index] == [("sum", "READY")]


def test_it_counts(adder):
    def counts():
        (stats,) = adder.get_inference_statistics("sum", "1")["model_stats"]
        return stats["inference_stats"]["success"]["count"], stats["inference_stats"]["fail"]["count"]

    succeeded, failed = counts()
    adder.infer("sum", sum_inputs(floats(1), floats(2)))
    with pytest.raises(InferenceServerException):
        adder.infer("sum", sum_inputs(floats(1), floats(2, 3)))
    after = counts()
    assert after[0] > succeeded
    assert after[1] > failed
    assert adder.get_inference_statistics()["model_stats"][0]["name"] == "sum"


@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "JSON out"])
@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_goes_in_and_comes_out(server, datatype, binary_in, binary_out):
    data = VALUES[datatype]
    every = [
        tensor(f"in_{one}", one, data if one == datatype else values, one != datatype or binary_in)
        for one, values in VALUES.items()
    ]
    outputs = [InferRequestedOutput(f"out_{datatype}", binary_data=binary_out)]
    with client_of(server.target("all")) as client:
        result = client.infer("all", every, outputs=outputs)
        assert result.get_output(f"out_{datatype}")["datatype"] == datatype
        assert same(result.as_numpy(f"out_{datatype}"), data)
        assert result.get_response()["outputs"][0]["name"] == f"out_{datatype}"
        assert len(result.get_response()["outputs"]) == 1


def test_half_floats_go_as_binary(server):
    with client_of(server.target("half")) as client:
        result = client.infer("half", [tensor("in_FP16", "FP16", HALVES)])
        assert same(result.as_numpy("out_FP16"), HALVES)


def test_bfloats_are_not_supported_and_that_is_said(adder):
    bfloat = InferInput("a", [1, 1], "BF16")
    bfloat.set_data_from_numpy(floats(1).astype(ml_dtypes.bfloat16))
    with pytest.raises(InferenceServerException, match="BF16 is not supported") as raised:
        adder.infer("sum", [bfloat, tensor("b", "FP32", floats(1))])
    assert raised.value.status() == "501"


def test_texts_that_are_not_utf8_are_refused(server):
    every = [tensor(f"in_{one}", one, values) for one, values in VALUES.items() if one != "BYTES"]
    broken = tensor("in_BYTES", "BYTES", np.array([b"\xff\xfe", b"", b"", b""], dtype=np.object_))
    with client_of(server.target("all")) as client:
        with pytest.raises(InferenceServerException, match="in_BYTES.*not valid UTF-8") as raised:
            client.infer("all", [*every, broken])
        assert raised.value.status() == "400"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(adder, algorithm):
    a = np.zeros((4, 1000), dtype=np.float32)
    result = adder.infer(
        "sum",
        sum_inputs(a, a + 1),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert same(result.as_numpy("sum"), a + 1)


def test_the_id_comes_back_and_parameters_are_taken(adder):
    result = adder.infer(
        "sum", sum_inputs(floats(1), floats(2)), request_id="the id", parameters={"trace": "x", "n": 3}
    )
    assert result.get_response()["id"] == "the id"
    assert same(result.as_numpy("sum"), floats(3))


def test_many_requests_at_once(server):
    with InferenceServerClient(server.target("sum").http, concurrency=8) as client:
        calls = [client.async_infer("sum", sum_inputs(floats(n), floats(n))) for n in range(100)]
        for n, call in enumerate(calls):
            assert same(call.get_result().as_numpy("sum"), floats(2 * n))


def test_an_image_as_json(server):
    image = np.random.default_rng(1).random((1, 224 * 224 * 3), dtype=np.float32)
    with client_of(server.target("sum")) as client:
        result = client.infer(
            "sum",
            sum_inputs(image, image, binary=False),
            outputs=[InferRequestedOutput("sum", binary_data=False)],
        )
        assert same(result.as_numpy("sum"), image + image)


def test_mistakes_are_told_precisely(adder):
    one = floats(1)
    cases = [
        ([tensor("a", "FP32", one)], "missing input 'b'", "400"),
        ([*sum_inputs(one, one), tensor("c", "FP32", one)], "unexpected input 'c'", "400"),
        ([tensor("a", "INT32", np.int32([[1]])), tensor("b", "FP32", one)], "FP32, got INT32", "400"),
        (sum_inputs(floats(1, 2), one), "dimension 1", "400"),
        (sum_inputs(np.float32([1]), one), "2 dimensions are needed", "400"),
    ]
    for inputs, text, status in cases:
        with pytest.raises(InferenceServerException, match=text) as raised:
            adder.infer("sum", inputs)
        assert raised.value.status() == status
    with pytest.raises(InferenceServerException, match="unknown output 'nothing'"):
        adder.infer("sum", sum_inputs(one, one), outputs=[InferRequestedOutput("nothing")])
    with pytest.raises(InferenceServerException, match='"classification" is not supported'):
        adder.infer("sum", sum_inputs(one, one), outputs=[InferRequestedOutput("sum", class_count=2)])
    with pytest.raises(InferenceServerException, match="version '9'"):
        adder.infer("sum", sum_inputs(one, one), model_version="9")
    shared = InferInput("a", [1, 1], "FP32")
    shared.set_shared_memory("region", 4)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        adder.infer("sum", [shared, tensor("b", "FP32", one)])


def test_what_perf_analyzer_asks_for(adder):
    """Its REST calls, in its order; the program itself needs what these machines can't install."""
    assert "statistics" in adder.get_server_metadata()["extensions"]
    for version in ("", "1"):
        metadata = adder.get_model_metadata("sum", version)
        config = adder.get_model_config("sum", version)
        names = [one["name"] for one in metadata["inputs"]]
        assert names == [one["name"] for one in config["input"]]
        # It puts the batch dimension before the shape itself when there is one.
        extra = 1 if config["max_batch_size"] > 0 else 0
        for one, other in zip(metadata["inputs"], config["input"], strict=True):
            assert one["shape"][extra:] == other["dims"]
            assert f"TYPE_{one['datatype']}" == other["data_type"]
        (stats,) = adder.get_inference_statistics("sum", version)["model_stats"]
        times = stats["inference_stats"]
        for key in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
            assert times[key]["count"] >= 0 and times[key]["ns"] >= 0
        assert stats["inference_count"] >= 0 and stats["execution_count"] >= 0 and stats["version"] == "1"
