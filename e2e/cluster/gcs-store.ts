import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { dockerBuild, hasImage } from '../../images/docker.ts';
import { TEXT_RECOGNISER } from '../models/real-models.ts';
import { tool } from './tools.ts';

const PORT = 4_443;
const NAME = 'gcs';
/** Of the server in a namespace: what STORAGE_EMULATOR_HOST is set to. */
export const gcsEndpoint = (namespace: string): string =>
  `http://${NAME}.${namespace}.svc.cluster.local:${PORT}`;
/** Holds `ocr/rec.onnx`. */
export const GCS_BUCKET = 'models';

const DOCKERFILE = `FROM scratch
COPY fake-gcs-server /fake-gcs-server
COPY data /data
ENTRYPOINT ["/fake-gcs-server", "-backend", "memory", "-scheme", "http", "-port", "${PORT}", "-data", "/data"]
`;

/** An image of a server of Google Cloud Storage's API with a model in it, built where it has not been yet. */
export async function gcsImage(): Promise<string> {
  const binary = await tool('fake-gcs-server');
  const name = `pilotlight-e2e/gcs:${createHash('sha256').update(DOCKERFILE).update(binary).digest('hex').slice(0, 12)}`;
  if (await hasImage(name)) return name;
  const context = mkdtempSync(join(tmpdir(), 'pilotlight-gcs-'));
  try {
    const model = join(context, 'data', GCS_BUCKET, 'ocr/rec.onnx');
    mkdirSync(dirname(model), { recursive: true });
    copyFileSync(TEXT_RECOGNISER, model);
    copyFileSync(binary, join(context, 'fake-gcs-server'));
    writeFileSync(join(context, 'Dockerfile'), DOCKERFILE);
    await dockerBuild({ context, tag: name });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return name;
}

/** The server in a namespace of restricted Pod Security: a pod and a Service. */
export function gcsManifest(image: string): object[] {
  const labels = { app: NAME };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: NAME },
      spec: { selector: labels, ports: [{ port: PORT }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: NAME, labels },
      spec: {
        terminationGracePeriodSeconds: 1,
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 65_532,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        containers: [
          {
            name: NAME,
            image,
            imagePullPolicy: 'Never',
            ports: [{ containerPort: PORT }],
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            readinessProbe: { httpGet: { path: '/_internal/healthcheck', port: PORT }, periodSeconds: 1 },
            resources: { requests: { cpu: '10m', memory: '32Mi' } },
          },
        ],
      },
    },
  ];
}
