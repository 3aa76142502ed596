import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { duration, fields, optional, quantity, text } from '../../../crds/fields.ts';
import { resourcesSchema } from '../../../crds/pod-fields.ts';
import { type Problem, problemAt, toProblems } from '../../../crds/problems.ts';
import type { KubeSettings } from './core/settings.ts';

/** The controller's config.yaml in a cluster, as the chart writes it. */

const dnsLabel = text(63).regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'expected the name of a namespace');
const dnsName = text(253).regex(
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
  'expected a DNS name such as "models.example.com", without a port or a dot at its end',
);
const secretName = text(253).regex(/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/, 'expected the name of a Secret');

const kubeConfigSchema = fields({
  domain: optional(dnsName).describe('Services are reached under name.namespace.<domain> too.'),
  clusterDomain: dnsName.default('cluster.local').describe('Domain of the cluster’s DNS.'),
  namespaces: z.array(dnsLabel).max(1_000).default([]).describe('Namespaces to look after; empty: all.'),
  runtimeImage: text(1_024).min(1).describe('Image of the runtime, for standbys and replicas.'),
  imagePullPolicy: optional(z.enum(['Always', 'IfNotPresent', 'Never'])),
  imagePullSecrets: z
    .array(
      z.preprocess(
        (entry) => (typeof entry === 'string' ? { name: entry } : entry),
        fields({ name: secretName }),
      ),
    )
    .max(20)
    .default([])
    .describe('Secrets for the runtime image, as {name: …}; each namespace must have them.'),
  defaultPool: fields({
    size: z.int().min(0).max(1_000).default(1),
    resources: resourcesSchema.prefault({}),
  })
    .prefault({})
    .describe('The pool of a namespace that has services and no StandbyPool; size 0: none.'),
  allowCache: fields({
    hostPath: z.boolean().default(false),
    persistentVolumeClaim: z.boolean().default(false),
  })
    .prefault({})
    .describe('Volumes beside emptyDir that a StandbyPool may have its cache on.'),
  allowTransforms: z
    .array(z.union([z.literal('*'), dnsLabel]))
    .max(1_000)
    .default([])
    .describe('Namespaces whose services may run code of their own in the runtime; "*": all.'),
  cacheSizeLimit: quantity().prefault('10Gi').describe('Size of a cache that doesn’t say its own.'),
  runtimeResources: resourcesSchema
    .prefault({ requests: { cpu: '100m', memory: '256Mi' } })
    .describe('Resources of pods whose manifest doesn’t say any.'),
  activatorsPerService: z.int().min(1).max(10).default(2),
  quarantine: duration({ max: '1h' }).prefault('30s'),
  directMode: z.enum(['never', 'auto']).default('never'),
  tritonMetrics: z.boolean().default(false),
  controlUrl: optional(
    text(2_048).regex(/^https:\/\/[^/?#]+\/?$/, 'expected "https://host:port" without a path'),
  ).describe(
    'Where runtimes reach the controller; its Service in the controller’s own namespace when left out.',
  ),
});

export type KubeConfigResult = { ok: true; settings: KubeSettings } | { ok: false; problems: Problem[] };

/** @param namespace The controller's own, for the default of `controlUrl`. */
export function parseKubeConfig(value: unknown, namespace: string): KubeConfigResult {
  const parsed = kubeConfigSchema.safeParse(value ?? {}, { reportInput: true });
  if (!parsed.success) return { ok: false, problems: toProblems(parsed.error.issues) };
  const { imagePullSecrets, cacheSizeLimit, quarantine, controlUrl, ...rest } = parsed.data;
  return {
    ok: true,
    settings: {
      ...rest,
      imagePullSecrets: imagePullSecrets.map(({ name }) => name),
      cacheSizeLimitBytes: Math.floor(cacheSizeLimit),
      quarantineMs: quarantine,
      controlUrl: controlUrl?.replace(/\/$/, '') ?? `https://pilotlight-controller.${namespace}.svc:8443`,
    },
  };
}

/** Reads the text of config.yaml; what isn't YAML is one problem of the document as a whole. */
export function parseKubeConfigText(yaml: string, namespace: string): KubeConfigResult {
  let value: unknown;
  try {
    value = parse(yaml, { prettyErrors: true, maxAliasCount: 0 });
  } catch (error) {
    const message = error instanceof YAMLParseError || error instanceof Error ? error.message : String(error);
    return { ok: false, problems: [problemAt([], `not valid YAML: ${message.split('\n')[0] ?? ''}`)] };
  }
  return parseKubeConfig(value, namespace);
}
