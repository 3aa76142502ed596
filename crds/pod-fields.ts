import { z } from 'zod';
import { fields, free, optional, quantity, refuse, text, unsupported } from './fields.ts';
import type { Validation } from './structural-schema.ts';

/**
 * Pod and container fields, in Kubernetes' own vocabulary. What Pilotlight reads is typed; the rest is
 * preserved for the cluster and checked by the API server when the pod is written.
 */

const ENV_NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;
const OBJECT_NAME = /^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/;
const objectName = text(253).regex(OBJECT_NAME, 'expected the name of a Kubernetes object');

/** Contradictions that the API server finds as well. */
const ONE_KEY: Validation = {
  // One that is not supported is refused by its own name.
  rule: '[has(self.configMapKeyRef), has(self.secretKeyRef), has(self.fieldRef), has(self.resourceFieldRef), has(self.fileKeyRef)].filter(given, given).size() == 1',
  message: 'expected exactly one of configMapKeyRef and secretKeyRef',
};
const VALUE_OR_SOURCE: Validation = {
  rule: '!has(self.value) || !has(self.valueFrom)',
  message: 'give either value or valueFrom, not both',
  fieldPath: '.valueFrom',
};
const ONE_OBJECT: Validation = {
  rule: 'has(self.configMapRef) != has(self.secretRef)',
  message: 'expected exactly one of configMapRef and secretRef',
};
const WITHIN_LIMITS: Validation = {
  // For these three: a check of any name would be more than the API server allows a rule to cost.
  rule: "!has(self.requests) || !has(self.limits) || ['cpu', 'memory', 'ephemeral-storage'].all(name, !(name in self.requests) || !(name in self.limits) || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
  message: 'expected requests of at most the limits of the same names',
  fieldPath: '.requests',
};

const isOptional = optional(z.boolean()).describe('Start all the same when it is not there. Default: false.');

const keyReference = (kind: string) =>
  fields({
    name: objectName.describe(`Name of the ${kind}, in the same namespace.`),
    key: text(253).describe(`Key within the ${kind}.`),
    optional: isOptional,
  });

const envVarSchema = fields({
  name: text(253)
    .regex(ENV_NAME, 'expected letters, digits, "-", "_" and ".", not starting with a digit')
    .describe('Name of the variable.'),
  value: optional(text(65_536)).describe(
    'Its value; $(NAME) stands for a variable that was declared before it, $$ for one $.',
  ),
  valueFrom: optional(
    fields({
      configMapKeyRef: optional(keyReference('ConfigMap')).describe('A key of a ConfigMap.'),
      secretKeyRef: optional(keyReference('Secret')).describe('A key of a Secret.'),
      fieldRef: unsupported('object'),
      resourceFieldRef: unsupported('object'),
      fileKeyRef: unsupported('object'),
    })
      .superRefine((source, context) => {
        const given = [source.configMapKeyRef, source.secretKeyRef].filter((one) => one !== undefined).length;
        if (given !== 1) {
          refuse(context, { refusal: 'message', message: ONE_KEY.message });
        }
      })
      .meta({ 'x-kubernetes-validations': [ONE_KEY] }),
  ).describe('Where the value is read from, instead of value.'),
})
  .superRefine((variable, context) => {
    if (variable.value !== undefined && variable.valueFrom !== undefined) {
      refuse(context, { refusal: 'message', message: VALUE_OR_SOURCE.message }, ['valueFrom']);
    }
  })
  .meta({ 'x-kubernetes-validations': [VALUE_OR_SOURCE] });
export type EnvVar = z.output<typeof envVarSchema>;

const objectReference = (kind: string) =>
  fields({ name: objectName.describe(`Name of the ${kind}, in the same namespace.`), optional: isOptional });

const envFromSchema = fields({
  prefix: optional(text(253)).describe('Put before the name of each variable.'),
  configMapRef: optional(objectReference('ConfigMap')).describe('A variable for each key of a ConfigMap.'),
  secretRef: optional(objectReference('Secret')).describe('A variable for each key of a Secret.'),
})
  .superRefine((source, context) => {
    if ((source.configMapRef === undefined) === (source.secretRef === undefined)) {
      refuse(context, { refusal: 'message', message: ONE_OBJECT.message });
    }
  })
  .meta({ 'x-kubernetes-validations': [ONE_OBJECT] });
export type EnvFromSource = z.output<typeof envFromSchema>;

const quantities = z.record(text(253), quantity());

/** Amounts by resource name: cpu in cores, memory in bytes, anything else in pieces. */
export const resourcesSchema = fields({
  requests: quantities
    .prefault({})
    .describe(
      'What the scheduler sets aside for a pod: cpu in cores (500m), memory in bytes (1Gi), devices in pieces.',
    ),
  limits: quantities
    .prefault({})
    .describe(
      'What a pod may use at most. More memory than this ends it. Devices such as nvidia.com/gpu go here.',
    ),
  claims: unsupported('array'),
})
  .superRefine((resources, context) => {
    for (const [name, limit] of Object.entries(resources.limits)) {
      const request = resources.requests[name];
      if (request !== undefined && request > limit) {
        const message = `expected a request of at most the limit (${limit}), got ${request}`;
        refuse(context, { refusal: 'message', message }, ['requests', name]);
      }
    }
  })
  .meta({ 'x-kubernetes-validations': [WITHIN_LIMITS] });
export type Resources = z.output<typeof resourcesSchema>;

/** What model and container have in common. */
export const processShape = {
  args: z.array(text(32_768)).max(1_000).default([]).describe('Arguments of the process.'),
  env: z
    .array(envVarSchema)
    .max(1_000)
    .default([])
    .describe('Environment variables. They go over those of envFrom; of one name the last counts.'),
  envFrom: z
    .array(envFromSchema)
    .max(100)
    .default([])
    .describe('Objects of which each key becomes an environment variable; later ones go over earlier ones.'),
  resources: resourcesSchema
    .prefault({})
    .describe(
      'CPU, memory and devices of each pod. What is left out is as the platform’s operator has set it.',
    ),
};

const portSchema = fields({
  name: optional(text(63)).describe('Name of the port. Default: http.'),
  containerPort: z
    .int()
    .min(1)
    .max(65_535)
    .describe('Number of the port; the process finds it in $PORT too.'),
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP').describe('TCP, which HTTP runs over.'),
  hostPort: unsupported('integer'),
  hostIP: unsupported('string'),
});

/** A container of the user's own that serves HTTP. */
export const containerSchema = fields({
  name: optional(text(63).regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'expected a DNS label')).describe(
    'Name of the container, as `kubectl logs -c` takes it. Default: container.',
  ),
  image: text(1_024)
    .min(1)
    .describe('Image that serves HTTP. Its user must not be root, unless securityContext allows it.'),
  command: z
    .array(text(32_768))
    .max(1_000)
    .default([])
    .describe('Program to run instead of the image’s entrypoint.'),
  workingDir: optional(text()).describe('Folder that the process starts in, instead of the image’s own.'),
  ports: z
    .array(portSchema)
    .max(1)
    .default([])
    .describe('The port that serves requests; 8080 when left out.'),
  ...processShape,
  imagePullPolicy: optional(z.enum(['Always', 'IfNotPresent', 'Never'])).describe(
    'When the image is pulled. Default: Always for the tag latest, IfNotPresent otherwise.',
  ),
  livenessProbe: free('object').describe(
    'Ends a container that hangs; another pod takes its place. Probe of Kubernetes.',
  ),
  readinessProbe: free('object').describe(
    'Says when requests may come. Default: once the port takes connections. Probe of Kubernetes.',
  ),
  startupProbe: free('object').describe(
    'Holds the other probes off until it succeeds once. Default: the readiness probe, within scaling.startTimeout. Probe of Kubernetes.',
  ),
  lifecycle: free('object').describe(
    'Hooks after the start and before the end of the container, as in a pod.',
  ),
  securityContext: free('object').describe(
    'User, capabilities and file system of the container, over the restricted defaults.',
  ),
  volumeMounts: free('array').describe('Where spec.predictor.volumes appear in the container’s file system.'),
  volumeDevices: free('array').describe('Block devices of spec.predictor.volumes, by path.'),
  resizePolicy: free('array').describe('Which resources can be changed without a restart, as in a pod.'),
  terminationMessagePath: optional(text()).describe('File whose text is shown when the container ends.'),
  terminationMessagePolicy: optional(z.enum(['File', 'FallbackToLogsOnError'])).describe(
    'Whether the log stands in for that file when it is empty.',
  ),
  restartPolicy: unsupported('string'),
  restartPolicyRules: unsupported('array'),
  stdin: unsupported('boolean'),
  stdinOnce: unsupported('boolean'),
  tty: unsupported('boolean'),
});
export type Container = z.output<typeof containerSchema>;

/** Fields of the pod beside its containers. */
export const podShape = {
  serviceAccountName: optional(objectName).describe(
    'Identity of the pods. Its annotated Secrets give access to object storage. Default: the account “default”, without a token in the pod.',
  ),
  nodeSelector: optional(z.record(text(317), text(63))).describe(
    'Labels that a node must have to run the pods.',
  ),
  affinity: free('object').describe(
    'Which nodes, and which pods beside them, are wanted or avoided. Affinity of Kubernetes.',
  ),
  tolerations: free('array').describe(
    'Taints of nodes that the pods put up with, such as those of GPU nodes.',
  ),
  topologySpreadConstraints: free('array').describe(
    'How the pods spread over nodes or zones. One without labelSelector counts the pods of the same service or pool.',
  ),
  volumes: free('array').describe('Volumes of the pods, for volumeMounts of the container.'),
  imagePullSecrets: free('array').describe(
    'Secrets to pull images with, besides those that the operator has set.',
  ),
  securityContext: free('object').describe(
    'Users and groups of the pods, over the defaults of Pod Security level “restricted”.',
  ),
  dnsConfig: free('object').describe('Name servers, search domains and options beyond those of dnsPolicy.'),
  hostAliases: free('array').describe('Lines for the pods’ /etc/hosts.'),
  readinessGates: free('array').describe(
    'Conditions that other controllers set before a pod counts as ready.',
  ),
  overhead: free('object').describe(
    'Resources that the runtime class takes for itself; usually set by the cluster.',
  ),
  dnsPolicy: optional(z.enum(['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'])).describe(
    'Where names are looked up. Default: ClusterFirst.',
  ),
  priorityClassName: optional(objectName).describe(
    'Whose place the pods may take, and who may take theirs, when nodes are full.',
  ),
  preemptionPolicy: optional(z.enum(['PreemptLowerPriority', 'Never'])).describe(
    'Whether the pods may push out others of lower priority.',
  ),
  runtimeClassName: optional(objectName).describe(
    'Container runtime of the pods, such as gvisor or nvidia. Default: that of the node.',
  ),
  schedulerName: optional(objectName).describe(
    'Scheduler that finds nodes for the pods. Default: default-scheduler.',
  ),
  automountServiceAccountToken: optional(z.boolean()).describe(
    'Whether the pods get a token for the API server. Default: only with a serviceAccountName.',
  ),
  enableServiceLinks: optional(z.boolean()).describe(
    'Environment variables for each Service of the namespace. Default: false.',
  ),
  terminationGracePeriodSeconds: optional(z.int().min(0).max(86_400)).describe(
    'Longest time that a pod may take to finish its requests when it has to go. Default: as long as its longest request, between 30 and 600 seconds.',
  ),
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
