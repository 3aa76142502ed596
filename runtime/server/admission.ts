import { PilotlightError } from '../../contracts/errors.ts';
import { shown } from '../core/tensor.ts';
import type { Claim, LoadedModel, RuntimePhase } from '../ports.ts';

/** What the head of a request says about whom it is meant for. */
export interface Addressee {
  modelName: string;
  version: string | undefined;
  /** Header `pilotlight-service-uid`; absent on a direct request. */
  serviceUid: string | undefined;
  /** Header `pilotlight-revision`. */
  revision: string | undefined;
  /** Header `Host`, or `:authority`. */
  host: string | undefined;
}

/** Seconds after which a caller may try again what is refused for the moment. */
export const RETRY_AFTER_SECONDS = 1;

/**
 * Decides by its head whether a request is served now, before a byte of its body is read.
 *
 * @returns the model that it goes to.
 * @throws PilotlightError `wrong-service`, `not-ready`, `load-failed`, `draining`, `unknown-model`.
 */
export function admit(phase: RuntimePhase, addressee: Addressee): LoadedModel {
  refuseWrongService(phase, addressee);
  switch (phase.phase) {
    case 'standby':
      throw new PilotlightError('not-ready', 'this runtime is a standby and holds no model yet', {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    case 'specialising':
      throw new PilotlightError('not-ready', `model '${shown(phase.modelName)}' is being loaded`, {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    case 'failed':
      throw new PilotlightError(
        'load-failed',
        `model '${shown(phase.modelName)}' failed to load: ${phase.error.message} (${phase.error.code})`,
      );
    case 'draining':
      throw new PilotlightError('draining', 'this replica is leaving; send the request again', {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    case 'ready':
      return requireModel(phase.model, addressee);
  }
}

/**
 * The model by the name and version in a path, for what is answered without a place at the model.
 *
 * @throws PilotlightError `unknown-model` with what there is.
 */
export function requireModel(
  model: LoadedModel,
  { modelName, version }: Pick<Addressee, 'modelName' | 'version'>,
): LoadedModel {
  if (modelName !== model.name) {
    throw new PilotlightError(
      'unknown-model',
      `unknown model '${shown(modelName)}'; this server has '${shown(model.name)}'`,
    );
  }
  if (version !== undefined && version !== '' && version !== servedVersion(model)) {
    throw new PilotlightError(
      'unknown-model',
      `unknown version '${shown(version)}' of model '${shown(model.name)}'; this server has '${servedVersion(model)}'`,
    );
  }
  return model;
}

/** The one version that is loaded: the highest that was found. */
export function servedVersion(model: LoadedModel): string {
  return model.versions.at(-1) ?? '1';
}

/**
 * A standby holds no service, so what is meant for one is not for it. A runtime that was started by hand has no
 * claim at all and serves anybody.
 */
function refuseWrongService(phase: RuntimePhase, { serviceUid, revision, host }: Addressee): void {
  if (serviceUid === undefined && revision === undefined) {
    if (host !== undefined) refuseWrongHost(phase, host);
    return;
  }
  if (phase.phase === 'standby') {
    throw wrongService('this runtime holds no service', serviceUid, revision);
  }
  const { claim } = phase;
  if (claim === undefined || isMeantFor(claim, serviceUid, revision)) return;
  throw wrongService(
    `this runtime holds revision '${claim.revision}' of the service with UID '${claim.serviceUid}'`,
    serviceUid,
    revision,
  );
}

/**
 * A direct request says by its host whom it is for: `name.namespace`, whatever follows. One that names another
 * service of this namespace comes over a way from before this pod changed hands; all that a pod ever served is in its
 * own namespace. Names that look otherwise are an Ingress's own, and anybody's.
 */
function refuseWrongHost(phase: RuntimePhase, host: string): void {
  const service = phase.phase === 'standby' ? undefined : phase.claim?.service;
  const [name = '', namespace] = host.toLowerCase().replace(/:\d*$/, '').split('.');
  if (service === undefined || namespace !== service.namespace || name === service.name) return;
  throw new PilotlightError(
    'wrong-service',
    `this runtime holds the service '${service.name}'; the request is meant for '${shown(host)}': send it again`,
  );
}

function isMeantFor(claim: Claim, serviceUid: string | undefined, revision: string | undefined): boolean {
  return (
    (serviceUid === undefined || serviceUid === claim.serviceUid) &&
    (revision === undefined || revision === claim.revision)
  );
}

function wrongService(
  holds: string,
  serviceUid: string | undefined,
  revision: string | undefined,
): PilotlightError {
  const meant = [
    revision === undefined ? undefined : `revision '${shown(revision)}'`,
    serviceUid === undefined ? undefined : `service UID '${shown(serviceUid)}'`,
  ];
  return new PilotlightError(
    'wrong-service',
    `${holds}; the request is meant for ${meant.filter((part) => part !== undefined).join(' of ')}: send it elsewhere`,
  );
}
