import { ModelForms } from '../engine/model-forms.ts';
import { type OpenedModel, openModel } from '../storage/open-model.ts';
import { DEFAULT_STORAGE_LIMITS } from '../storage/storage-types.ts';
import { uriFromArgument } from '../storage/uri.ts';

/** As a runtime has it: smaller models are there in milliseconds as they are. */
const WORTH_FORMS_BYTES = 1024 ** 2;

/** A model in a cache, and where its forms are kept; none for one that is too small to gain. */
export async function openWithForms(
  { uri, cacheDir }: { uri: string; cacheDir: string },
  signal: AbortSignal,
): Promise<{ model: OpenedModel; forms: ModelForms | undefined }> {
  const model = await openModel({ uri: uriFromArgument(uri, process.cwd()), cacheDir, signal });
  const { cacheBytes } = DEFAULT_STORAGE_LIMITS;
  const isWorth = model.sizeBytes >= WORTH_FORMS_BYTES;
  const forms = isWorth ? new ModelForms({ cacheDir, cacheBytes }, model.contentKey) : undefined;
  return { model, forms };
}
