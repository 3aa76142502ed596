import { describe, expect, it } from 'vitest';
import { formatProblem, type Manifest, parseManifest } from './manifest.ts';

function parse(yaml: string): Manifest {
  return parseManifest(yaml, { file: 'service.yaml' });
}

function ours(yaml: string): string {
  return yaml.replace('serving.kserve.io/v1beta1', 'serving.pilotlight.dev/v1alpha1');
}

function lines(manifest: Manifest): string[] {
  return manifest.documents.flatMap((document) =>
    document.state === 'invalid'
      ? document.problems.map((problem) => formatProblem(document.source.file, problem))
      : [],
  );
}

const ONNX_SAMPLE = `apiVersion: "serving.kserve.io/v1beta1"
kind: "InferenceService"
metadata:
  name: "style-sample"
spec:
  predictor:
    model:
      protocolVersion: v2
      modelFormat:
        name: onnx
      storageUri: "gs://kfserving-examples/models/onnx"
`;

const OLD_ONNX_SAMPLE = `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: style-sample
spec:
  predictor:
    serviceAccountName: sa
    timeout: 60
    onnx:
      storageUri: s3://models/style
      runtimeVersion: v1.5.3
      resources:
        requests: { cpu: 100m, memory: 1Gi }
        limits: { cpu: "1", memory: 1Gi }
`;

const SKLEARN_SAMPLE = `apiVersion: "serving.kserve.io/v1beta1"
kind: "InferenceService"
metadata:
  name: "sklearn-iris"
spec:
  predictor:
    model:
      modelFormat:
        name: sklearn
      storageUri: "gs://kfserving-examples/models/sklearn/1.0/model"
`;

const OLD_SKLEARN_SAMPLE = `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: sklearn-iris
spec:
  predictor:
    sklearn:
      storageUri: gs://kfserving-examples/models/sklearn/1.0/model
`;

const CANARY_SAMPLE = `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: digits
  annotations:
    serving.kserve.io/enable-tag-routing: "true"
spec:
  predictor:
    canaryTrafficPercent: 10
    minReplicas: 1
    maxReplicas: 3
    scaleTarget: 2
    scaleMetric: concurrency
    containerConcurrency: 4
    nodeSelector: { disktype: ssd }
    model:
      modelFormat: { name: onnx, version: "1" }
      storage:
        key: localMinIO
        path: digits/model.onnx
        parameters: { bucket: models }
`;

const CUSTOM_SAMPLE = `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: custom-model
spec:
  predictor:
    containers:
      - name: kserve-container
        image: example/custom-model:v1
        env:
          - name: PROTOCOL
            value: v2
        ports:
          - containerPort: 8080
            protocol: TCP
`;

const TRANSFORMER_SAMPLE = `${ONNX_SAMPLE}  transformer:
    containers:
      - image: example/transformer:latest
        name: kserve-container
`;

describe('a KServe sample', () => {
  it('of an ONNX model works once its apiVersion is changed', () => {
    const [document] = parse(ours(ONNX_SAMPLE)).documents;
    expect(document).toMatchObject({
      state: 'valid',
      kind: 'InferenceService',
      source: { file: 'service.yaml', line: 1, documentIndex: 0 },
      service: { spec: { predictor: { model: { storageUri: 'gs://kfserving-examples/models/onnx' } } } },
    });
  });

  it('with its apiVersion left in is told which one to write', () => {
    expect(lines(parse(ONNX_SAMPLE))).toEqual([
      'service.yaml:1:1: apiVersion: change "serving.kserve.io/v1beta1" to "serving.pilotlight.dev/v1alpha1"',
    ]);
  });

  it('in the old style, with onnx in place of model, is the same as with modelFormat onnx', () => {
    const manifest = parse(ours(OLD_ONNX_SAMPLE));
    expect(manifest.documents[0]).toMatchObject({
      state: 'valid',
      service: {
        spec: {
          predictor: {
            serviceAccountName: 'sa',
            timeoutMs: 60_000,
            model: { modelFormat: { name: 'onnx' }, resources: { limits: { cpu: 1, memory: 2 ** 30 } } },
          },
        },
      },
    });
    expect(manifest.warnings).toMatchObject([{ path: 'spec.predictor.onnx.runtimeVersion', line: 11 }]);
  });

  it('of sklearn says that only ONNX is supported and names modelFormat', () => {
    expect(lines(parse(ours(SKLEARN_SAMPLE)))).toEqual([
      'service.yaml:9:9: spec.predictor.model.modelFormat.name: only ONNX is supported: convert the model and give it as spec.predictor.model with modelFormat {name: onnx}, got "sklearn"',
    ]);
  });

  it('of sklearn in the old style says the same', () => {
    expect(lines(parse(ours(OLD_SKLEARN_SAMPLE)))).toEqual([
      'service.yaml:7:5: spec.predictor.sklearn: only ONNX is supported: convert the model and give it as spec.predictor.model with modelFormat {name: onnx}, got "sklearn"',
    ]);
  });

  it('with canary, scaling and a storage key works', () => {
    const manifest = parse(ours(CANARY_SAMPLE));
    expect(manifest.documents[0]).toMatchObject({
      state: 'valid',
      service: {
        spec: {
          predictor: {
            canaryTrafficPercent: 10,
            scaleTarget: 2,
            containerConcurrency: 4,
            model: {
              storage: { key: 'localMinIO', path: 'digits/model.onnx', parameters: { bucket: 'models' } },
            },
          },
        },
      },
    });
    expect(manifest.warnings.map(({ line }) => line)).toEqual([]);
  });

  it('of a custom container works', () => {
    expect(parse(ours(CUSTOM_SAMPLE)).documents[0]).toMatchObject({
      state: 'valid',
      service: { spec: { predictor: { containers: [{ image: 'example/custom-model:v1' }] } } },
    });
  });

  it('with a transformer is refused by that field and its line', () => {
    expect(lines(parse(ours(TRANSFORMER_SAMPLE)))).toEqual([
      'service.yaml:12:3: spec.transformer: not supported yet: spec.transformer; leave it out',
    ]);
  });
});
