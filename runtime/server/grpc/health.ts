import { PilotlightError } from '../../../contracts/errors.ts';
import { WireReader, WireWriter } from '../../core/protobuf.ts';
import { publicError } from '../answers.ts';
import type { Serving } from '../work.ts';
import type { StreamedCall } from './streamed-call.ts';

/** gRPC's health service (health.proto): SERVING while a model can be used. */
export const HEALTH_SERVICE = 'grpc.health.v1.Health';

const STATUS = { serving: 1, notServing: 2, serviceUnknown: 3 } as const;

/** Names that may be asked about; empty is the whole server. */
const KNOWN: ReadonlySet<string> = new Set(['', 'inference.GRPCInferenceService', HEALTH_SERVICE]);

/** @throws PilotlightError `not-found` for a service that isn't here. */
export function checkHealth(serving: Serving, message: Uint8Array): WireWriter {
  const service = readService(message);
  if (!KNOWN.has(service)) {
    throw new PilotlightError(
      'not-found',
      `no service '${service}' here; expected '' or one of its services`,
    );
  }
  return statusMessage(statusOf(serving, service));
}

/** Sends the status, and again whenever it changes, until the client leaves. */
export async function watchHealth(serving: Serving, call: StreamedCall): Promise<void> {
  const message = await firstMessage(call);
  const service = readService(message);
  const { watchdog } = serving.reading;
  let told: number | undefined;
  let isSending = false;
  const watched = {
    check: (): void => {
      const status = statusOf(serving, service);
      if (status === told || isSending || call.isOver) return;
      told = status;
      isSending = true;
      call
        .send(statusMessage(status))
        .catch((thrown: unknown) => call.fail(publicError(thrown, () => undefined)))
        .finally(() => {
          isSending = false;
        });
    },
  };
  watched.check();
  watchdog.add(watched);
  await new Promise<void>((resolve) => call.exchange.onDone(() => resolve()));
  watchdog.remove(watched);
}

async function firstMessage(call: StreamedCall): Promise<Uint8Array> {
  for await (const message of call.messages()) return message;
  throw new PilotlightError('bad-framing', 'expected one gRPC message, got none');
}

function statusOf(serving: Serving, service: string): number {
  if (!KNOWN.has(service)) return STATUS.serviceUnknown;
  return serving.engine.current.phase === 'ready' ? STATUS.serving : STATUS.notServing;
}

function statusMessage(status: number): WireWriter {
  const writer = new WireWriter();
  writer.integer(1, status);
  return writer;
}

function readService(message: Uint8Array): string {
  const reader = new WireReader(message);
  let service = '';
  while (reader.next()) {
    if (reader.field === 1) service = reader.string();
    else reader.skip();
  }
  return service;
}
