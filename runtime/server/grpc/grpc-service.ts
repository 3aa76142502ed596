import { PilotlightError } from '../../../contracts/errors.ts';
import type { WireWriter } from '../../core/protobuf.ts';
import { publicError } from '../answers.ts';
import { Http2Exchange } from '../http2-exchange.ts';
import { HeldBytes, readBody } from '../read-body.ts';
import { headerText, type Serving, type Work } from '../work.ts';
import { COMMON_HEADERS, sendError } from './grpc-answer.ts';
import { frameHead, unframe } from './grpc-framing.ts';
import { parseGrpcTimeout } from './grpc-status.ts';
import type { GrpcStream } from './grpc-stream.ts';
import { checkHealth, HEALTH_SERVICE, watchHealth } from './health.ts';
import { inferOverGrpc } from './infer-over-grpc.ts';
import { REFLECTION_SERVICES, serveReflection } from './reflection.ts';
import { SIMPLE_METHODS } from './simple-methods.ts';
import { serveStreamInfer } from './stream-infer.ts';
import { StreamedCall } from './streamed-call.ts';

const INFERENCE_SERVICE = 'inference.GRPCInferenceService';

/** Serves one gRPC call to its end. */
export function serveGrpc(serving: Serving, call: GrpcStream): void {
  if (call.stream.destroyed) return;
  const streamed = streamedMethod(call.headers[':path'] ?? '');
  if (streamed === undefined) serveUnary(serving, call);
  else serveStreamed(serving, new StreamedCall(serving, call), streamed);
}

type StreamedMethod = (serving: Serving, call: StreamedCall) => Promise<void>;

/** The method of a path `/package.Service/Method`, where one side or both send more than one message. */
function streamedMethod(path: string): StreamedMethod | undefined {
  const [, service = '', method = ''] = path.split('/');
  if (service === INFERENCE_SERVICE && method === 'ModelStreamInfer') return serveStreamInfer;
  if (service === HEALTH_SERVICE && method === 'Watch') return watchHealth;
  if (REFLECTION_SERVICES.has(service) && method === 'ServerReflectionInfo') {
    return (_serving, call) => serveReflection(call);
  }
  return undefined;
}

function serveStreamed(serving: Serving, call: StreamedCall, method: StreamedMethod): void {
  method(serving, call).catch((thrown: unknown) => {
    call.fail(publicError(thrown, (err) => serving.logger.error({ err }, 'gRPC stream failed unexpectedly')));
  });
}

function serveUnary(serving: Serving, call: GrpcStream): void {
  const exchange = new Http2Exchange(call.stream, call.headers);
  const startedMs = performance.now();
  const isInference = exchange.target === `/${INFERENCE_SERVICE}/ModelInfer`;
  const respond = isInference ? infer(serving, exchange) : simple(serving, exchange);
  respond
    .then(
      (message) => {
        sendMessage(call, message);
        return 'ok';
      },
      (thrown: unknown) => {
        const error = publicError(thrown, (err) =>
          serving.logger.error({ err }, 'gRPC call failed unexpectedly'),
        );
        sendError(call, error);
        return error.code;
      },
    )
    .then((outcome) => {
      if (isInference) serving.metrics.record('grpc', outcome, performance.now() - startedMs);
      const { watchdog, limits } = serving.reading;
      exchange.watchWriting(watchdog, limits.writeIdleTimeoutMs);
    })
    .catch((err: unknown) => {
      serving.logger.error({ err }, 'a gRPC answer could not be sent');
      exchange.destroy();
    });
}

async function infer(serving: Serving, exchange: Http2Exchange): Promise<WireWriter> {
  const timeoutMs = parseGrpcTimeout(headerText(exchange, 'grpc-timeout'));
  const read = (work: Work): Promise<Buffer> => readMessage(serving, exchange, work.held);
  return inferOverGrpc(serving, exchange, read, timeoutMs);
}

async function simple(serving: Serving, exchange: Http2Exchange): Promise<WireWriter> {
  const answer = simpleMethod(exchange.target);
  const held = new HeldBytes(serving.reading.budget);
  exchange.onDone(() => held.release());
  return answer(serving, exchange, await readMessage(serving, exchange, held));
}

function simpleMethod(
  path: string,
): (serving: Serving, exchange: Http2Exchange, message: Uint8Array) => WireWriter {
  const [, service = '', method = ''] = path.split('/');
  if (service === HEALTH_SERVICE && method === 'Check') {
    return (serving, _exchange, message) => checkHealth(serving, message);
  }
  const found = service === INFERENCE_SERVICE ? SIMPLE_METHODS.get(method) : undefined;
  if (found !== undefined) return found;
  const methods = ['ModelInfer', 'ModelStreamInfer', ...SIMPLE_METHODS.keys()].join(', ');
  throw new PilotlightError(
    'unsupported',
    `unknown method; ${INFERENCE_SERVICE} has ${methods}; beside it there are ${HEALTH_SERVICE} and reflection`,
  );
}

async function readMessage(serving: Serving, exchange: Http2Exchange, held: HeldBytes): Promise<Buffer> {
  const body = await readBody(exchange, serving.reading, held);
  const encoding = headerText(exchange, 'grpc-encoding');
  return unframe(body, encoding, serving.reading.limits.maxBodyBytes, held);
}

function sendMessage({ stream }: GrpcStream, writer: WireWriter): void {
  if (stream.destroyed || stream.closed) return;
  const chunks = writer.finish();
  stream.respond({ ...COMMON_HEADERS }, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.cork();
  stream.write(frameHead(writer.sizeBytes));
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
}
