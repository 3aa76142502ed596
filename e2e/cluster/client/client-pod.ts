import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import type { KubeClient } from '../../../controller/adapters/kube/api/kube-client.ts';
import { objectPath, RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import type { Wire } from '../../../controller/adapters/kube/api/wire.ts';
import { dockerBuild, hasImage, inspectImage } from '../../../images/docker.ts';
import type { ClientAnswer, ClientRequest, LoadRequest, LoadResult, TalkRequest } from './messages.ts';

export const CLIENT_NAMESPACE = 'pilotlight-client';
const POD = 'client';
const PORT = 8_080;
/** The agent, and the server that cases have as a container of their own, at `/client/server.ts`. */
const SOURCES = ['agent.ts', 'messages.ts', 'server.ts'];
/** Longer than any request that it may be asked to send. */
const CALL_TIMEOUT_MS = 200_000;

/** The image of the client pod: the Node of the control image, and the agent. @returns its name. */
export async function clientImage(controlImage: string): Promise<string> {
  const dockerfile = `FROM ${controlImage}
COPY ${SOURCES.join(' ')} /client/
ENTRYPOINT ["/usr/local/bin/node", "/client/agent.ts"]
`;
  const hash = createHash('sha256')
    .update(dockerfile)
    .update(await inspectImage(controlImage, '{{.Id}}'));
  for (const file of SOURCES) hash.update(readFileSync(join(import.meta.dirname, file)));
  const name = `pilotlight-e2e/client:${hash.digest('hex').slice(0, 12)}`;
  if (await hasImage(name)) return name;
  const context = mkdtempSync(join(tmpdir(), 'pilotlight-client-'));
  try {
    for (const file of SOURCES) copyFileSync(join(import.meta.dirname, file), join(context, file));
    writeFileSync(join(context, 'Dockerfile'), dockerfile);
    await dockerBuild({ context, tag: name });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return name;
}

/**
 * @param node where it runs: not on a node that a case takes away
 */
export function clientManifest(image: string, node: string | undefined): object[] {
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: CLIENT_NAMESPACE } },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: POD, namespace: CLIENT_NAMESPACE },
      spec: {
        ...(node !== undefined && { nodeName: node }),
        // It keeps no state that matters, so it need not end in good order.
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: 'client',
            image,
            ports: [{ containerPort: PORT }],
            readinessProbe: { httpGet: { path: '/', port: PORT }, periodSeconds: 1 },
            resources: { requests: { cpu: '10m', memory: '64Mi' } },
          },
        ],
      },
    },
  ];
}

/** The pod as a case sees it: reached through the API server, so that a kubeconfig is all it takes. */
export class ClientPod {
  readonly #client: KubeClient;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  call(request: ClientRequest): Promise<ClientAnswer> {
    return this.#ask('call', request);
  }

  /** One request over HTTP/2 cleartext, as gRPC sends it. Trailers are among the headers of the answer. */
  callHttp2(request: ClientRequest): Promise<ClientAnswer> {
    return this.#ask('call-http2', request);
  }

  /** Opens a WebSocket and says one text after the other. @returns what came back. */
  talk(request: TalkRequest): Promise<readonly string[]> {
    return this.#ask('talk', request);
  }

  /** The image that the pod runs, for containers of cases. */
  async image(): Promise<string> {
    const pod = await this.#client.get<Wire<V1Pod>>(
      objectPath({ ...RESOURCES.pods, namespace: CLIENT_NAMESPACE, name: POD }),
    );
    const image = pod?.spec?.containers[0]?.image;
    if (image === undefined) throw new Error('expected the client pod on the cluster');
    return image;
  }

  /** Whether the address in a URL takes connections. */
  reaches(url: string): Promise<boolean> {
    return this.#ask('reach', { url });
  }

  async begin(name: string, load: LoadRequest): Promise<void> {
    await this.#ask(`loads/${name}/begin`, load);
  }

  state(name: string): Promise<LoadResult> {
    return this.#ask(`loads/${name}/state`, {});
  }

  /** Ends a load; resolves when the last request has been answered. */
  end(name: string): Promise<LoadResult> {
    return this.#ask(`loads/${name}/end`, {});
  }

  async #ask<Answer>(path: string, body: object): Promise<Answer> {
    const pod = objectPath({
      ...RESOURCES.pods,
      namespace: CLIENT_NAMESPACE,
      name: `${POD}:${PORT}`,
      subresource: 'proxy',
    });
    // What the pod answers is no object of Kubernetes; the call is one like any other.
    return (await this.#client.create(`${pod}/${path}`, body, { timeoutMs: CALL_TIMEOUT_MS })) as Answer;
  }
}
