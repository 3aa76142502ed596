import { WireWriter } from '../../core/protobuf.ts';

/**
 * How a plain object is written as a message: for each of its keys the number of the field and what it holds. An
 * array is a repeated field; `integers` is a packed one of whole numbers.
 */
export interface MessageShape {
  readonly [key: string]: readonly [field: number, kind: FieldKind];
}

type FieldKind = 'string' | 'integer' | 'integers' | ReadonlyMap<string, number> | MessageShape;

/**
 * An object as a message; keys that the shape doesn't name, and undefined values, are left out.
 *
 * @throws TypeError for a name that an enum doesn't have.
 */
export function encodeShape(shape: MessageShape, value: object): WireWriter {
  const writer = new WireWriter();
  for (const [key, [field, kind]] of Object.entries(shape)) {
    const given = (value as Readonly<Record<string, unknown>>)[key];
    if (given === undefined) continue;
    if (kind === 'integers') writer.packedInt64(field, given as readonly number[]);
    else for (const one of Array.isArray(given) ? given : [given]) writeOne(writer, field, kind, one);
  }
  return writer;
}

function writeOne(
  writer: WireWriter,
  field: number,
  kind: Exclude<FieldKind, 'integers'>,
  value: unknown,
): void {
  if (kind === 'string') writer.string(field, value as string);
  else if (kind === 'integer') writer.integer(field, value as number);
  else if (kind instanceof Map) writer.integer(field, numberOfName(kind, value as string));
  else writer.nested(field, encodeShape(kind as MessageShape, value as object));
}

function numberOfName(names: ReadonlyMap<string, number>, name: string): number {
  const number = names.get(name);
  if (number === undefined) throw new TypeError(`${name} is no name of this enum`);
  return number;
}
