import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { ruleFiles } from '../../charts/observability/generated-files.ts';
import { dockerBuild, hasImage } from '../../images/docker.ts';
import { tool } from './tools.ts';

const PORT = 9_090;
const DOCKERFILE = `FROM scratch
COPY prometheus /prometheus
ENTRYPOINT ["/prometheus", "--config.file=/etc/prometheus/prometheus.yaml", "--storage.tsdb.path=/data", "--web.listen-address=:${PORT}"]
`;
/** A real Prometheus scrapes each 15 s; a case hasn't the time. */
const SCRAPE_INTERVAL = '2s';
const NAME = 'prometheus';

/** An image of the pinned Prometheus, built where it has not been yet. @returns its name. */
export async function prometheusImage(): Promise<string> {
  const binary = await tool('prometheus');
  // The binary's name carries the digest of what it is made of.
  const digest = createHash('sha256').update(DOCKERFILE).update(basename(binary)).digest('hex');
  const name = `pilotlight-e2e/prometheus:${digest.slice(0, 12)}`;
  if (await hasImage(name)) return name;
  const context = mkdtempSync(join(tmpdir(), 'pilotlight-prometheus-'));
  try {
    copyFileSync(binary, join(context, 'prometheus'));
    writeFileSync(join(context, 'Dockerfile'), DOCKERFILE);
    await dockerBuild({ context, tag: name });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return name;
}

/** The scrape configuration that the documentation gives to those who have no Prometheus Operator. */
function documentedScrapes(): string {
  const page = readFileSync(join(import.meta.dirname, '../../docs/observability.md'), 'utf8');
  const [, block] = /```yaml\n(scrape_configs:\n[^`]*)```/.exec(page) ?? [];
  if (block === undefined) throw new Error('docs/observability.md has no scrape_configs any more');
  return block;
}

/** Of the pod, its account, and the role by which it finds the cluster's pods. Roles are of the cluster. */
export function prometheusRole(namespace: string): object[] {
  const name = `${NAME}-${namespace}`;
  const rbac = 'rbac.authorization.k8s.io';
  return [
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRole',
      metadata: { name },
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] }],
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name: NAME, namespace }],
    },
  ];
}

/** A Prometheus with the documented scrape configuration and the chart's rules. */
export function prometheusManifest(image: string): object[] {
  const files = Object.fromEntries(ruleFiles());
  const globals = { scrape_interval: SCRAPE_INTERVAL, evaluation_interval: SCRAPE_INTERVAL };
  const rules = Object.keys(files).map((name) => `/etc/prometheus/${name}`);
  const config = `${stringify({ global: globals, rule_files: rules })}${documentedScrapes()}`;
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: NAME } },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: NAME },
      data: { ...files, 'prometheus.yaml': config },
    },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: NAME, labels: { app: NAME } },
      spec: {
        serviceAccountName: NAME,
        terminationGracePeriodSeconds: 1,
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 65_534,
          fsGroup: 65_534,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        containers: [
          {
            name: NAME,
            image,
            imagePullPolicy: 'IfNotPresent',
            ports: [{ containerPort: PORT }],
            readinessProbe: { httpGet: { path: '/-/ready', port: PORT }, periodSeconds: 1 },
            resources: { requests: { cpu: '10m', memory: '128Mi' } },
            securityContext: {
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            },
            volumeMounts: [
              { name: 'config', mountPath: '/etc/prometheus' },
              { name: 'data', mountPath: '/data' },
            ],
          },
        ],
        volumes: [
          { name: 'config', configMap: { name: NAME } },
          { name: 'data', emptyDir: {} },
        ],
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: NAME },
      spec: { selector: { app: NAME }, ports: [{ port: PORT }] },
    },
  ];
}

const answerSchema = z.discriminatedUnion('status', [
  z.object({ status: z.literal('success'), data: z.unknown() }),
  z.object({ status: z.literal('error'), error: z.string() }),
]);

const vectorSchema = z.object({
  result: z.array(
    z.object({ metric: z.record(z.string(), z.string()), value: z.tuple([z.number(), z.string()]) }),
  ),
});
export type Samples = z.infer<typeof vectorSchema>['result'];

const rulesSchema = z.object({
  groups: z.array(
    z.object({
      rules: z.array(z.object({ name: z.string(), health: z.string(), lastError: z.string().optional() })),
    }),
  ),
});

const targetsSchema = z.object({
  activeTargets: z.array(
    z.object({ labels: z.record(z.string(), z.string()), health: z.string(), lastError: z.string() }),
  ),
});

/** Prometheus' HTTP API. `get` fetches a URL from where it can be reached and gives its body. */
export class PrometheusApi {
  readonly #url: string;
  readonly #get: (url: string) => Promise<string>;

  constructor(namespace: string, get: (url: string) => Promise<string>) {
    this.#url = `http://${NAME}.${namespace}.svc.cluster.local:${PORT}/api/v1`;
    this.#get = get;
  }

  /** The samples of an instant query. @throws Error with Prometheus' words for a query that it refuses. */
  async query(expression: string): Promise<Samples> {
    return vectorSchema.parse(await this.#ask(`query?query=${encodeURIComponent(expression)}`)).result;
  }

  async rules(): Promise<{ name: string; health: string; lastError?: string | undefined }[]> {
    return rulesSchema.parse(await this.#ask('rules')).groups.flatMap(({ rules }) => rules);
  }

  async targets(): Promise<z.infer<typeof targetsSchema>['activeTargets']> {
    return targetsSchema.parse(await this.#ask('targets?state=active')).activeTargets;
  }

  async #ask(path: string): Promise<unknown> {
    const answer = answerSchema.parse(JSON.parse(await this.#get(`${this.#url}/${path}`)));
    if (answer.status === 'error') throw new Error(`${decodeURIComponent(path)}: ${answer.error}`);
    return answer.data;
  }
}
