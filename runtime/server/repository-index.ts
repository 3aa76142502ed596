import { PilotlightError } from '../../contracts/errors.ts';
import { JsonCursor } from '../core/json-cursor.ts';
import { jsonAnswer } from './answers.ts';
import { decodeContent } from './content-coding.ts';
import type { Answer, Exchange } from './exchange.ts';
import { repositoryIndex } from './model-views.ts';
import { HeldBytes, readBody } from './read-body.ts';
import { headerText, type Serving } from './work.ts';

/** Triton's clients send a body of some ten bytes, or none. */
const MAX_BODY_BYTES = 4096;
const MAX_DEPTH = 8;

/**
 * POST `/v2/repository/index`: everything that is here, or with `{"ready": true}` only what can be used now.
 *
 * @throws PilotlightError as `readBody` does, and `invalid-request`.
 */
export async function repositoryIndexAnswer(serving: Serving, exchange: Exchange): Promise<Answer> {
  const readyOnly = exchange.hasBody && (await readReadyOnly(serving, exchange));
  return jsonAnswer(200, repositoryIndex(serving.engine.current, readyOnly));
}

async function readReadyOnly(serving: Serving, exchange: Exchange): Promise<boolean> {
  const limits = { ...serving.reading.limits, maxBodyBytes: MAX_BODY_BYTES };
  const held = new HeldBytes(serving.reading.budget);
  exchange.onDone(() => held.release());
  const raw = await readBody(exchange, { ...serving.reading, limits }, held);
  const body = await decodeContent(raw, headerText(exchange, 'content-encoding'), MAX_BODY_BYTES, held);
  if (body.length === 0) return false;
  const cursor = new JsonCursor(body, MAX_DEPTH);
  let ready = false;
  cursor.readObject('the request', (key) => {
    if (key !== 'ready') return cursor.skipValue();
    const value = cursor.readScalar('"ready"');
    if (typeof value !== 'boolean') {
      throw new PilotlightError('invalid-request', `"ready" must be true or false, got ${String(value)}`);
    }
    ready = value;
  });
  cursor.expectEnd();
  return ready;
}
