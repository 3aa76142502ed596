import { expect, test } from 'vitest';
import { RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import { RELEASE_NAMESPACE } from '../install.ts';
import { mark, onPlatform } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

const on = onPlatform('tags');
const TAGS = { annotations: { 'serving.kserve.io/enable-tag-routing': 'true' } };

/** Asks the service of the case under another host. */
async function ask(url: string, headers: Record<string, string> = {}): Promise<number> {
  const request = on.inference('ocr', zeros());
  return mark(await on.client.call({ ...request, url: `${url}/v2/models/ocr/infer`, headers }));
}

test('each revision answers at an address of its own, which starts it when nobody else wants it', async () => {
  await on.apply(markedService('ocr', 21, TAGS));
  await on.waitForReady('ocr');
  expect(mark(await on.infer('ocr', zeros()))).toBe(21);
  await on.apply(markedService('ocr', 22, TAGS));
  await on.until('the new revision answers', async () => mark(await on.infer('ocr', zeros())) === 22);

  const { status } = await on.waitForService('ocr', 'names the revision before', (service) =>
    (service.status?.components?.['predictor']?.traffic ?? []).some(({ tag }) => tag === 'prev'),
  );
  const lines = status?.components?.['predictor']?.traffic ?? [];
  const urlOf = (wanted: string): string => lines.find(({ tag }) => tag === wanted)?.url ?? '';
  await on.until('their Services lead somewhere', async () => {
    const reached = await Promise.all(['latest', 'prev'].map((tag) => on.client.reaches(urlOf(tag))));
    return !reached.includes(false);
  });
  expect(await ask(urlOf('prev'))).toBe(21);
  expect(await ask(urlOf('latest'))).toBe(22);
  // Any tag has its host at the activators themselves, as from outside.
  const activators = `http://pilotlight-activator.${RELEASE_NAMESPACE}.svc.cluster.local`;
  expect(await ask(activators, { host: `r1-ocr.${on.namespace}` })).toBe(21);
  expect(await ask(activators, { host: `r2-ocr.${on.namespace}` })).toBe(22);
  expect(mark(await on.infer('ocr', zeros()))).toBe(22);
});

test('without the annotation the addresses go', async () => {
  await on.apply(markedService('ocr', 22));
  await on.until('their Services and slices are gone', async () => {
    const kinds = [RESOURCES.services, RESOURCES.endpointSlices];
    const names = (await Promise.all(kinds.map((kind) => on.list(kind)))).flat();
    return !names.some(({ metadata }) => /^(latest|prev)-/.test(metadata?.name ?? ''));
  });
  expect(mark(await on.infer('ocr', zeros()))).toBe(22);
});
