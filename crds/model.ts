import { z } from 'zod';
import { claimOf } from './claims.ts';
import { executionShape } from './execution.ts';
import { fields, optional, refuse, refused, text, unsupported } from './fields.ts';
import { imageSchema, labelsSchema } from './image-fields.ts';
import { paritySchema } from './parity.ts';
import { processShape } from './pod-fields.ts';
import { parseRuntimeArguments } from './runtime-arguments.ts';
import { storeOf } from './storage-access.ts';
import type { Validation } from './structural-schema.ts';
import { transformSchema } from './transform.ts';

/** KServe's field per framework, older than `model`; only `onnx` is served here. */
export const OTHER_FRAMEWORKS = [
  'sklearn',
  'xgboost',
  'tensorflow',
  'pytorch',
  'triton',
  'huggingface',
  'pmml',
  'lightgbm',
  'paddle',
] as const;

/** The text by which a model of another framework is refused; `found` is what the manifest names. */
function onlyOnnx(found: string): string {
  return (
    `only ONNX is supported: convert the model and give it as spec.predictor.model with ` +
    `modelFormat {name: onnx}, got "${found}"`
  );
}

const AZURE_SCHEMES = ['abfs', 'abfss', 'wasb', 'wasbs'];
const URI_SCHEMES_SUPPORTED = ['file', 'http', 'https', 's3', 'gs', 'pvc', ...AZURE_SCHEMES];
const URI_SCHEMES_LATER = ['hf', 'oci', 'azure', 'hdfs', 'webhdfs', 'git', 'model'];

const storageUri = text()
  .min(1)
  .superRefine((uri, context) => {
    const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):/.exec(uri)?.[1]?.toLowerCase();
    if (scheme === undefined) {
      const message = `expected a URI such as "s3://bucket/model.onnx", got "${uri.slice(0, 80)}"; write a path as "file:${uri.slice(0, 80)}"`;
      refuse(context, { refusal: 'message', message });
    } else if (URI_SCHEMES_LATER.includes(scheme)) {
      refuse(context, {
        refusal: 'not-supported-yet',
        value: `${scheme}:`,
        instead: 'file:, http:, https:, s3:, gs:, abfss: and pvc: are',
      });
    } else if (!URI_SCHEMES_SUPPORTED.includes(scheme)) {
      const message = `expected a URI of scheme file, http, https, s3, gs, abfss or pvc, got "${scheme}:"`;
      refuse(context, { refusal: 'message', message });
    } else {
      const message = uriProblem(uri, scheme);
      if (message !== undefined) refuse(context, { refusal: 'message', message });
    }
  });

/** What the API server checks of it; the controller's own check says more, when it comes to that. */
const STORAGE_URI_RULES: Validation[] = [
  {
    rule: "self.matches('^(?i)(file|https?|s3|gs|pvc|abfss?|wasbs?):.+')",
    message:
      'not supported yet: storageUri of another scheme than file:, http:, https:, s3:, gs:, abfss: and pvc:; copy the model to such a place',
  },
  {
    rule: "!self.matches('^(?i)(s3|gs):') || self.matches('^(?i)(s3|gs)://[a-z0-9][-._a-z0-9]{0,221}(/.*)?$')",
    message: 'expected "s3://bucket/path" or "gs://bucket/path"',
  },
  {
    rule: "!self.matches('^(?i)https?:') || self.matches('^(?i)https?://[^/?#]')",
    message: 'expected a URL such as "https://host/path"',
  },
  {
    // Everyone who may read the service would read them.
    rule: "!self.matches('^(?i)https?://[^/?#]*@')",
    message: 'expected a URL without user name and password',
  },
];

function uriProblem(uri: string, scheme: string): string | undefined {
  if (scheme === 'file') {
    return /^file:(?:\/\/\/|(?!\/\/))./i.test(uri)
      ? undefined
      : `expected "file:///absolute/path" or "file:relative/path", got "${uri.slice(0, 80)}"`;
  }
  if (scheme === 's3' || scheme === 'gs') {
    return new RegExp(`^${scheme}://[a-z0-9][-._a-z0-9]{0,221}(/.*)?$`, 'i').test(uri)
      ? undefined
      : `expected "${scheme}://bucket/path", got "${uri.slice(0, 80)}"`;
  }
  if (scheme === 'pvc') {
    const claim = claimOf(uri);
    const isPlain = claim !== undefined && !claim.path.split('/').includes('..');
    return isPlain ? undefined : `expected "pvc://claim/path", got "${uri.slice(0, 80)}"`;
  }
  if (AZURE_SCHEMES.includes(scheme)) {
    return storeOf(uri) === 'azure' && /^[a-z]+:\/\/[^/@:]+@[a-z0-9]+\./i.test(uri)
      ? undefined
      : `expected "${scheme}://container@account.dfs.core.windows.net/path", got "${uri.slice(0, 80)}"`;
  }
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url === undefined || url.hostname === '') return `expected a URL, got "${uri.slice(0, 80)}"`;
  // They would be shown in the status, in logs and to everyone who may read the service.
  if (url.username !== '' || url.password !== '') return 'expected a URL without user name and password';
  return undefined;
}

const storageSchema = fields({
  key: optional(
    text(253).describe('Entry of the Secret storage-config that says where and with which credentials.'),
  ),
  path: text().min(1).describe('Path of the model within the bucket.'),
  parameters: z
    .record(text(253), text())
    .default({})
    .describe('Adds to, and overrides, what the entry says: type, bucket, endpoint_url, region and so on.'),
  schemaPath: unsupported('string'),
});

/** Fields of `model`, and of the older `onnx`, which is the same without `modelFormat`. */
const modelShape = {
  storageUri: optional(
    storageUri
      .describe('Where the model lies: file:, http(s):, s3:, gs:, abfss: (and Azure’s https:) or pvc:.')
      .meta({ 'x-kubernetes-validations': STORAGE_URI_RULES }),
  ),
  storage: optional(storageSchema).describe(
    'Where the model lies, by an entry of the Secret storage-config, instead of storageUri.',
  ),
  protocolVersion: optional(
    z
      .enum(['v1', 'v2', 'grpc-v2'])
      .describe('Said by KServe manifests; the runtime speaks all three on every service.'),
  ),
  runtime: optional(text(253)).describe('Said by KServe manifests; without effect here.'),
  runtimeVersion: optional(text(253)).describe('Said by KServe manifests; without effect here.'),
  name: optional(text(63)).describe('Said by KServe manifests; without effect here.'),
  transform: optional(transformSchema),
  imageInput: optional(imageSchema),
  labels: optional(labelsSchema),
  parity: optional(
    paritySchema(
      storageUri
        .superRefine((uri, context) => {
          if (claimOf(uri) === undefined) return;
          refuse(context, {
            refusal: 'not-supported-yet',
            value: 'pvc:',
            instead: 'file:, http:, https:, s3:, gs: and abfss: are',
          });
        })
        .meta({
          'x-kubernetes-validations': [
            ...STORAGE_URI_RULES,
            {
              rule: "!self.matches('^(?i)pvc:')",
              message: 'not supported yet: pvc: here; copy the model to a store',
            },
          ],
        }),
    ),
  ),
  ...executionShape,
  ...processShape,
  image: unsupported('string'),
  command: unsupported('array'),
  workingDir: unsupported('string'),
  ports: unsupported('array'),
  imagePullPolicy: unsupported('string'),
  livenessProbe: unsupported('object'),
  readinessProbe: unsupported('object'),
  startupProbe: unsupported('object'),
  lifecycle: unsupported('object'),
  securityContext: unsupported('object'),
  volumeMounts: unsupported('array'),
  volumeDevices: unsupported('array'),
  resizePolicy: unsupported('array'),
  terminationMessagePath: unsupported('string'),
  terminationMessagePolicy: unsupported('string'),
  restartPolicy: unsupported('string'),
  stdin: unsupported('boolean'),
  stdinOnce: unsupported('boolean'),
  tty: unsupported('boolean'),
};

interface ModelSource {
  storageUri?: string;
  storage?: unknown;
  args: string[];
}

const ONE_SOURCE = [
  {
    rule: 'has(self.storageUri) != has(self.storage)',
    message: 'expected either storageUri or storage to say where the model lies',
  },
];

function checkModel(model: ModelSource, context: z.RefinementCtx): void {
  if ((model.storageUri === undefined) === (model.storage === undefined)) {
    const message =
      model.storageUri === undefined
        ? 'expected storageUri (or storage) to say where the model lies'
        : 'give either storageUri or storage, not both';
    refuse(context, { refusal: 'message', message }, model.storageUri === undefined ? [] : ['storage']);
  }
  const parsed = parseRuntimeArguments(model.args);
  if (!parsed.ok)
    refuse(context, { refusal: 'message', message: parsed.message }, ['args', parsed.index ?? 0]);
}

const modelFormatName = z
  .string()
  .superRefine((name, context) => {
    if (name !== 'onnx') refuse(context, { refusal: 'message', message: onlyOnnx(name) });
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: "self == 'onnx'",
        message: 'only ONNX is supported: convert the model and say modelFormat {name: onnx}',
        messageExpression:
          "'only ONNX is supported: convert the model and say modelFormat {name: onnx}, got \"' + self + '\"'",
      },
    ],
  }) as unknown as z.ZodType<'onnx', 'onnx'>;

export const modelSchema = fields({
  modelFormat: fields({
    name: modelFormatName.describe('onnx, the format that is supported.'),
    version: optional(text(63)).describe('Said by KServe manifests; without effect here.'),
  }).describe('Format of the model: {name: onnx}.'),
  ...modelShape,
})
  .superRefine(checkModel)
  .meta({ 'x-kubernetes-validations': ONE_SOURCE });
export type ModelSpec = z.output<typeof modelSchema>;

export const onnxSchema = fields(modelShape)
  .superRefine(checkModel)
  .meta({ 'x-kubernetes-validations': ONE_SOURCE });

/** `sklearn: {…}` and its like, each refused by name. */
export const otherFrameworkShape = Object.fromEntries(
  OTHER_FRAMEWORKS.map((framework) => [framework, refused('object', onlyOnnx(framework))]),
) as Record<(typeof OTHER_FRAMEWORKS)[number], ReturnType<typeof refused>>;
