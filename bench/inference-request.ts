/** An input in the binary form of the protocol. */
export interface BinaryInput {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface BinaryRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** An inference request with binary tensors both ways (the protocol's binary tensor data extension). */
export function binaryRequest(model: string, input: BinaryInput): BinaryRequest {
  const { name, datatype, shape, data } = input;
  const json = Buffer.from(
    JSON.stringify({
      inputs: [{ name, datatype, shape, parameters: { binary_data_size: data.byteLength } }],
      parameters: { binary_data_output: true },
    }),
  );
  return {
    path: `/v2/models/${model}/infer`,
    headers: {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(json.length),
    },
    body: Buffer.concat([json, data]),
  };
}

/** The request as it goes over an HTTP/1.1 connection. */
export function onTheWire(host: string, { path, headers, body }: BinaryRequest): Buffer {
  const lines = [
    `POST ${path} HTTP/1.1`,
    `host: ${host}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${body.length}`,
  ];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body]);
}
