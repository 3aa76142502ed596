import { type ErrorCode, toPilotlightError } from '../../../contracts/errors.ts';
import { WireWriter } from '../../core/protobuf.ts';
import { publicError } from '../answers.ts';
import { headerText, type Serving } from '../work.ts';
import { parseGrpcTimeout } from './grpc-status.ts';
import { requestIdOf } from './infer-messages.ts';
import { admitByHead, inferOverGrpc } from './infer-over-grpc.ts';
import { type StreamedCall, StreamTurn } from './streamed-call.ts';

/** Errors of this replica rather than of a request: the whole stream has to go elsewhere. */
const OF_THE_REPLICA: ReadonlySet<ErrorCode> = new Set([
  'draining',
  'wrong-service',
  'not-ready',
  'load-failed',
]);

/**
 * ModelStreamInfer: requests come one after the other on one call and are answered in their order. One that fails is
 * answered with its error and its id, and the stream goes on. As many are in work at once as the model takes and one
 * more, which is decoded meanwhile; the rest stays with the client, so that a stream fills no queue.
 */
export async function serveStreamInfer(serving: Serving, call: StreamedCall): Promise<void> {
  const model = admitByHead(serving, call.exchange);
  const timeoutMs = parseGrpcTimeout(headerText(call.exchange, 'grpc-timeout'));
  const endsMs = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const turns = new Set<StreamTurn>();
  call.exchange.onDone((outcome) => {
    for (const turn of turns) turn.finish(outcome);
  });
  const leaving = leaveWhenDraining(serving, call, turns);
  const sent: Promise<void>[] = [];
  let last = Promise.resolve();
  try {
    for await (const message of call.messages()) {
      admitByHead(serving, call.exchange);
      const turn = new StreamTurn(call.exchange);
      turns.add(turn);
      const answer = answerOne(serving, turn, message, endsMs);
      last = last.then(async () => {
        try {
          await call.send(await answer);
          turn.finish('answered');
        } finally {
          turn.finish('left');
          turns.delete(turn);
        }
      });
      last.catch(() => undefined);
      sent.push(last);
      if (sent.length > model.capacity) await sent.shift();
    }
    await last;
  } catch (error) {
    // What was asked for before is answered before the stream ends.
    await last.catch(() => undefined);
    throw error;
  } finally {
    leaving.stop();
  }
  call.end();
}

/** Never rejects, unless with an error of the replica. */
async function answerOne(
  serving: Serving,
  turn: StreamTurn,
  message: Buffer,
  endsMs: number | undefined,
): Promise<WireWriter> {
  const startedMs = performance.now();
  const answer = new WireWriter();
  let outcome = 'ok';
  try {
    const read = (work: { held: { take(sizeBytes: number): void } }): Buffer => {
      work.held.take(message.length);
      return message;
    };
    const timeoutMs = endsMs === undefined ? undefined : endsMs - startedMs;
    answer.nested(2, await inferOverGrpc(serving, turn, read, timeoutMs));
  } catch (thrown) {
    const error = publicError(thrown, (err) => serving.logger.error({ err }, 'a streamed request failed'));
    outcome = error.code;
    if (OF_THE_REPLICA.has(error.code)) throw error;
    const head = new WireWriter();
    head.string(3, requestIdOf(message));
    answer.string(1, error.message);
    answer.nested(2, head);
  } finally {
    serving.metrics.record('grpc', outcome, performance.now() - startedMs);
  }
  return answer;
}

/** A stream on which nobody asks anything would outlast the drain, and be cut instead of ended. */
function leaveWhenDraining(
  serving: Serving,
  call: StreamedCall,
  turns: ReadonlySet<StreamTurn>,
): { stop(): void } {
  const { watchdog } = serving.reading;
  const watched = {
    check: (): void => {
      if (serving.engine.current.phase !== 'draining' || turns.size > 0) return;
      try {
        admitByHead(serving, call.exchange);
      } catch (error) {
        call.fail(toPilotlightError(error));
      }
    },
  };
  watchdog.add(watched);
  return { stop: () => watchdog.remove(watched) };
}
