import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { SpecialiseRequest } from '../../contracts/admin.ts';
import { seal } from '../../contracts/sealing.ts';
import type { Logger } from '../../process/logger.ts';
import { type AdminParts, openAdminServer, sharedTokenGuard } from '../admin/admin-server.ts';
import { openModel } from '../storage/open-model.ts';
import { Lifecycle, type LifecycleOptions } from './lifecycle.ts';
import { ModelMetrics } from './model-metrics.ts';

const TOKEN = 'rehearsal';
const ROUNDS = 3;
/** A chain of 60 tiny layers (matMulChain of e2e/models): a walk over its 9 kB is a walk over any ONNX file. */
const MODEL_URI = pathToFileURL(join(import.meta.dirname, 'rehearsal.onnx')).href;
/** Its load fails, and so nothing is taken from what the real claim needs. */
const ABSENT_URI = pathToFileURL(join(import.meta.dirname, 'absent.onnx')).href;

const REQUEST: SpecialiseRequest = {
  claimId: 'rehearsal',
  epoch: 0,
  service: { namespace: 'default', name: 'rehearsal', uid: 'rehearsal' },
  revision: 'rehearsal-00001',
  model: { name: 'rehearsal', uri: ABSENT_URI },
  serving: { requestTimeoutMs: 1_000 },
  startTimeoutMs: 1_000,
  warmUp: 'request',
  stats: { url: 'http://127.0.0.1:9/', token: TOKEN },
};

/**
 * Goes through a claim as it will come: over HTTP to an admin port, checked, and on to a model that is not
 * there; and opens a model of some kilobytes. All of it runs on objects of its own, so nothing is left but code
 * that has run before: a first run of it takes 20 to 40 ms that the first claim would wait for.
 *
 * @throws nothing: a rehearsal that fails makes a claim slower, not impossible.
 */
export async function rehearseClaim(
  options: Pick<LifecycleOptions, 'cacheDir' | 'cacheMaxBytes' | 'limits' | 'reserve'>,
  parts: AdminParts,
  logger: Logger,
): Promise<void> {
  const silent = logger.child({}, { level: 'silent' });
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const lifecycle = new Lifecycle({
        ...options,
        incarnation: TOKEN,
        recycles: 0,
        highestEpoch: 0,
        logger: silent,
        metrics: new ModelMetrics(),
      });
      const address = { host: '127.0.0.1', port: 0 };
      const server = await openAdminServer(address, sharedTokenGuard(TOKEN), lifecycle, parts, silent);
      const sealedAccess = seal('{}', parts.sealing.publicKey, REQUEST.claimId);
      await claim(server.port, { ...REQUEST, model: { ...REQUEST.model, sealedAccess } });
      server.close();
      const opened = await openModel({ uri: MODEL_URI, cacheDir: options.cacheDir });
      await opened.release();
    }
  } catch (error) {
    logger.debug({ err: error }, 'a claim could not be rehearsed');
  }
}

function claim(port: number, order: SpecialiseRequest): Promise<void> {
  const { request } = process.getBuiltinModule('node:http');
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: '127.0.0.1',
        port,
        method: 'POST',
        path: '/admin/specialise',
        agent: false,
        headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      },
      (answer) => {
        answer.resume();
        answer.once('end', resolve);
        answer.once('error', reject);
      },
    );
    call.once('error', reject);
    call.end(JSON.stringify(order));
  });
}
