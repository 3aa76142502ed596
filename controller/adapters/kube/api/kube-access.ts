import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where the API server is and who we are. */
export interface KubeAccess {
  /** E.g. `https://10.96.0.1:443`. */
  readonly server: string;
  readonly tls: TlsMaterial;
  /** Namespace of the pod or of the kubeconfig's context. */
  readonly namespace: string | undefined;
  /** Headers that say who we are, read again as tokens rotate. */
  headers(): Promise<Readonly<Record<string, string>>>;
  /** The server refused what `headers()` gave: read anew at the next call. */
  refused(): void;
}

export interface TlsMaterial {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The kubelet replaces a token at 80 % of its life, so a minute would do; a file read costs nothing. */
const REREAD_MS = 10_000;

/**
 * Access by a kubeconfig file where one is named (argument, else KUBECONFIG), else by the pod's ServiceAccount,
 * else by `~/.kube/config`.
 *
 * @throws Error when there is none of them, or it can't be read.
 */
export async function loadKubeAccess(
  kubeconfigPath?: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<KubeAccess> {
  if (kubeconfigPath !== undefined) return kubeconfigAccess(kubeconfigPath);
  if ((env['KUBECONFIG'] ?? '') !== '') return kubeconfigAccess(undefined);
  if (existsSync(join(SERVICE_ACCOUNT_FOLDER, 'token'))) return serviceAccountAccess(env);
  const home = join(homedir(), '.kube/config');
  if (existsSync(home)) return kubeconfigAccess(home);
  throw new Error(
    `no access to a Kubernetes API: expected a kubeconfig file (KUBECONFIG or ${home}) or a ServiceAccount ` +
      `token in ${SERVICE_ACCOUNT_FOLDER}, found neither`,
  );
}

/**
 * Access as the pod's ServiceAccount: two files and two variables. The client library would do the same, but
 * importing it takes 80 MB of memory, more than half of what an idle controller may use.
 */
export function serviceAccountAccess(
  env: Readonly<Record<string, string | undefined>>,
  folder: string = SERVICE_ACCOUNT_FOLDER,
): KubeAccess {
  const host = env['KUBERNETES_SERVICE_HOST'] ?? '';
  const port = env['KUBERNETES_SERVICE_PORT'] ?? '';
  if (host === '' || port === '') {
    throw new Error(
      'expected KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, as the kubelet sets them in every pod',
    );
  }
  const namespaceFile = join(folder, 'namespace');
  return {
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    tls: { ca: readFileSync(join(folder, 'ca.crt')) },
    namespace: existsSync(namespaceFile) ? readFileSync(namespaceFile, 'utf8').trim() : undefined,
    ...rereading(async () => {
      const token = (await readFile(join(folder, 'token'), 'utf8')).trim();
      return { authorization: `Bearer ${token}` };
    }),
  };
}

/**
 * Access by a kubeconfig: certificates, tokens, token files and exec plugins, read by the client library.
 *
 * @param path undefined: the files that KUBECONFIG names, merged
 */
export async function kubeconfigAccess(path: string | undefined): Promise<KubeAccess> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  // A fresh KubeConfig has no cached token: what was refused is not given again.
  const read = async () => {
    const config = new KubeConfig();
    if (path === undefined) config.loadFromDefault();
    else config.loadFromFile(path);
    const request: RequestOptions & { headers?: Record<string, string> } = {};
    await config.applyToHTTPSOptions(request);
    return { config, request };
  };
  const { config, request } = await read();
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error(`the kubeconfig has no cluster for context ${config.currentContext}`);
  if (cluster.proxyUrl !== undefined && cluster.proxyUrl !== '') {
    throw new Error(`cluster ${cluster.name} has a proxy-url, which is not supported`);
  }
  const namespace = config.getContextObject(config.currentContext)?.namespace;
  return {
    server: cluster.server.replace(/\/+$/, ''),
    tls: tlsOf(request),
    namespace,
    ...rereading(async () => headersOf((await read()).request)),
  };
}

function tlsOf({ ca, cert, key, servername, rejectUnauthorized }: RequestOptions): TlsMaterial {
  return {
    ...(isPem(ca) && { ca }),
    ...(isPem(cert) && { cert }),
    ...(isPem(key) && { key }),
    ...(servername !== undefined && { servername }),
    ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
  };
}

const isPem = (material: unknown): material is string | Buffer =>
  typeof material === 'string' || Buffer.isBuffer(material);

function headersOf(request: {
  headers?: Record<string, string>;
  auth?: string | null | undefined;
}): Record<string, string> {
  const given = Object.entries(request.headers ?? {}).map(([name, value]) => [
    name.toLowerCase(),
    value.trim(),
  ]);
  const basic =
    typeof request.auth === 'string' ? `Basic ${Buffer.from(request.auth).toString('base64')}` : '';
  return { ...(basic !== '' && { authorization: basic }), ...Object.fromEntries(given) };
}

/** Keeps what `read` gave for {@link REREAD_MS}, or until it is refused; callers at the same time share a read. */
function rereading(
  read: () => Promise<Readonly<Record<string, string>>>,
): Pick<KubeAccess, 'headers' | 'refused'> {
  let last: { headers: Promise<Readonly<Record<string, string>>>; atMs: number } | undefined;
  return {
    headers() {
      const nowMs = performance.now();
      if (last === undefined || nowMs - last.atMs >= REREAD_MS) {
        const reading = { headers: read(), atMs: nowMs };
        last = reading;
        reading.headers.catch(() => {
          if (last === reading) last = undefined;
        });
      }
      return last.headers;
    },
    refused() {
      last = undefined;
    },
  };
}
