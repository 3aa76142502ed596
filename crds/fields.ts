import { z } from 'zod';
import { DURATION_PATTERN, formatDuration, type Parsed, parseDuration } from './durations.ts';
import { parseQuantity, QUANTITY_PATTERN } from './quantities.ts';
import type { Validation } from './structural-schema.ts';

/**
 * Building blocks of the schema. Each knows two things: how a value is checked and normalised here, and how
 * the generated CRD says the same to the API server (through `.meta`, read by crd.ts).
 */

/** Why a field is refused; carried by a zod issue in `params` and worded in problems.ts, which knows the path. */
export type Refusal =
  | { refusal: 'unknown-field'; known: readonly string[] }
  | { refusal: 'not-supported-yet'; value?: string; instead?: string }
  | { refusal: 'message'; message: string };

/** Keys of `.meta` that only crd.ts understands and that never reach the CRD. */
export const META_REFUSED = 'x-pilotlight-refused';

/** What to do about a field that is refused and that nothing stands in for. */
export const LEAVE_IT_OUT = 'leave it out';

/** Raises an issue whose wording is left to problems.ts. */
export function refuse(context: z.RefinementCtx, refusal: Refusal, path: PropertyKey[] = []): void {
  context.addIssue({ code: 'custom', params: refusal, path });
}

/**
 * An object that refuses each unknown field by its own path, with what it may have meant to be. zod's strict
 * objects report all unknown fields in one issue at the parent, without the names that would have been right.
 */
export function fields<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
): z.ZodObject<Shape, z.core.$strict> {
  const known = Object.keys(shape);
  const unknownField = z
    .unknown()
    .superRefine((_value, context) => refuse(context, { refusal: 'unknown-field', known }));
  return z.object(shape).catchall(unknownField);
}

type JsonType = 'object' | 'array' | 'string' | 'integer' | 'boolean';
type Never = z.ZodExactOptional<z.ZodType<never, never>>;

/** A field that is declared so that it is refused by name, here and (with its type, which CEL needs) in the CRD. */
export function unsupported(type: JsonType): Never {
  return refusedField(type, { refusal: 'not-supported-yet' }, 'not-supported-yet');
}

/** A field that is declared so that it is refused with a text of its own. */
export function refused(type: JsonType, message: string): Never {
  return refusedField(type, { refusal: 'message', message }, message);
}

function refusedField(type: JsonType, refusal: Refusal, meta: string): Never {
  const schema = z
    .unknown()
    .superRefine((_value, context) => refuse(context, refusal))
    .meta({ ...freeJsonSchema(type), [META_REFUSED]: meta });
  return z.exactOptional(schema) as unknown as Never;
}

/** A pod field that is preserved for the cluster and of which only the outermost type is checked. */
export function free(type: 'object'): z.ZodExactOptional<z.ZodRecord<z.ZodString, z.ZodUnknown>>;
export function free(type: 'array'): z.ZodExactOptional<z.ZodArray<z.ZodRecord<z.ZodString, z.ZodUnknown>>>;
export function free(type: 'object' | 'array'): z.ZodExactOptional<z.ZodType> {
  const object = z.record(z.string(), z.unknown());
  return z.exactOptional(type === 'object' ? object : z.array(object).max(1_000));
}

function freeJsonSchema(type: JsonType): Record<string, unknown> {
  if (type === 'object') return { type, 'x-kubernetes-preserve-unknown-fields': true };
  if (type === 'array') return { type, items: freeJsonSchema('object') };
  return { type };
}

/** A field that may be left out. An explicit null is refused: it says nothing, and in YAML it is mostly a slip. */
export const optional = z.exactOptional;

/** Free text of bounded length; `z.string()` alone would let one field fill the whole object. */
export function text(maxLength = 4_096): z.ZodString {
  return z.string().max(maxLength);
}

interface DurationBounds {
  min?: string;
  max?: string;
}

/** A duration string within bounds; parsed to milliseconds. */
export function duration(bounds: DurationBounds = {}): z.ZodType<number, string> {
  return z
    .unknown()
    .transform((value, context) => {
      if (typeof value === 'string') return check(context, withinBounds(parseDuration(value), value, bounds));
      const message = `expected a duration such as "90s", "2m" or "1h30m", got ${describeValue(value)}`;
      return check<number>(context, { ok: false, message });
    })
    .meta({
      type: 'string',
      pattern: DURATION_PATTERN,
      maxLength: 32,
      'x-kubernetes-validations': boundRules('duration(self)', 'self', bounds),
    }) as unknown as z.ZodType<number, string>;
}

/**
 * A duration string or, as KServe has it in the same field, whole seconds; parsed to milliseconds.
 */
export function durationOrSeconds(bounds: DurationBounds = {}): z.ZodType<number, string | number> {
  return z
    .unknown()
    .transform((value, context) => {
      if (typeof value === 'string') return check(context, withinBounds(parseDuration(value), value, bounds));
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) {
        return check(context, withinBounds({ ok: true, value: value * 1_000 }, `${value} (seconds)`, bounds));
      }
      const message = `expected whole seconds or a duration such as "90s", got ${describeValue(value)}`;
      return check<number>(context, { ok: false, message });
    })
    .meta({
      'x-kubernetes-int-or-string': true,
      pattern: DURATION_PATTERN,
      'x-kubernetes-validations': boundRules(
        "duration(type(self) == int ? string(self) + 's' : self)",
        'string(self)',
        bounds,
      ),
    }) as unknown as z.ZodType<number, string | number>;
}

/** The bounds of a duration as the API server checks them, with the words of `withinBounds`. */
function boundRules(read: string, shown: string, { min, max }: DurationBounds): Validation[] {
  const rule = (bound: string, comparison: string, words: string): Validation => {
    const message = `expected ${words} ${formatDuration(constantMs(bound))}`;
    return {
      rule: `${read} ${comparison} duration('${bound}')`,
      message,
      messageExpression: `'${message}, got ' + ${shown}`,
    };
  };
  return [
    ...(min === undefined ? [] : [rule(min, '>=', 'at least')]),
    ...(max === undefined ? [] : [rule(max, '<=', 'at most')]),
  ];
}

/**
 * A Kubernetes quantity; parsed to a number in the unit of the resource (cores, bytes, pieces). A number must
 * be whole, as the API server wants it in a custom resource.
 */
export function quantity(): z.ZodType<number, string | number> {
  return z
    .unknown()
    .transform((value, context) => {
      if (typeof value === 'string' || Number.isSafeInteger(value)) {
        return check(context, parseQuantity(value as string | number));
      }
      const quote = typeof value === 'number' ? `; put it in quotes: "${value}"` : '';
      const message = `expected a quantity such as "500m", 2 or "1Gi", got ${describeValue(value)}${quote}`;
      return check<number>(context, { ok: false, message });
    })
    .meta({ 'x-kubernetes-int-or-string': true, pattern: QUANTITY_PATTERN }) as unknown as z.ZodType<
    number,
    string | number
  >;
}

/** A value as an error message shows it: its type, and its text where that is short. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null (an empty value)';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value === 'string') {
    return value.length > 60 ? `"${value.slice(0, 60)}…"` : JSON.stringify(value);
  }
  if (typeof value === 'number' || typeof value === 'boolean') return `the ${typeof value} ${value}`;
  return `a ${typeof value}`;
}

function withinBounds(parsed: Parsed<number>, shown: string, bounds: DurationBounds): Parsed<number> {
  if (!parsed.ok) return parsed;
  const min = bounds.min === undefined ? 0 : constantMs(bounds.min);
  const max = bounds.max === undefined ? Number.POSITIVE_INFINITY : constantMs(bounds.max);
  if (parsed.value < min)
    return { ok: false, message: `expected at least ${formatDuration(min)}, got ${shown}` };
  if (parsed.value > max)
    return { ok: false, message: `expected at most ${formatDuration(max)}, got ${shown}` };
  return parsed;
}

function constantMs(constant: string): number {
  const parsed = parseDuration(constant);
  if (!parsed.ok) throw new TypeError(parsed.message);
  return parsed.value;
}

function check<T>(context: z.RefinementCtx, parsed: Parsed<T>): T {
  if (parsed.ok) return parsed.value;
  refuse(context, { refusal: 'message', message: parsed.message });
  return z.NEVER;
}
