import { constants, type OutgoingHttpHeaders } from 'node:http2';
import { type ErrorCode, PilotlightError } from '../../../contracts/errors.ts';
import { HEADERS } from '../../../contracts/headers.ts';
import { publicError } from '../answers.ts';
import { Http2Exchange } from '../http2-exchange.ts';
import { HeldBytes, readBody } from '../read-body.ts';
import { type Serving, Work } from '../work.ts';
import { frameHead, unframe } from './grpc-framing.ts';
import { answerSimple, inferOverGrpc, type SimpleMethod } from './grpc-methods.ts';
import { grpcMessage, grpcStatusOf, parseGrpcTimeout } from './grpc-status.ts';
import type { GrpcStream } from './grpc-stream.ts';
import type { WireWriter } from './wire.ts';

const SERVICE = '/inference.GRPCInferenceService/';

const SIMPLE_METHODS: ReadonlySet<string> = new Set<SimpleMethod>([
  'ServerLive',
  'ServerReady',
  'ModelReady',
  'ServerMetadata',
  'ModelMetadata',
]);

/** Serves one unary gRPC call of the Open Inference Protocol to its end. */
export function serveGrpc(serving: Serving, call: GrpcStream): void {
  if (call.stream.destroyed) return;
  const exchange = new Http2Exchange(call.stream, call.headers);
  const startedMs = performance.now();
  const method = exchange.target.startsWith(SERVICE) ? exchange.target.slice(SERVICE.length) : undefined;
  const isInference = method === 'ModelInfer';
  const respond = isInference ? infer(serving, exchange) : simple(serving, exchange, method);
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
  const timeoutMs = parseGrpcTimeout(headerOf(exchange, 'grpc-timeout'));
  return inferOverGrpc(
    serving,
    exchange,
    async (work: Work) => readMessage(serving, exchange, work.held),
    timeoutMs,
  );
}

async function simple(
  serving: Serving,
  exchange: Http2Exchange,
  method: string | undefined,
): Promise<WireWriter> {
  if (method === undefined || !SIMPLE_METHODS.has(method)) {
    throw new PilotlightError(
      'unsupported',
      `unknown method; there are ${[...SIMPLE_METHODS, 'ModelInfer'].map((name) => SERVICE + name).join(', ')}`,
    );
  }
  const held = new HeldBytes(serving.reading.budget);
  exchange.onDone(() => held.release());
  return answerSimple(serving, exchange, method as SimpleMethod, await readMessage(serving, exchange, held));
}

async function readMessage(serving: Serving, exchange: Http2Exchange, held: HeldBytes): Promise<Buffer> {
  const body = await readBody(exchange, serving.reading, held);
  return unframe(body, headerOf(exchange, 'grpc-encoding'), serving.reading.limits.maxBodyBytes, held);
}

function headerOf(exchange: Http2Exchange, name: string): string | undefined {
  const value = exchange.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

const COMMON_HEADERS: OutgoingHttpHeaders = {
  ':status': 200,
  'content-type': 'application/grpc',
  'grpc-accept-encoding': 'identity,gzip,deflate',
};

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

/** Refusals of calls that were not looked at: another replica may take them. */
const UNSEEN: ReadonlySet<ErrorCode> = new Set(['wrong-service', 'draining', 'not-ready']);

/**
 * An error as a single block of headers. A call that was not looked at and came through an activator is refused
 * with the HTTP status as well, by which the activator sends it elsewhere; a client would not expect it.
 */
function sendError({ stream, headers }: GrpcStream, error: PilotlightError): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return;
  const isForActivator = UNSEEN.has(error.code) && headers[HEADERS.proxiedBy] !== undefined;
  const answer: OutgoingHttpHeaders = {
    ...COMMON_HEADERS,
    ':status': isForActivator ? error.status : 200,
    'grpc-status': String(grpcStatusOf(error)),
    'grpc-message': grpcMessage(error.message),
    [HEADERS.error]: error.code,
  };
  if (error.retryAfterSeconds !== undefined) {
    answer['grpc-retry-pushback-ms'] = String(error.retryAfterSeconds * 1000);
  }
  const isUnread = !stream.readableEnded;
  stream.respond(answer, { endStream: true });
  // A reset overtakes headers that have not left yet; they leave before the next turn of the event loop.
  if (isUnread) setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
}
