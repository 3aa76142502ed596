import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dockerBuild, hasImage } from '../../images/docker.ts';
import { markedModelBytes } from '../local/testing/marked-model.ts';
import { chainOfSize, matMulChain } from '../models/onnx-models.ts';
import { encodeOnnx } from '../models/onnx-writer.ts';
import { quantised } from '../models/quantised.ts';
import { TEXT_RECOGNISER, VOICE_DETECTOR } from '../models/real-models.ts';
import { ACCESS_KEY, SECRET_KEY, Versitygw } from '../storage/versitygw.ts';
import { tool } from './tools.ts';

/** Namespace and Service of the S3 server of the cases. */
export const STORE_NAMESPACE = 'object-store';
export const STORE_ENDPOINT = `store.${STORE_NAMESPACE}.svc.cluster.local:7070`;
export const STORE_KEYS = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
/** Needs the keys; `open-models` holds the same for everybody. */
export const BUCKET = 'models';
export const PUBLIC_BUCKET = 'open-models';

const PORT = 7_070;
const DOCKERFILE = `FROM scratch
COPY versitygw /versitygw
COPY data /data
ENTRYPOINT ["/versitygw", "--port", ":${PORT}", "--quiet", "--keep-alive", "--health", "/healthz", "posix", "--sidecar", "/data/metadata", "/data/objects"]
`;

/** Models that answer with their number lie at `marked/<number>.onnx`, for each up to this. */
export const MARKED_MODELS = 60;
/** Width of `chain/fp32.onnx` and of its twin with 8-bit weights, `chain/int8.onnx`: `x` and `y` FP32 `[batch, 512]`. */
export const CHAIN_WIDTH = 512;

/** Its weights show in the memory of who serves it: `x` and `y` FP32 `[batch, 1024]`. */
export const LARGE_MODEL = { key: 'large/chain.onnx', weightsBytes: 64e6, width: 1_024 };

/** What the buckets hold, by key. */
function contents(): ReadonlyMap<string, Uint8Array<ArrayBuffer>> {
  const chain = matMulChain({ layers: 8, width: CHAIN_WIDTH });
  const marks = Array.from({ length: MARKED_MODELS }, (_, index) => index + 1);
  return new Map([
    ...marks.map((mark) => [`marked/${mark}.onnx`, new Uint8Array(markedModelBytes(mark))] as const),
    ['chain/fp32.onnx', new Uint8Array(encodeOnnx(chain))],
    [LARGE_MODEL.key, new Uint8Array(encodeOnnx(chainOfSize(LARGE_MODEL.weightsBytes)))],
    ['chain/int8.onnx', new Uint8Array(encodeOnnx(quantised(chain)))],
    ['not-a-model/model.onnx', new Uint8Array(Buffer.from('this is not ONNX'))],
    ['ocr/rec.onnx', new Uint8Array(readFileSync(TEXT_RECOGNISER))],
    ['vad/1/model.onnx', new Uint8Array(readFileSync(VOICE_DETECTOR))],
  ]);
}

/**
 * An image of a real S3 server (versitygw) that holds the models of the cases, built where it has not been yet.
 * @returns its name.
 */
export async function storeImage(): Promise<string> {
  const objects = contents();
  const binary = await tool('versitygw');
  const hash = createHash('sha256').update(DOCKERFILE).update(binary);
  for (const [key, bytes] of objects) hash.update(`${key}\0`).update(bytes);
  const name = `pilotlight-e2e/store:${hash.digest('hex').slice(0, 12)}`;
  if (await hasImage(name)) return name;
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-store-'));
  const server = await Versitygw.start(join(folder, 'data'));
  try {
    for (const bucket of [BUCKET, PUBLIC_BUCKET]) {
      await server.createBucket(bucket);
      for (const [key, bytes] of objects) await server.putObject(bucket, key, bytes);
    }
    await server.makePublic(PUBLIC_BUCKET);
    const context = join(folder, 'context');
    cpSync(join(folder, 'data'), join(context, 'data'), { recursive: true });
    copyFileSync(binary, join(context, 'versitygw'));
    writeFileSync(join(context, 'Dockerfile'), DOCKERFILE);
    await dockerBuild({ context, tag: name });
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return name;
}

/**
 * The store in the cluster: a namespace, a pod, a Service.
 * @param node where it runs: not on a node that a case takes away
 */
export function storeManifest(image: string, node?: string): object[] {
  const labels = { app: 'store' };
  const metadata = { name: 'store', namespace: STORE_NAMESPACE };
  const env = Object.entries({ ROOT_ACCESS_KEY_ID: ACCESS_KEY, ROOT_SECRET_ACCESS_KEY: SECRET_KEY });
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: STORE_NAMESPACE } },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { selector: labels, ports: [{ name: 's3', port: PORT }] },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            ...(node !== undefined && { nodeSelector: { 'kubernetes.io/hostname': node } }),
            containers: [
              {
                name: 'store',
                image,
                imagePullPolicy: 'Never',
                env: env.map(([key, value]) => ({ name: key, value })),
                ports: [{ containerPort: PORT }],
                readinessProbe: { httpGet: { path: '/healthz', port: PORT }, periodSeconds: 1 },
                resources: { requests: { cpu: '10m', memory: '32Mi' } },
              },
            ],
          },
        },
      },
    },
  ];
}
