import type { TextMessage, TextValue } from './text-format.ts';
import type { Position } from './text-lexer.ts';

/** A name that stands without quotes: a value of an enum, true or false. */
export interface Identifier {
  readonly identifier: string;
}

/** A message as plain data, as a schema takes it: each field a list, of one entry where it stands once. */
export interface PlainMessage {
  readonly [field: string]: readonly PlainValue[];
}

export type PlainValue = string | number | bigint | Identifier | PlainMessage;

export function plainMessage(message: TextMessage): PlainMessage {
  const plain = new Map<string, PlainValue[]>();
  for (const { name, value } of message.fields) {
    const values = plain.get(name) ?? [];
    values.push(plainValue(value));
    plain.set(name, values);
  }
  return Object.fromEntries(plain);
}

function plainValue(value: TextValue): PlainValue {
  switch (value.kind) {
    case 'message':
      return plainMessage(value);
    case 'identifier':
      return { identifier: value.value };
    case 'integer': {
      const number = Number(value.value);
      return Number.isSafeInteger(number) ? number : value.value;
    }
    case 'string':
    case 'float':
      return value.value;
  }
}

/** Where in the text the value stands that a schema found fault with; the nearest place around it that there is. */
export function positionOf(message: TextMessage, path: readonly PropertyKey[]): Position {
  let { at } = message;
  let here: TextValue = message;
  for (let step = 0; step < path.length; step += 2) {
    if (here.kind !== 'message') return at;
    const [name, index] = [path[step], path[step + 1]];
    const named: TextMessage['fields'] = here.fields.filter((field) => field.name === name);
    const found = named[typeof index === 'number' ? index : 0];
    if (found === undefined) return at;
    at = typeof index === 'number' ? found.value.at : found.at;
    here = found.value;
  }
  return at;
}

/** A value for a message. */
export function shownValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 60));
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  return isIdentifier(value) ? value.identifier : 'a message in braces';
}

export function isIdentifier(value: unknown): value is Identifier {
  return (
    typeof value === 'object' &&
    value !== null &&
    'identifier' in value &&
    typeof value.identifier === 'string'
  );
}
