import { PUBLIC_BUCKET, STORE_ENDPOINT } from '../../object-store.ts';

export interface ServiceOptions {
  readonly annotations?: Readonly<Record<string, string>>;
  /** Fields of spec.predictor beside the model. */
  readonly predictor?: Readonly<Record<string, unknown>>;
  /** Fields of spec.predictor.model beside format and address. */
  readonly model?: Readonly<Record<string, unknown>>;
  /** Fields of spec.predictor.scaling; the shortest way to zero unless given. */
  readonly scaling?: Readonly<Record<string, unknown>>;
}

function service(name: string, workload: object, options: ServiceOptions): object {
  const { annotations, predictor, scaling } = options;
  return {
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name, ...(annotations && { annotations }) },
    spec: {
      predictor: {
        ...workload,
        ...predictor,
        scaling: { stableWindow: '6s', scaleToZeroGracePeriod: '1s', initialScale: 0, ...scaling },
      },
    },
  };
}

/** A service with a model from the bucket that is open to everybody. */
export function modelService(name: string, key: string, options: ServiceOptions = {}): object {
  const model = {
    modelFormat: { name: 'onnx' },
    storageUri: `s3://${PUBLIC_BUCKET}/${key}`,
    env: [{ name: 'AWS_ENDPOINT_URL', value: `http://${STORE_ENDPOINT}` }],
    ...options.model,
  };
  return service(name, { model }, options);
}

/** A service that answers with this number. */
export function markedService(name: string, mark: number, options: ServiceOptions = {}): object {
  return modelService(name, `marked/${mark}.onnx`, options);
}

/** A service of a container of one's own. */
export function containerService(name: string, container: object, options: ServiceOptions = {}): object {
  return service(name, { containers: [container] }, options);
}
