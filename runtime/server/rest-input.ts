import { PilotlightError } from '../../contracts/errors.ts';
import { isRawBody, mediaType } from '../core/hook-results.ts';
import { validateInputs } from '../core/model-signature.ts';
import { INFERENCE_HEADER_LENGTH } from '../core/oip-binary.ts';
import { shown, type Tensor } from '../core/tensor.ts';
import type { LoadedModel } from '../ports.ts';
import type { ImageFormat } from '../transform/image-messages.ts';
import type { Exchange } from './exchange.ts';
import { decodeV1, decodeV2, type RequestForm, rawV1, rawV2 } from './request-forms.ts';
import type { Route } from './router.ts';
import { moduleWith, type Preparation, preprocess } from './user-hooks.ts';
import { headerText, type Work } from './work.ts';

export interface RestInput {
  readonly form: RequestForm;
  /** What the model gets. */
  readonly prepared: Preparation;
}

/**
 * Makes the model's inputs of a request: of its tensors, of an image, or by the service's own code.
 *
 * @throws PilotlightError with what is wrong with it
 */
export async function readInput(
  exchange: Exchange,
  route: Extract<Route, { model: string }>,
  model: LoadedModel,
  work: Work,
  body: Buffer,
): Promise<RestInput> {
  const isV1 = route.kind === 'v1-predict';
  const module = moduleWith(model, 'preprocess');
  const type = mediaType(headerText(exchange, 'content-type'));
  const isTensors = headerText(exchange, INFERENCE_HEADER_LENGTH) !== undefined;
  const isOwn = type !== undefined && module?.exports.rawContentTypes.includes(type) === true;
  if (type?.startsWith('image/') === true && !isTensors && !isOwn) {
    const image = await readImage(model, type, body, work, module !== undefined);
    if (image !== undefined) {
      const form = { ...(isV1 ? rawV1(work) : rawV2(model, exchange, work)), inputs: [image] };
      if (module !== undefined) {
        const input = { inputs: form.inputs, body: undefined };
        return { form, prepared: await preprocess(module, model, exchange, work, form.subject, input) };
      }
      validateInputs(model.signature, form.inputs);
      return plain(form);
    }
  }
  if (module === undefined) {
    return plain(await (isV1 ? decodeV1(body, model, work) : decodeV2(body, model, exchange, work)));
  }
  const isRaw = isV1 || (!isTensors && isRawBody(type, module.exports.rawContentTypes));
  const form = isV1
    ? rawV1(work)
    : isRaw
      ? rawV2(model, exchange, work)
      : await decodeV2(body, model, exchange, work);
  const input = { inputs: form.inputs, body: isRaw ? body : undefined };
  return { form, prepared: await preprocess(module, model, exchange, work, form.subject, input) };
}

function plain(form: RequestForm): RestInput {
  return { form, prepared: { inputs: form.inputs, state: undefined, tookMs: 0 } };
}

const FORMATS: ReadonlyMap<string, ImageFormat> = new Map([
  ['image/jpeg', 'jpeg'],
  ['image/jpg', 'jpeg'],
  ['image/png', 'png'],
]);

/** @returns undefined where the service's own code is to have the body. */
async function readImage(
  model: LoadedModel,
  type: string,
  body: Buffer,
  work: Work,
  hasModule: boolean,
): Promise<Tensor | undefined> {
  const format = FORMATS.get(type);
  if (model.images !== undefined && format !== undefined) {
    const { deadlineMs, signal } = work;
    const tensor = await model.images.read(body, format, { deadlineMs, signal });
    if (!Array.isArray(tensor.data)) work.held.takeAnyway(tensor.data.byteLength);
    return tensor;
  }
  if (hasModule) return undefined;
  const expected =
    model.images === undefined
      ? 'takes no images; send tensors, or have the service say spec.predictor.model.imageInput'
      : 'takes image/jpeg and image/png';
  throw new PilotlightError(
    'unsupported-media-type',
    `the body is ${shown(type)}, and the service ${expected}`,
  );
}
