"""What one writes by FastAPI's documentation: a model of the body, a handler, a session of ONNX Runtime.

uvicorn starts one of these for each core, so one session takes one thread: more of them would only get into each
other's way. Both handlers are here: `def` is run in a thread of FastAPI's pool, `async def` on the event loop.
"""

import os

import numpy
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class InputTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferRequest(BaseModel):
    inputs: list[InputTensor]


class OutputTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferResponse(BaseModel):
    model_name: str
    outputs: list[OutputTensor]


def infer(request: InferRequest) -> InferResponse:
    tensor = request.inputs[0]
    x = numpy.array(tensor.data, dtype=numpy.float32).reshape(tensor.shape)
    (y,) = session.run(["y"], {"x": x})
    output = OutputTensor(name="y", datatype="FP32", shape=list(y.shape), data=y.ravel().tolist())
    return InferResponse(model_name="network", outputs=[output])


@app.get("/ready")
def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/def/infer")
def infer_in_a_thread(request: InferRequest) -> InferResponse:
    return infer(request)


@app.post("/async/infer")
async def infer_on_the_event_loop(request: InferRequest) -> InferResponse:
    return infer(request)
