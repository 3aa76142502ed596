import { WireReader, WireWriter } from '../../core/protobuf.ts';
import { shown } from '../../core/tensor.ts';
import { SERVED_FILES, type ServedFile } from './descriptors.ts';
import { GRPC_STATUS } from './grpc-status.ts';
import type { StreamedCall } from './streamed-call.ts';

/** gRPC's reflection (reflection.proto), by which grpcurl and the like learn the protocol from the server. */
export const REFLECTION_SERVICES: ReadonlySet<string> = new Set([
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
]);

/** Answers each question of the stream, until the client asks no more. */
export async function serveReflection(call: StreamedCall): Promise<void> {
  for await (const message of call.messages()) await call.send(answerReflection(message));
  call.end();
}

/**
 * One answer of reflection. What isn't there is an error within the stream, which goes on.
 *
 * @throws PilotlightError `invalid-request` for bytes that are no request.
 */
function answerReflection(message: Uint8Array): WireWriter {
  const question = readQuestion(message);
  const answer = new WireWriter();
  answer.string(1, question.host);
  answer.bytes(2, message);
  switch (question.kind) {
    case 'file':
    case 'symbol': {
      const file = SERVED_FILES.find((one) =>
        question.kind === 'file' ? one.name === question.name : declares(one, question.name),
      );
      if (file === undefined) writeNotFound(answer, `${question.kind} '${shown(question.name)}'`);
      else answer.nested(4, fileMessage(file));
      return answer;
    }
    case 'services': {
      const list = new WireWriter();
      for (const name of SERVED_FILES.flatMap(({ services }) => services)) {
        const service = new WireWriter();
        service.string(1, name);
        list.nested(1, service);
      }
      answer.nested(6, list);
      return answer;
    }
    case 'extensions':
      writeNotFound(answer, 'extension: these protocols have none');
      return answer;
    case 'none':
      writeError(answer, GRPC_STATUS.invalidArgument, 'the request asks nothing');
      return answer;
  }
}

interface Question {
  host: string;
  kind: 'file' | 'symbol' | 'extensions' | 'services' | 'none';
  name: string;
}

function readQuestion(message: Uint8Array): Question {
  const reader = new WireReader(message);
  const question: Question = { host: '', kind: 'none', name: '' };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        question.host = reader.string();
        break;
      case 3:
        question.kind = 'file';
        question.name = reader.string();
        break;
      case 4:
        question.kind = 'symbol';
        question.name = reader.string();
        break;
      case 5:
      case 6:
        question.kind = 'extensions';
        reader.skip();
        break;
      case 7:
        question.kind = 'services';
        reader.skip();
        break;
      default:
        reader.skip();
    }
  }
  return question;
}

/** A field or a value of an enum is found by what it belongs to. */
function declares({ symbols }: ServedFile, name: string): boolean {
  return symbols.includes(name) || symbols.includes(name.slice(0, Math.max(0, name.lastIndexOf('.'))));
}

function fileMessage({ base64 }: ServedFile): WireWriter {
  const writer = new WireWriter();
  writer.bytes(1, Buffer.from(base64, 'base64'));
  return writer;
}

function writeNotFound(answer: WireWriter, what: string): void {
  writeError(answer, GRPC_STATUS.notFound, `no ${what}`);
}

function writeError(answer: WireWriter, status: number, message: string): void {
  const error = new WireWriter();
  error.integer(1, status);
  error.string(2, message);
  answer.nested(7, error);
}
