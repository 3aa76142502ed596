import type { TransformParameters } from '../../../contracts/transform.ts';
import { noParameters } from '../../core/oip-messages.ts';
import { WireReader } from '../../core/protobuf.ts';

/** Parameters of a message as values, for code that wants to read them; one without a value is left out. */
export function parameterValues(
  parameters: readonly { readonly key: string; readonly entry: Uint8Array }[],
): TransformParameters {
  const values = noParameters();
  for (const { key, entry } of parameters) {
    const reader = new WireReader(entry);
    while (reader.next()) {
      const value = reader.field === 2 ? valueOf(reader.bytes()) : reader.skip();
      if (value !== undefined) values[key] = value;
    }
  }
  return values;
}

/** The one field that an InferParameter has. */
function valueOf(message: Uint8Array): string | number | bigint | boolean | undefined {
  const reader = new WireReader(message);
  let value: string | number | bigint | boolean | undefined;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        value = reader.bool();
        break;
      case 2:
        value = plain(reader.int64());
        break;
      case 3:
        value = reader.string();
        break;
      case 4: {
        const bytes = reader.scalar();
        if (bytes.byteLength === 8)
          value = new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
        break;
      }
      case 5:
        value = plain(BigInt.asUintN(64, reader.int64()));
        break;
      default:
        reader.skip();
    }
  }
  return value;
}

/** As in JSON: bigint only where a number would lose digits. */
function plain(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
