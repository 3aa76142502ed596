import { z } from 'zod';
import { fields, free, optional, quantity, refuse, text, unsupported } from './fields.ts';

/**
 * Pod and container fields, in Kubernetes' own vocabulary. What Pilotlight reads is typed; the rest is
 * preserved for the cluster and checked by the API server when the pod is written.
 */

const ENV_NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;
const OBJECT_NAME = /^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/;
const objectName = text(253).regex(OBJECT_NAME, 'expected the name of a Kubernetes object');

const keyReference = fields({
  name: objectName,
  key: text(253),
  optional: optional(z.boolean()),
});

const envVarSchema = fields({
  name: text(253).regex(ENV_NAME, 'expected letters, digits, "-", "_" and ".", not starting with a digit'),
  value: optional(text(65_536)),
  valueFrom: optional(
    fields({
      configMapKeyRef: optional(keyReference),
      secretKeyRef: optional(keyReference),
      fieldRef: unsupported('object'),
      resourceFieldRef: unsupported('object'),
      fileKeyRef: unsupported('object'),
    }).superRefine((source, context) => {
      const given = [source.configMapKeyRef, source.secretKeyRef].filter((one) => one !== undefined).length;
      if (given !== 1) {
        const message = 'expected exactly one of configMapKeyRef and secretKeyRef';
        refuse(context, { refusal: 'message', message });
      }
    }),
  ),
}).superRefine((variable, context) => {
  if (variable.value !== undefined && variable.valueFrom !== undefined) {
    refuse(context, { refusal: 'message', message: 'give either value or valueFrom, not both' }, [
      'valueFrom',
    ]);
  }
});
export type EnvVar = z.output<typeof envVarSchema>;

const objectReference = fields({ name: objectName, optional: optional(z.boolean()) });

const envFromSchema = fields({
  prefix: optional(text(253)),
  configMapRef: optional(objectReference),
  secretRef: optional(objectReference),
}).superRefine((source, context) => {
  if ((source.configMapRef === undefined) === (source.secretRef === undefined)) {
    refuse(context, { refusal: 'message', message: 'expected exactly one of configMapRef and secretRef' });
  }
});
export type EnvFromSource = z.output<typeof envFromSchema>;

const quantities = z.record(text(253), quantity());

/** Amounts by resource name: cpu in cores, memory in bytes, anything else in pieces. */
export const resourcesSchema = fields({
  requests: quantities.prefault({}),
  limits: quantities.prefault({}),
  claims: unsupported('array'),
}).superRefine((resources, context) => {
  for (const [name, limit] of Object.entries(resources.limits)) {
    const request = resources.requests[name];
    if (request !== undefined && request > limit) {
      const message = `expected a request of at most the limit (${limit}), got ${request}`;
      refuse(context, { refusal: 'message', message }, ['requests', name]);
    }
  }
});
export type Resources = z.output<typeof resourcesSchema>;

/** What model and container have in common. */
export const processShape = {
  args: z.array(text(32_768)).max(1_000).default([]),
  env: z.array(envVarSchema).max(1_000).default([]),
  envFrom: z.array(envFromSchema).max(100).default([]),
  resources: resourcesSchema.prefault({}),
};

const portSchema = fields({
  name: optional(text(63)),
  containerPort: z.int().min(1).max(65_535),
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP'),
  hostPort: unsupported('integer'),
  hostIP: unsupported('string'),
});

/** A container of the user's own that serves HTTP. */
export const containerSchema = fields({
  name: optional(text(63).regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'expected a DNS label')),
  image: text(1_024).min(1),
  command: z.array(text(32_768)).max(1_000).default([]),
  workingDir: optional(text()),
  ports: z
    .array(portSchema)
    .max(1)
    .default([])
    .describe('The port that serves requests; 8080 when left out.'),
  ...processShape,
  imagePullPolicy: optional(z.enum(['Always', 'IfNotPresent', 'Never'])),
  livenessProbe: free('object'),
  readinessProbe: free('object'),
  startupProbe: free('object'),
  lifecycle: free('object'),
  securityContext: free('object'),
  volumeMounts: free('array'),
  volumeDevices: free('array'),
  resizePolicy: free('array'),
  terminationMessagePath: optional(text()),
  terminationMessagePolicy: optional(z.enum(['File', 'FallbackToLogsOnError'])),
  restartPolicy: unsupported('string'),
  restartPolicyRules: unsupported('array'),
  stdin: unsupported('boolean'),
  stdinOnce: unsupported('boolean'),
  tty: unsupported('boolean'),
});
export type Container = z.output<typeof containerSchema>;

/** Fields of the pod beside its containers. */
export const podShape = {
  serviceAccountName: optional(objectName),
  nodeSelector: optional(z.record(text(317), text(63))),
  affinity: free('object'),
  tolerations: free('array'),
  topologySpreadConstraints: free('array'),
  volumes: free('array'),
  imagePullSecrets: free('array'),
  securityContext: free('object'),
  dnsConfig: free('object'),
  hostAliases: free('array'),
  readinessGates: free('array'),
  overhead: free('object'),
  dnsPolicy: optional(z.enum(['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'])),
  priorityClassName: optional(objectName),
  preemptionPolicy: optional(z.enum(['PreemptLowerPriority', 'Never'])),
  runtimeClassName: optional(objectName),
  schedulerName: optional(objectName),
  automountServiceAccountToken: optional(z.boolean()),
  enableServiceLinks: optional(z.boolean()),
  terminationGracePeriodSeconds: optional(z.int().min(0).max(86_400)),
  activeDeadlineSeconds: unsupported('integer'),
  ephemeralContainers: unsupported('array'),
  initContainers: unsupported('array'),
  hostIPC: unsupported('boolean'),
  hostNetwork: unsupported('boolean'),
  hostPID: unsupported('boolean'),
  hostUsers: unsupported('boolean'),
  hostname: unsupported('string'),
  hostnameOverride: unsupported('string'),
  nodeName: unsupported('string'),
  os: unsupported('object'),
  priority: unsupported('integer'),
  resourceClaims: unsupported('array'),
  resources: unsupported('object'),
  restartPolicy: unsupported('string'),
  schedulingGates: unsupported('array'),
  serviceAccount: unsupported('string'),
  setHostnameAsFQDN: unsupported('boolean'),
  shareProcessNamespace: unsupported('boolean'),
  subdomain: unsupported('string'),
};

/** Pod fields that only a cluster can act on: preserved, and without effect on a single machine. */
export const CLUSTER_ONLY_POD_FIELDS = [
  'nodeSelector',
  'affinity',
  'tolerations',
  'topologySpreadConstraints',
  'volumes',
  'imagePullSecrets',
  'securityContext',
  'dnsConfig',
  'hostAliases',
  'readinessGates',
  'overhead',
  'dnsPolicy',
  'priorityClassName',
  'preemptionPolicy',
  'runtimeClassName',
  'schedulerName',
  'automountServiceAccountToken',
  'enableServiceLinks',
  'terminationGracePeriodSeconds',
] as const satisfies readonly (keyof typeof podShape)[];
