"""tritonclient.grpc and its aio variant, unmodified."""

import asyncio
import queue

import ml_dtypes
import numpy as np
import pytest
from conftest import HALVES, VALUES, same
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, aio
from tritonclient.utils import InferenceServerException


def client_of(target, **options):
    return InferenceServerClient(target.grpc, channel_args=target.channel_args, **options)


def tensor(name, datatype, data):
    made = InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data)
    return made


def floats(*values):
    return np.array([values], dtype=np.float32)


def sum_inputs(a, b):
    return [tensor("a", "FP32", a), tensor("b", "FP32", b)]


@pytest.fixture
def adder(server):
    with client_of(server.target("sum")) as client:
        yield client


def test_it_is_live_and_ready_and_so_is_its_model(adder):
    assert adder.is_server_live()
    assert adder.is_server_ready()
    assert adder.is_model_ready("sum")
    assert adder.is_model_ready("sum", "1")
    assert not adder.is_model_ready("other")


def test_it_says_what_it_is_and_has(adder):
    metadata = adder.get_server_metadata(as_json=True)
    assert metadata["name"] == "pilotlight"
    assert "statistics" in metadata["extensions"]
    model = adder.get_model_metadata("sum", as_json=True)
    assert model["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": ["-1", "-1"]}
    config = adder.get_model_config("sum", "1", as_json=True)["config"]
    assert [one["data_type"] for one in config["input"]] == ["TYPE_FP32", "TYPE_FP32"]
    assert config["backend"] == "onnxruntime"
    index = adder.get_model_repository_index(as_json=True)
    assert [(one["name"], one["state"]) for one in index["models"]] == [("sum", "READY")]


def test_it_counts(adder):
    before = adder.get_inference_statistics("sum").model_stats[0].inference_stats.success.count
    adder.infer("sum", sum_inputs(floats(1), floats(2)))
    stats = adder.get_inference_statistics("sum", "1").model_stats[0]
    assert stats.inference_stats.success.count > before
    assert stats.inference_stats.compute_infer.ns > 0
    assert adder.get_inference_statistics().model_stats[0].name == "sum"


@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_goes_in_and_comes_out(server, datatype):
    every = [tensor(f"in_{one}", one, values) for one, values in VALUES.items()]
    with client_of(server.target("all")) as client:
        result = client.infer("all", every, outputs=[InferRequestedOutput(f"out_{datatype}")])
        assert same(result.as_numpy(f"out_{datatype}"), VALUES[datatype])
        assert len(result.get_response().outputs) == 1


def test_half_floats(server):
    with client_of(server.target("half")) as client:
        result = client.infer("half", [tensor("in_FP16", "FP16", HALVES)])
        assert same(result.as_numpy("out_FP16"), HALVES)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate", None])
def test_large_messages_compressed_or_not(adder, algorithm):
    a = np.arange(1_500_000, dtype=np.float32).reshape(4, -1)
    result = adder.infer("sum", sum_inputs(a, a), compression_algorithm=algorithm)
    assert same(result.as_numpy("sum"), a + a)


def test_the_id_comes_back(adder):
    result = adder.infer("sum", sum_inputs(floats(1), floats(2)), request_id="x", parameters={"n": 1})
    assert result.get_response().id == "x"


def test_many_requests_at_once(adder):
    answers = queue.Queue()
    for n in range(16):
        adder.async_infer(
            "sum",
            sum_inputs(floats(n), floats(1)),
            callback=lambda result, error, n=n: answers.put((n, result, error)),
        )
    for _ in range(16):
        n, result, error = answers.get(timeout=30)
        assert error is None
        assert same(result.as_numpy("sum"), floats(n + 1))


@pytest.mark.parametrize("final", [False, True], ids=["plain", "told which is the last"])
def test_a_stream(adder, final):
    answers = queue.Queue()
    adder.start_stream(callback=lambda result, error: answers.put((result, error)))
    for n in range(50):
        adder.async_stream_infer(
            "sum",
            sum_inputs(floats(n), floats(1)),
            request_id=str(n),
            enable_empty_final_response=final,
        )
    adder.async_stream_infer("sum", sum_inputs(floats(1, 2), floats(1)), request_id="bad")
    adder.async_stream_infer("sum", sum_inputs(floats(1), floats(1)), request_id="after")
    for n in range(50):
        result, error = answers.get(timeout=30)
        assert error is None
        response = result.get_response()
        assert response.id == str(n)
        assert response.parameters["triton_final_response"].bool_param == final
        assert same(result.as_numpy("sum"), floats(n + 1))
    _, error = answers.get(timeout=30)
    assert "expected shape" in str(error)
    result, error = answers.get(timeout=30)
    assert error is None and result.get_response().id == "after"
    adder.stop_stream()


def test_mistakes_are_told_precisely(adder):
    one = floats(1)
    cases = [
        ([tensor("a", "FP32", one)], "missing input 'b'", "INVALID_ARGUMENT"),
        (sum_inputs(floats(1, 2), one), "dimension 1", "INVALID_ARGUMENT"),
        ([tensor("a", "INT32", np.array([[1]], dtype=np.int32)), tensor("b", "FP32", one)], "got INT32", "INVALID_ARGUMENT"),
    ]
    for inputs, text, status in cases:
        with pytest.raises(InferenceServerException, match=text) as raised:
            adder.infer("sum", inputs)
        assert raised.value.status() == f"StatusCode.{status}"
    with pytest.raises(InferenceServerException, match="unknown version '9'") as raised:
        adder.infer("sum", sum_inputs(one, one), model_version="9")
    assert raised.value.status() == "StatusCode.NOT_FOUND"
    bfloat = InferInput("a", [1, 1], "BF16")
    bfloat.set_data_from_numpy(one.astype(ml_dtypes.bfloat16))
    with pytest.raises(InferenceServerException, match="BF16 is not supported") as raised:
        adder.infer("sum", [bfloat, tensor("b", "FP32", one)])
    assert raised.value.status() == "StatusCode.UNIMPLEMENTED"


def test_a_deadline_is_kept(adder):
    with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
        adder.infer("sum", sum_inputs(floats(1), floats(2)), client_timeout=1e-6)


def test_keepalive_pings_are_answered(server):
    target = server.target("sum")
    # Ten times as often as servers usually allow.
    pings = [
        ("grpc.keepalive_time_ms", 50),
        ("grpc.keepalive_timeout_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    answers = queue.Queue()
    with InferenceServerClient(target.grpc, channel_args=[*target.channel_args, *pings]) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for _ in range(5):
            client.async_stream_infer("sum", sum_inputs(floats(1), floats(2)))
            result, error = answers.get(timeout=30)
            assert error is None and same(result.as_numpy("sum"), floats(3))
            with pytest.raises(queue.Empty):
                answers.get(timeout=0.3)
        client.stop_stream()


def aio_client(target):
    return aio.InferenceServerClient(target.grpc, channel_args=target.channel_args)


def test_asyncio(server):
    async def main():
        target = server.target("sum")
        async with aio_client(target) as client:
            assert await client.is_server_live() and await client.is_server_ready()
            assert await client.is_model_ready("sum")
            assert (await client.get_model_config("sum")).config.name == "sum"
            result = await client.infer("sum", sum_inputs(floats(1), floats(2)))
            assert same(result.as_numpy("sum"), floats(3))

    asyncio.run(main())


def test_an_asyncio_stream(server):
    async def main():
        async def requests():
            for n in range(20):
                yield {"model_name": "sum", "inputs": sum_inputs(floats(n), floats(1)), "request_id": str(n)}

        async with aio_client(server.target("sum")) as client:
            n = 0
            async for result, error in client.stream_infer(requests()):
                assert error is None
                assert result.get_response().id == str(n)
                assert same(result.as_numpy("sum"), floats(n + 1))
                n += 1
            assert n == 20

    asyncio.run(main())
