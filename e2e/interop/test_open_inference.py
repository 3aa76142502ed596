"""open-inference-openapi, the client that the protocol's working group publishes, unmodified."""

import asyncio

import pytest
from open_inference.openapi.client import AsyncOpenInferenceClient, OpenInferenceClient
from open_inference.openapi.errors import BadRequestError, NotFoundError
from open_inference.openapi.types import InferenceRequest, RequestInput, TensorData

REQUEST = InferenceRequest(
    id="x",
    inputs=[
        RequestInput(name="a", shape=[1, 2], datatype="FP32", data=TensorData.parse_obj([1, 2.5])),
        RequestInput(name="b", shape=[1, 2], datatype="FP32", data=TensorData.parse_obj([[3, 4]])),
    ],
)


@pytest.fixture
def client(server):
    return OpenInferenceClient(base_url=f"http://{server.target('sum').http}")


def test_health(client):
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("sum")
    client.check_model_version_readiness("sum", "1")
    with pytest.raises(NotFoundError):
        client.check_model_version_readiness("sum", "9")


def test_metadata(client):
    assert client.read_server_metadata().name == "pilotlight"
    model = client.read_model_metadata("sum")
    assert model.name == "sum" and model.platform == "onnxruntime_onnx"
    assert [(one.name, one.datatype, one.shape) for one in model.inputs] == [
        ("a", "FP32", [-1, -1]),
        ("b", "FP32", [-1, -1]),
    ]
    assert client.read_model_version_metadata("sum", "1").versions == ["1"]


def test_inference(client):
    for answer in (
        client.model_infer("sum", request=REQUEST),
        client.model_version_infer("sum", "1", request=REQUEST),
    ):
        assert answer.id == "x"
        assert answer.model_name == "sum"
        assert answer.outputs[0].datatype == "FP32"
        assert answer.outputs[0].data.__root__ == [4, 6.5]


def test_mistakes(client):
    bad = InferenceRequest(inputs=REQUEST.inputs[:1])
    with pytest.raises(BadRequestError) as raised:
        client.model_infer("sum", request=bad)
    assert "missing input 'b'" in str(raised.value.body)


def test_asyncio(server):
    async def main():
        client = AsyncOpenInferenceClient(base_url=f"http://{server.target('sum').http}")
        await client.check_server_readiness()
        answer = await client.model_infer("sum", request=REQUEST)
        assert answer.outputs[0].data.__root__ == [4, 6.5]

    asyncio.run(main())
