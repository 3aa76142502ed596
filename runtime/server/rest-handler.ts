import { PilotlightError } from '../../contracts/errors.ts';
import {
  errorBody,
  modelConfig,
  modelMetadata,
  modelReadinessBody,
  readinessBody,
  serverMetadata,
} from '../core/oip-metadata.ts';
import { shown } from '../core/tensor.ts';
import { admit, RETRY_AFTER_SECONDS, servedVersion } from './admission.ts';
import { errorAnswer, jsonAnswer, publicError } from './answers.ts';
import type { Answer, Exchange } from './exchange.ts';
import { allStats, EXTENSIONS, modelStats } from './model-views.ts';
import { repositoryIndexAnswer } from './repository-index.ts';
import { serveInference } from './rest-inference.ts';
import { type Resolution, WHAT_EXISTS } from './router.ts';
import { addresseeOf, isDirect, type Serving } from './work.ts';

/** Serves one REST request to its end; rejects only when its answer can't be sent. */
export async function handleRest(serving: Serving, exchange: Exchange): Promise<void> {
  const startedMs = performance.now();
  const route = serving.routes.resolve(exchange.method, exchange.target);
  const isInference = route.kind === 'infer' || route.kind === 'v1-predict';
  let answer: Answer;
  let outcome = 'ok';
  try {
    if (isInference) answer = await serveInference(serving, exchange, route);
    else if (route.kind === 'openapi') answer = await openApi();
    else if (route.kind === 'repository-index') answer = await repositoryIndexAnswer(serving, exchange);
    else answer = answerPlainly(serving, exchange, route);
  } catch (thrown) {
    const error = publicError(thrown, (err) => serving.logger.error({ err }, 'request failed unexpectedly'));
    outcome = error.code;
    answer = errorAnswer(error);
  }
  if (isInference) serving.metrics.record('rest', outcome, performance.now() - startedMs);
  if (sendsAway(serving, exchange)) answer.headers['connection'] = 'close';
  exchange.send(answer);
  const { watchdog, limits } = serving.reading;
  exchange.watchWriting(watchdog, limits.writeIdleTimeoutMs);
}

/** Whether the next request of this caller should come over another connection. HTTP/2 says so by GOAWAY. */
function sendsAway({ engine }: Serving, exchange: Exchange): boolean {
  return engine.current.phase === 'draining' || (!engine.welcomesCallers && isDirect(exchange));
}

/** Read when somebody asks for it: hardly ever. */
async function openApi(): Promise<Answer> {
  const { default: document } = await import('../openapi/openapi.json', { with: { type: 'json' } });
  return jsonAnswer(200, document);
}

function answerPlainly(
  serving: Serving,
  exchange: Exchange,
  route: Exclude<Resolution, { kind: 'openapi' | 'repository-index' }>,
): Answer {
  const phase = serving.engine.current;
  switch (route.kind) {
    case 'server-metadata':
      return jsonAnswer(200, serverMetadata(serving.version, EXTENSIONS));
    case 'live':
      return jsonAnswer(200, readinessBody(true));
    case 'ready':
      return readiness(phase.phase === 'ready', readinessBody(phase.phase === 'ready'));
    case 'models':
    case 'v1-models':
      return jsonAnswer(200, { models: phase.phase === 'ready' ? [phase.model.name] : [] });
    case 'all-stats':
      return jsonAnswer(200, { model_stats: allStats(serving) });
    case 'bad-encoding':
      throw new PilotlightError(
        'invalid-request',
        `the path '${shown(exchange.target)}' is not percent-encoded UTF-8`,
      );
    case 'not-found':
      throw new PilotlightError(
        'not-found',
        `there is no '${shown(exchange.target)}' here; there are ${WHAT_EXISTS}`,
      );
    case 'method-not-allowed':
      return notAllowed(exchange, route.allow);
    case 'model-metadata':
    case 'model-config':
    case 'model-stats':
    case 'model-ready':
    case 'v1-model':
    case 'infer':
    case 'v1-predict':
      return answerForModel(serving, exchange, route);
  }
}

function answerForModel(
  serving: Serving,
  exchange: Exchange,
  route: Extract<Resolution, { model: string }>,
): Answer {
  const model = admit(serving.engine.current, addresseeOf(exchange, route));
  const identity = { name: model.name, version: servedVersion(model) };
  switch (route.kind) {
    case 'model-metadata':
      return jsonAnswer(200, modelMetadata(identity, model.signature));
    case 'model-config':
      return jsonAnswer(200, modelConfig(identity, model));
    case 'model-stats':
      return jsonAnswer(200, { model_stats: [modelStats(serving, model)] });
    case 'model-ready':
    case 'v1-model':
    case 'infer':
    case 'v1-predict':
      return jsonAnswer(200, modelReadinessBody(model.name, true));
  }
}

function readiness(ready: boolean, body: object): Answer {
  const answer = jsonAnswer(ready ? 200 : 503, body);
  if (!ready) {
    answer.headers['pilotlight-error'] = 'not-ready';
    answer.headers['retry-after'] = String(RETRY_AFTER_SECONDS);
  }
  return answer;
}

function notAllowed(exchange: Exchange, allow: string): Answer {
  const answer = jsonAnswer(
    405,
    errorBody(`${shown(exchange.method)} is not allowed for '${shown(exchange.target)}'; expected ${allow}`),
  );
  answer.headers['pilotlight-error'] = 'method-not-allowed';
  answer.headers['allow'] = allow;
  return answer;
}
