"""gRPC's own health and reflection clients, and a call with messages that only reflection knows."""

import grpc
import numpy as np
import pytest
from conftest import same
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


@pytest.fixture
def channel(server):
    target = server.target("sum")
    with grpc.insecure_channel(target.grpc, options=target.channel_args) as made:
        yield made


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_a_call_with_messages_that_only_reflection_knows(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "inference.GRPCInferenceService" in database.get_services()
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    method = service.FindMethodByName("ModelInfer")
    Request, Response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    one = np.array([[1.5, 2]], dtype=np.float32)
    request = Request(model_name="sum", raw_input_contents=[one.tobytes(), one.tobytes()])
    for name in ("a", "b"):
        request.inputs.add(name=name, datatype="FP32", shape=[1, 2])
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer", Request.SerializeToString, Response.FromString
    )
    answer = call(request)
    assert same(np.frombuffer(answer.raw_output_contents[0], dtype=np.float32).reshape(1, 2), one + one)
    for name in ("grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"):
        assert pool.FindServiceByName(name).full_name == name
