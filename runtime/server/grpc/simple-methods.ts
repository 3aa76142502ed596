import { toPilotlightError } from '../../../contracts/errors.ts';
import { modelConfig, modelMetadata, serverMetadata } from '../../core/oip-metadata.ts';
import { WireReader, WireWriter } from '../../core/protobuf.ts';
import { admit, servedVersion } from '../admission.ts';
import type { Exchange } from '../exchange.ts';
import { allStats, EXTENSIONS, modelStats, repositoryIndex } from '../model-views.ts';
import { addresseeOf, type Serving } from '../work.ts';
import { encodeShape } from './message-shape.ts';
import {
  MODEL_CONFIG_RESPONSE,
  MODEL_METADATA,
  MODEL_STATISTICS_RESPONSE,
  REPOSITORY_INDEX_RESPONSE,
  SERVER_METADATA,
} from './metadata-messages.ts';

type SimpleMethod = (serving: Serving, exchange: Exchange, message: Uint8Array) => WireWriter;

/** The methods of the protocol that need no place at the model. */
export const SIMPLE_METHODS: ReadonlyMap<string, SimpleMethod> = new Map<string, SimpleMethod>([
  ['ServerLive', () => boolMessage(true)],
  ['ServerReady', ({ engine }) => boolMessage(engine.current.phase === 'ready')],
  [
    'ModelReady',
    (serving, exchange, message) => boolMessage(isReady(serving, exchange, readNameAndVersion(message))),
  ],
  ['ServerMetadata', ({ version }) => encodeShape(SERVER_METADATA, serverMetadata(version, EXTENSIONS))],
  [
    'ModelMetadata',
    (serving, exchange, message) => {
      const model = admit(serving.engine.current, addresseeOf(exchange, readNameAndVersion(message)));
      const identity = { name: model.name, version: servedVersion(model) };
      return encodeShape(MODEL_METADATA, modelMetadata(identity, model.signature));
    },
  ],
  [
    'ModelConfig',
    (serving, exchange, message) => {
      const model = admit(serving.engine.current, addresseeOf(exchange, readNameAndVersion(message)));
      const identity = { name: model.name, version: servedVersion(model) };
      return encodeShape(MODEL_CONFIG_RESPONSE, {
        config: modelConfig(identity, model),
      });
    },
  ],
  [
    'ModelStatistics',
    (serving, exchange, message) => {
      const named = readNameAndVersion(message);
      const stats =
        named.model === ''
          ? allStats(serving)
          : [modelStats(serving, admit(serving.engine.current, addresseeOf(exchange, named)))];
      return encodeShape(MODEL_STATISTICS_RESPONSE, { model_stats: stats });
    },
  ],
  [
    'RepositoryIndex',
    ({ engine }, _exchange, message) =>
      encodeShape(REPOSITORY_INDEX_RESPONSE, {
        models: repositoryIndex(engine.current, readReadyOnly(message)),
      }),
  ],
]);

function boolMessage(value: boolean): WireWriter {
  const writer = new WireWriter();
  writer.bool(1, value);
  return writer;
}

/** False is an answer here, not an error; but what is meant for another service is sent elsewhere. */
function isReady(serving: Serving, exchange: Exchange, named: { model: string; version: string }): boolean {
  try {
    admit(serving.engine.current, addresseeOf(exchange, named));
    return true;
  } catch (thrown) {
    const error = toPilotlightError(thrown);
    if (error.code === 'wrong-service') throw error;
    return false;
  }
}

function readNameAndVersion(message: Uint8Array): { model: string; version: string } {
  const reader = new WireReader(message);
  let model = '';
  let version = '';
  while (reader.next()) {
    if (reader.field === 1) model = reader.string();
    else if (reader.field === 2) version = reader.string();
    else reader.skip();
  }
  return { model, version };
}

function readReadyOnly(message: Uint8Array): boolean {
  const reader = new WireReader(message);
  let readyOnly = false;
  while (reader.next()) {
    if (reader.field === 2) readyOnly = reader.bool();
    else reader.skip();
  }
  return readyOnly;
}
