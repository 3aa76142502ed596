import { z } from 'zod';
import { fields, optional, refuse, text, unsupported } from './fields.ts';
import { type Problem, toProblems } from './problems.ts';
import { structureProblem } from './structure.ts';

/**
 * The Kubernetes objects beside a service that it may refer to: ConfigMap, Secret, ServiceAccount. Only what
 * a reference can reach is kept.
 */

const name = text(253).regex(/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/, 'expected the name of a Kubernetes object');

const metadata = z
  .looseObject({
    name,
    namespace: text(63)
      .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'expected lower-case letters, digits and "-"')
      .default('default'),
    annotations: z.record(z.string(), z.string()).default({}),
  })
  .transform((given) => ({ name: given.name, namespace: given.namespace, annotations: given.annotations }));

const configKey = z.string().regex(/^[-._a-zA-Z0-9]{1,253}$/, 'expected letters, digits, "-", "_" and "."');

const configMapSchema = fields({
  apiVersion: z.literal('v1'),
  kind: z.literal('ConfigMap'),
  metadata,
  data: z.record(configKey, z.string()).default({}),
  binaryData: unsupported('object'),
  immutable: optional(z.boolean()),
}).transform(({ kind, metadata: meta, data }) => ({ kind, metadata: meta, data }));
export type ConfigMap = z.output<typeof configMapSchema>;

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const base64 = z.string().transform((encoded, context) => {
  const compact = encoded.replaceAll(/\s/g, '');
  if (BASE64.test(compact)) return Buffer.from(compact, 'base64');
  refuse(context, { refusal: 'message', message: 'expected base64; plain text goes under stringData' });
  return z.NEVER;
});

const secretSchema = fields({
  apiVersion: z.literal('v1'),
  kind: z.literal('Secret'),
  metadata,
  type: optional(z.string()),
  data: z.record(configKey, base64).default({}),
  stringData: z.record(configKey, z.string()).default({}),
  immutable: optional(z.boolean()),
}).transform(({ kind, metadata: meta, data, stringData }) => {
  const decoded: Record<string, string> = {};
  const binaryKeys: string[] = [];
  for (const [key, bytes] of Object.entries(data)) {
    const value = bytes.toString('utf8');
    // Bytes that are not UTF-8 don't survive the way to text and back.
    if (Buffer.from(value, 'utf8').equals(bytes)) decoded[key] = value;
    else if (!Object.hasOwn(stringData, key)) binaryKeys.push(key);
  }
  return { kind, metadata: meta, data: { ...decoded, ...stringData }, binaryKeys };
});
/** `data` holds decoded text, `stringData` merged over it; keys whose bytes are not text are only named. */
export type Secret = z.output<typeof secretSchema>;

const serviceAccountSchema = fields({
  apiVersion: z.literal('v1'),
  kind: z.literal('ServiceAccount'),
  metadata,
  secrets: z
    .array(z.looseObject({ name }).transform((reference) => ({ name: reference.name })))
    .max(100)
    .default([]),
  imagePullSecrets: optional(z.array(z.unknown()).max(100)),
  automountServiceAccountToken: optional(z.boolean()),
}).transform(({ kind, metadata: meta, secrets }) => ({ kind, metadata: meta, secrets }));
export type ServiceAccount = z.output<typeof serviceAccountSchema>;

export type ConfigObject = ConfigMap | Secret | ServiceAccount;

const SCHEMAS = {
  ConfigMap: configMapSchema,
  Secret: secretSchema,
  ServiceAccount: serviceAccountSchema,
} as const;
export type ConfigKind = keyof typeof SCHEMAS;

export function isConfigKind(kind: unknown): kind is ConfigKind {
  return typeof kind === 'string' && Object.hasOwn(SCHEMAS, kind);
}

/** Validates one of these objects. Messages about a Secret never show a value. */
export function parseConfigObject(
  kind: ConfigKind,
  value: unknown,
): { ok: true; object: ConfigObject } | { ok: false; problems: Problem[] } {
  const structure = structureProblem(value);
  if (structure !== undefined) return { ok: false, problems: [structure] };
  const parsed = SCHEMAS[kind].safeParse(value, { reportInput: true });
  return parsed.success
    ? { ok: true, object: parsed.data }
    : { ok: false, problems: toProblems(parsed.error.issues, { secret: kind === 'Secret' }) };
}
