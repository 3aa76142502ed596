import type { PilotlightError } from '../../contracts/errors.ts';
import type { ModelSignature } from '../core/model-signature.ts';
import { loadModel, type ModelHandle, modelClosed } from '../engine/load-model.ts';
import type { Companion } from '../storage/companions.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import type { ImageReader } from '../transform/image-reader.ts';
import type { ModuleHost } from '../transform/module-host.ts';
import type { BringUpContext } from './bring-up.ts';
import type { LoadOrder } from './load-order.ts';

/**
 * What stands around a model: code of the service's own, the reader of images, names of classes. All of it is loaded
 * by the services that have it, and by no other, beside the session of the model.
 */
export interface Surroundings {
  module: Promise<ModuleHost> | undefined;
  reader: Promise<ImageReader> | undefined;
  labels: Promise<string[]> | undefined;
}

/** Files that an order names beside its model. */
export function companionsOf({ transform, labels, parity }: LoadOrder): Companion[] {
  return [
    ...(transform === undefined ? [] : [transform.module]),
    ...(labels === undefined ? [] : [labels.file]),
    ...(parity?.samples === undefined ? [] : [parity.samples]),
  ];
}

export function startSurroundings(
  order: LoadOrder,
  opened: Pick<OpenedModel, 'companions'>,
  context: BringUpContext,
  signal: AbortSignal,
): Surroundings {
  const { transform, image, labels } = order;
  const around: Surroundings = {
    module:
      transform &&
      import('../transform/start-module.ts').then(({ startModule }) =>
        startModule(transform, opened.companions, {
          signal,
          onUserCode: context.onUserCode,
          onTrouble: (error) => context.observer.moduleTrouble?.(error),
        }),
      ),
    reader:
      image && import('../transform/image-reader.ts').then(({ ImageReader: Reader }) => Reader.start(signal)),
    labels:
      labels &&
      import('../transform/read-labels.ts').then(({ readLabels }) =>
        readLabels(labels.file, opened.companions, signal),
      ),
  };
  // Whoever awaits them says so; one that fails while the model still loads is no crash.
  for (const one of Object.values(around)) one?.catch(() => undefined);
  return around;
}

/** What stands around it is of no use without its model. */
export async function loadOrEnd(
  around: Surroundings,
  options: Parameters<typeof loadModel>[0],
): Promise<ModelHandle> {
  try {
    return await loadModel(options);
  } catch (error) {
    end(around);
    throw error;
  }
}

/**
 * Puts it around the model, which is not served without.
 *
 * @throws PilotlightError `transform-invalid`, `model-invalid` and what else keeps a part of it from being there
 */
export async function surround(model: ModelHandle, order: LoadOrder, around: Surroundings): Promise<void> {
  try {
    const [userModule, reader, labels] = await Promise.all([around.module, around.reader, around.labels]);
    if (reader !== undefined && order.image !== undefined) {
      const { imageTask } = await import('../transform/image-reader.ts');
      const mayAddInputs = userModule?.exports.hooks.includes('preprocess') === true;
      reader.prepare(imageTask(order.image, model.signature, mayAddInputs));
    }
    if (labels !== undefined && order.labels !== undefined) {
      const { labelled } = await import('../transform/labelled-model.ts');
      const { signature } = model;
      const infer = model.infer.bind(model);
      const made = labelled({ signature, infer }, order.labels, labels);
      giveOutputs(model, made.signature.outputs);
      model.infer = made.infer;
    }
    if (userModule === undefined && reader === undefined) return;
    const close = model.close.bind(model);
    Object.assign(model, {
      userModule,
      images: reader,
      close: async (reason: PilotlightError) => {
        end(around);
        await close(reason);
      },
    });
  } catch (error) {
    end(around);
    await model.close(modelClosed());
    throw error;
  }
}

/** A model's signature is read anew at each look: its batch may change once. */
function giveOutputs(model: ModelHandle, outputs: ModelSignature['outputs']): void {
  const inner = Object.getOwnPropertyDescriptor(model, 'signature');
  let whole = model.signature;
  let given: ModelSignature = { ...whole, outputs };
  Object.defineProperty(model, 'signature', {
    get: () => {
      const now: ModelSignature = inner?.get?.call(model) ?? whole;
      if (now !== whole) given = { ...now, outputs };
      whole = now;
      return given;
    },
  });
}

function end({ module, reader }: Surroundings): void {
  for (const one of [module, reader]) {
    void one?.then(
      (running) => running.close(),
      () => undefined,
    );
  }
}
