import type { OnnxModel, OnnxNode, OnnxTensor } from './onnx-writer.ts';

/**
 * The same network with 8-bit weights, as dynamic quantisation writes it: each MatMul by an FP32 initializer becomes
 * DynamicQuantizeLinear, MatMulInteger, and a product with both scales. Weights are quantised for the whole tensor,
 * symmetrically: `q = round(w ÷ s)`, `s = max|w| ÷ 127`.
 */
export function quantised(model: OnnxModel): OnnxModel {
  const weights = new Map((model.initializers ?? []).map((tensor) => [tensor.name, tensor]));
  const nodes: OnnxNode[] = [];
  const replaced: OnnxTensor[] = [];
  for (const node of model.nodes) {
    const [input = '', name = ''] = node.inputs;
    const [output = ''] = node.outputs;
    const weight = weights.get(name);
    if (node.op !== 'MatMul' || weight?.type !== 'FLOAT') {
      nodes.push(node);
      continue;
    }
    weights.delete(name);
    replaced.push(...quantisedTensor(weight));
    const of = (what: string): string => `${output}_${what}`;
    nodes.push(
      {
        op: 'DynamicQuantizeLinear',
        inputs: [input],
        outputs: [of('quantised'), of('scale'), of('zero_point')],
      },
      {
        op: 'MatMulInteger',
        inputs: [of('quantised'), `${name}_int8`, of('zero_point')],
        outputs: [of('integers')],
      },
      { op: 'Cast', inputs: [of('integers')], outputs: [of('floats')], attributes: { to: 1 } },
      { op: 'Mul', inputs: [of('scale'), `${name}_scale`], outputs: [of('scales')] },
      { op: 'Mul', inputs: [of('floats'), of('scales')], outputs: [output] },
    );
  }
  return { ...model, nodes, initializers: [...weights.values(), ...replaced] };
}

function quantisedTensor({ name, dims, data }: OnnxTensor): OnnxTensor[] {
  const values = Array.from({ length: data.length / 4 }, (_, index) => data.readFloatLE(index * 4));
  const scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
  const integers = Buffer.from(Int8Array.from(values, (value) => Math.round(value / scale)).buffer);
  const scaleBytes = Buffer.alloc(4);
  scaleBytes.writeFloatLE(scale);
  return [
    { name: `${name}_int8`, type: 'INT8', dims, data: integers },
    { name: `${name}_scale`, type: 'FLOAT', dims: [], data: scaleBytes },
  ];
}
