"""The SDK of KServe, unmodified."""

import asyncio

import httpx
import numpy as np
import pytest
from conftest import VALUES, same
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


def run(coroutine):
    return asyncio.run(coroutine)


def rest(protocol="v2"):
    return InferenceRESTClient(RESTConfig(protocol=protocol, retries=0))


def base_of(target):
    return f"http://{target.http}"


def sum_request(a, b, binary):
    inputs = []
    for name, data in (("a", a), ("b", b)):
        made = InferInput(name, list(data.shape), "FP32")
        made.set_data_from_numpy(data, binary_data=binary)
        inputs.append(made)
    parameters = {"binary_data_output": True} if binary else {}
    return InferRequest(model_name="sum", infer_inputs=inputs, request_id="the id", parameters=parameters)


A = np.array([[1, 2.5]], dtype=np.float32)


def test_rest_health(server):
    async def main():
        base = base_of(server.target("sum"))
        client = rest()
        assert await client.is_server_live(base)
        assert await client.is_server_ready(base)
        assert await client.is_model_ready(base, "sum")

    run(main())


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_rest_inference(server, binary):
    async def main():
        response = await rest().infer(
            base_of(server.target("sum")), sum_request(A, A, binary), model_name="sum"
        )
        assert response.id == "the id"
        assert response.model_name == "sum"
        assert same(response.outputs[0].as_numpy(), A + A)

    run(main())


def test_rest_errors_carry_the_text(server):
    async def main():
        with pytest.raises(httpx.HTTPStatusError, match="expected shape.*400 Bad Request"):
            await rest().infer(
                base_of(server.target("sum")),
                sum_request(A, np.zeros((1, 3), dtype=np.float32), True),
                model_name="sum",
            )

    run(main())


def test_v1(server):
    async def main():
        base = base_of(server.target("sum"))
        client = rest("v1")
        assert await client.is_model_ready(base, "sum")
        answer = await client.infer(
            base, {"instances": [{"a": [1, 2], "b": [3, 4]}, {"a": [5, 6], "b": [7, 8]}]}, model_name="sum"
        )
        assert answer == {"predictions": [[4, 6], [12, 14]]}

    run(main())


def grpc_client(target):
    return InferenceGRPCClient(target.grpc, channel_args=target.channel_args)


def test_grpc(server):
    async def main():
        async with grpc_client(server.target("sum")) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("sum")
            for binary in (True, False):
                response = await client.infer(sum_request(A, A, binary))
                assert response.id == "the id"
                assert same(response.outputs[0].as_numpy(), A + A)

    run(main())


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "typed"])
def test_grpc_every_datatype(server, binary):
    async def main():
        inputs = []
        for datatype, data in VALUES.items():
            made = InferInput(f"in_{datatype}", list(data.shape), datatype)
            made.set_data_from_numpy(data, binary_data=binary)
            inputs.append(made)
        async with grpc_client(server.target("all")) as client:
            response = await client.infer(InferRequest(model_name="all", infer_inputs=inputs))
            for output in response.outputs:
                assert same(output.as_numpy(), VALUES[output.datatype]), output.name
            assert len(response.outputs) == len(VALUES)

    run(main())
